"""Damages checkpoints at random and restores: what comes back must be what was saved.

    python tools/damage_checkpoints.py --flips 200 --cuts 200

A folder with two saved steps is made, of arrays small and large (Orbax keeps those in files of
their own). In each try one file of the newest step, each in turn, gets one flipped bit, or is cut.
The step before must come back bit for bit, with a warning that names the damaged one. The status is
1 if anything else was restored, or an exception came out.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Damage = Callable[[bytearray, np.random.Generator], bytearray]


class Count(NamedTuple):
  """What was tried and what came of it."""

  tries: int
  files: int
  """That were damaged, each several times."""
  wrong: list[str]
  """A line for each try whose result was not the step before, whole."""


def flip(data: bytearray, rng: np.random.Generator) -> bytearray:
  """`data` with one bit flipped."""
  data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
  return data


def cut(data: bytearray, rng: np.random.Generator) -> bytearray:
  """A beginning of `data`, not all of it."""
  return data[: rng.integers(len(data))]


def damage_all(
  saved: Path, expected: Any, damage: Damage, tries: int, seed: int, scratch: Path
) -> Count:
  """Damages each file of the newest step in `saved` in turn and restores.

  Args:
    saved: a folder with two checkpoints; it is copied.
    expected: the state of the older one.
    damage: `flip` or `cut`.
    tries: damaged copies.
    seed: of the damage.
    scratch: for the copies.
  """
  from tdfusion_jax.train.checkpoints import Checkpoints

  rng = np.random.default_rng(seed)
  older, newest = Checkpoints(saved).steps()
  files = [p.relative_to(saved) for p in sorted((saved / str(newest)).rglob("*")) if p.is_file()]
  files = [name for name in files if (saved / name).stat().st_size]
  wrong = []
  for count in range(tries):
    name, folder = files[count % len(files)], scratch / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    (folder / name).write_bytes(damage(bytearray((folder / name).read_bytes()), rng))
    checkpoints = Checkpoints(folder)
    try:
      restored = checkpoints.restore(expected)
      good = same(restored, expected) and checkpoints.steps() == [older]
      problem = "" if good else "restored wrongly"
    except Exception:
      problem = traceback.format_exc()
    finally:
      checkpoints.close()
    if problem:
      wrong.append(f"try {count}, {name}: {problem}")
  return Count(tries, len(files), wrong)


def same(one: Any, other: Any) -> bool:
  """Whether two states are equal bit for bit."""
  import jax

  def plain(state: Any) -> Any:
    return state._replace(key=jax.random.key_data(state.key))

  pairs = jax.tree.map(
    lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), plain(one), plain(other)
  )
  return all(jax.tree.leaves(pairs))


def state_of(step: int, large: int = 0) -> Any:
  """A state with arrays of some bytes, and one of `large` random numbers if that is not 0."""
  import jax
  import jax.numpy as jnp

  from tdfusion_jax.meta.state import Params, TrainState

  key = jax.random.key(step)
  params = {"a": jnp.arange(6.0).reshape(2, 3) + step, "b": jnp.full((4,), step, jnp.float32)}
  if large:
    params["large"] = jax.random.normal(key, (large,))
  none = jnp.zeros((), jnp.int32)
  shared = Params(params, {"w": jnp.ones(3) * step}, {"w": jnp.zeros(2)}, {})
  return TrainState(jnp.int32(step), key, shared, none, none, none)


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; 1 if something was restored wrongly."""
  parser = argparse.ArgumentParser(description="Damages checkpoints and restores them.")
  parser.add_argument("--flips", type=int, default=200, help="flipped bits (default 200)")
  parser.add_argument("--cuts", type=int, default=200, help="cut files (default 200)")
  parser.add_argument("--seed", type=int, default=0, help="of the damage (default 0)")
  parser.add_argument(
    "--large", type=int, default=1 << 20, help="numbers of the largest array (default 2^20)"
  )
  options = parser.parse_args(argv)
  from tdfusion_jax.train.checkpoints import Checkpoints

  wrong = []
  log = logging.getLogger("tdfusion_jax")
  before = log.level
  log.setLevel(logging.ERROR)  # each damage is warned of, as it should be
  with tempfile.TemporaryDirectory() as scratch:
    saved = Path(scratch) / "saved"
    checkpoints = Checkpoints(saved)
    for step in (1, 2):
      checkpoints.save(state_of(step, options.large))
    checkpoints.close()
    for damage, tries in ((flip, options.flips), (cut, options.cuts)):
      expected = state_of(1, options.large)
      count = damage_all(saved, expected, damage, tries, options.seed, Path(scratch))
      shown = {"damage": damage.__name__, "tries": count.tries, "files": count.files}
      print(json.dumps({**shown, "wrong": len(count.wrong)}))
      wrong += count.wrong
  log.setLevel(before)
  print("".join(f"problem: {line}\n" for line in wrong), end="", file=sys.stderr)
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
