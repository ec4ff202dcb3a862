"""Sweep files: arms, seeds and settings; and the configs that they change."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.config import ConfigError

# {key: what it holds}; a list of a kind holds some of it.
_STAGES = {"set": dict, "fusion": dict, "task": dict}
_TOP: dict[str, Any] = {
  "config": str,
  "seeds": [int],
  "folds": [int],
  **_STAGES,
  "recipe": str,
  "arms": dict,
  "best": dict,
  "compare_to": str,
  "select": str,
  "report": str,
  "scores": [str],
}
_ARM: dict[str, Any] = {"options": str, **_STAGES, "images": str, "folder": str}
_BEST: dict[str, Any] = {"of": [str], "by": str}
_NAMES = {str: "a text", int: "a whole number", dict: "a table"}
_LONGEST_NAME = 200  # of an arm, which names a folder
_LARGEST_SEED = 2**32 - 1


class Turn(NamedTuple):
  """What an arm is run with; those of two arms with one turn are compared."""

  seed: int
  fold: int | None = None

  @property
  def folder(self) -> str:
    """Of the run, in that of its arm."""
    return f"seed_{self.seed}" if self.fold is None else f"fold_{self.fold}/seed_{self.seed}"

  @property
  def key(self) -> int | str:
    """In `sweep.json`."""
    return self.seed if self.fold is None else self.folder

  @property
  def changes(self) -> dict[str, Any]:
    """Fields of both stages."""
    of_fold = ("data.train_options.fold", "data.val_options.fold")
    fold = {} if self.fold is None else dict.fromkeys(of_fold, self.fold)
    return {"seed": self.seed, **fold}

  def __str__(self) -> str:
    return f"seed {self.seed}" if self.fold is None else f"fold {self.fold}, seed {self.seed}"


class Sweep(NamedTuple):
  """What a sweep file holds."""

  config: str
  """A file of configs/, as written."""
  seeds: list[int]
  folds: list[int]
  """Of the data, a run for each and each seed; none: the data's own splits."""
  arms: dict[str, dict[str, Any]]
  set: dict[str, Any]
  """{"field": value} for both stages; `fusion` and `task` for one."""
  fusion: dict[str, Any]
  task: dict[str, Any]
  recipe: str
  """Of the task stage, see `config.recipes`; by itself `simple`, which suits few pairs."""
  best: dict[str, dict[str, Any]]
  """{"name": {"of": [arms], "by": score}}: a further row, the arm that is best on `select`."""
  compare_to: str
  select: str
  """Split that choices are made on."""
  report: str
  """Split that is reported."""
  scores: list[str]
  changes: dict[str, Any]
  """{"field": value} in front of all of that."""

  @property
  def turns(self) -> list[Turn]:
    """Each fold with each seed."""
    return [Turn(seed, fold) for seed in self.seeds for fold in self.folds or [None]]


def load_sweep(
  file: str | Path,
  changes: Mapping[str, Any] | None = None,
  seeds: Sequence[int] | None = None,
  compare_to: str | None = None,
) -> Sweep:
  """Reads a sweep file (TOML); see `configs/sweeps/`.

  Args:
    file: what to read.
    changes: {"field": value} for both stages of all arms, in front of what the file sets.
    seeds: in place of the file's.
    compare_to: in place of the file's; an arm or a best row.

  Raises:
    ConfigError: it cannot be read, or holds an unknown key or arm, naming it.
  """
  written = _read(Path(file))
  sweep = Sweep(
    config=written["config"],
    seeds=list(dict.fromkeys(seeds or written.get("seeds") or [0, 1, 2])),
    folds=list(dict.fromkeys(written.get("folds", []))),
    arms=written["arms"],
    set=written.get("set", {}),
    fusion=written.get("fusion", {}),
    task=written.get("task", {}),
    recipe=written.get("recipe", "simple"),
    best=written.get("best", {}),
    compare_to=str(compare_to or written.get("compare_to", next(iter(written["arms"])))),
    select=written.get("select", "val"),
    report=written.get("report", "test"),
    scores=written.get("scores", []),
    changes=dict(changes or {}),
  )
  mentioned = [sweep.compare_to, *(arm for body in sweep.best.values() for arm in body["of"])]
  strange = sorted(set(mentioned) - set(sweep.arms) - set(sweep.best))
  if strange:
    raise ConfigError(_no_such_arm(file, strange, sweep))
  return sweep


def check_arms(sweep: Sweep, file: str | Path, arms: Iterable[str]) -> None:
  """Raises ConfigError if one of `arms` is not among those of the sweep."""
  strange = sorted(set(arms) - set(sweep.arms))
  if strange:
    raise ConfigError(_no_such_arm(file, strange, sweep))


def _no_such_arm(file: str | Path, strange: list[str], sweep: Sweep) -> str:
  return f"{file}: no such arm: {', '.join(strange)}; there are: {', '.join(sweep.arms)}."


def _require_kinds(
  file: Path, table: Mapping[str, Any], kinds: Mapping[str, Any], above: str = ""
) -> None:
  """Raises ConfigError for a value of another kind than its key needs; unknown keys pass."""
  for key, value in table.items():
    kind = kinds.get(key)
    if kind is None:
      continue
    several = isinstance(kind, list)
    one = kind[0] if several else kind
    values = value if several and isinstance(value, list) else [value]
    if (several != isinstance(value, list)) or not all(_is_of(one, item) for item in values):
      needed = f"a list, each {_NAMES[one]}" if several else _NAMES[one]
      raise ConfigError(f"{file}: {above}{key} is {str(value)[:60]!r}: {needed} is needed.")


def _is_of(kind: type, value: Any) -> bool:
  if kind is int:
    return type(value) is int and 0 <= value <= _LARGEST_SEED
  return isinstance(value, kind)


def _is_folder_name(name: str) -> bool:
  plain = name.isprintable() and not set(name) & set("/\\")
  return plain and name not in ("", ".", "..") and len(name) <= _LONGEST_NAME


def _read(file: Path) -> dict[str, Any]:
  """What the file holds; ConfigError for a key that no sweep has, and for one that is missing."""
  try:
    written = tomllib.loads(file.read_text())
  except (OSError, RecursionError, ValueError) as error:  # no TOML, or no UTF-8
    raise ConfigError(f"{file} cannot be read: {error}") from error
  _require_kinds(file, written, _TOP)
  unknown = sorted(written.keys() - _TOP)
  for arm, body in written.get("arms", {}).items():
    if not _is_folder_name(arm):
      raise ConfigError(f"{file}: arm {arm[:80]!r} cannot name a folder.")
    if not isinstance(body, dict):
      raise ConfigError(f"{file}: arms.{arm} holds no settings.")
    _require_kinds(file, body, _ARM, f"arms.{arm}.")
    unknown += [f"arms.{arm}.{key}" for key in sorted(body.keys() - _ARM)]
  if unknown:
    raise ConfigError(
      f"{file}: unknown {', '.join(unknown)}; there are: {', '.join(sorted(_TOP))}."
    )
  for name, body in written.get("best", {}).items():
    if not isinstance(body, dict) or body.keys() != _BEST.keys():
      raise ConfigError(f"{file}: best.{name} needs of = [ARMS] and by = SCORE.")
    _require_kinds(file, body, _BEST, f"best.{name}.")
    if not _is_folder_name(name) or name in written.get("arms", {}):
      raise ConfigError(f"{file}: best.{name[:80]}: choose another name.")
  missing = [key for key in ("config", "arms") if not written.get(key)]
  if missing:
    raise ConfigError(f"{file}: {' and '.join(missing)} missing.")
  return written
