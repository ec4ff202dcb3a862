"""Asks what of G's weights an F keeps: T's scores on F's images, F trained after G and a constant.

  python tools/learned_through_f.py --config=FILE --config.FIELD=VALUE ... --g=DIR --constant=0.75

DIR holds `g_fold_K.safetensors`, as `tools/learned_average.py --save=DIR` writes them; config and
fields are those of that command, so that G and T are the same, with what F's training needs beside
them (`--config.fusion.variant=fast`, `init.f`, `train.epochs`, `optim.f.learning_rate`,
`loss.alpha`). Of each fold two F's are trained, alike but for the weights of L_f: those of G, held
at the constant, and the constant. No label is read for that. Both are judged on "test" by T, beside
the averages `w_a a + w_b b` that they were sent after. The parameters of F are averaged over the
last steps (`--average`). `--learned-only` halves the time: only the F after G is trained, and it is
compared with the constant's average itself, which an F can follow exactly.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from learned_average import (
  Look,
  constant_weights,
  differences,
  fold_parser,
  folds_of,
  told,
  weighing,
)

from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.evaluate.contributions import Contributions
from tdfusion_jax.evaluate.resampling import estimate
from tdfusion_jax.evaluate.verdict import MAIN
from tdfusion_jax.files import UsageError
from tdfusion_jax.meta import Params
from tdfusion_jax.progress import Progress
from tdfusion_jax.train import build
from tdfusion_jax.train.networks import networks, notes_f
from tdfusion_jax.weightfiles import load_weights, save_weights

_Judged = tuple[dict[str, float], Contributions]
KINDS = ("averages", "F's images")


class Fold(NamedTuple):
  """T's scores on one fold."""

  scores: dict[str, tuple[dict[str, float], dict[str, float]]]
  """{kind of image: (by the constant, by G)}, kinds as `KINDS`."""
  differences: dict[str, dict[str, np.ndarray]]
  """{kind: {score: by G - by the constant, [1 + resamples]}}."""


def train_f(config: Config, average: float, told_as: str) -> Params:
  """F after all its steps, as the moving average of itself.

  Args:
    config: with `loss.weights` "given" or "fixed".
    average: decay of the moving average, in [0, 1).
    told_as: what the progress line says.
  """
  config = config.copy_and_resolve_references()
  config.task.kind, config.task.frozen, config.init.t = "none", False, ""
  config.meta.steps, config.meta.rule, config.meta.anchor = 0, "lookahead", 0.0
  config.meta.anchor_to = 0.5
  with config.unlocked():
    config.task.options = {}
  experiment = build.experiment(config)
  steps, state = experiment.steps, experiment.init()
  mean = jax.tree.map(jnp.copy, state.params.f)
  with Progress(len(steps), told_as, unit="steps") as progress:
    for step in progress.track(range(len(steps))):
      state, _ = experiment.ft_step(state, build.to_device(steps[step]))
      mean = jax.tree.map(lambda m, new: average * m + (1 - average) * new, mean, state.params.f)
  return state.params._replace(f=mean)


class How(NamedTuple):
  """What all folds have in common."""

  constant: float
  """w_a of the F that no G teaches, and the tone that G's weights are held at."""
  average: float
  """Decay of the moving average of F, see `train_f`."""
  trained: bool = False
  """Whether the F's are there already, by an earlier run with the same settings."""
  begin: Path | None = None
  """Folder of an earlier run, whose F's these begin with; None for `init.f`."""
  learned_only: bool = False
  """The constant's average takes the place of the images of its F."""


def run_fold(config: Config, g_file: Path, save: Path, how: How) -> Fold:
  """Trains both F's of one fold and judges them.

  Args:
    config: with `data.train_options.fold` and `data.val_options.fold`.
    g_file: G's weights.
    save: begin of the names of F's weight files to write.
    how: what all folds have in common.

  Raises:
    ConfigError: a T that moves.
  """
  if not config.task.frozen:
    raise ConfigError("config.task.frozen: a T that is kept as it is is needed.")
  config = config.copy_and_resolve_references()
  config.data.val_split, config.data.test_split = "val", "test"
  config.init.g = str(g_file)
  config.loss.tone, config.data.crop_size = how.constant, None
  by_g, by_constant = (config.copy_and_resolve_references() for _ in range(2))
  by_g.loss.weights = "given"
  by_constant.loss.weights, by_constant.loss.fixed_w_a = "fixed", how.constant
  by_constant.loss.tone, by_constant.loss.tone_held, by_constant.loss.stride = 0.5, False, 1
  by_constant.init.g, by_constant.loss.network = "", ""
  judged: dict[str, list[_Judged]] = {kind: [] for kind in KINDS}
  test = build.source(config, "test")
  networks_of_all = build.experiment(config).init().params  # T and G as their files have them
  ways: list[tuple[str, Config, Callable]] = [
    ("constant", by_constant, constant_weights(how.constant)),
    ("learned", by_g, weighing(config, networks_of_all.g, how.constant)),
  ]
  for name, of_way, weigh in ways:
    of_average = Look(config, networks_of_all).at(weigh, test)
    judged["averages"].append(of_average)
    if how.learned_only and name == "constant":
      judged["F's images"].append(of_average)
      continue
    used = networks(of_way)
    file = save.with_name(f"{save.name}_{name}.safetensors")
    if how.begin is not None:
      of_way.init.f = str(how.begin / file.name)
    if not how.trained:
      f_params = train_f(of_way, how.average, f"F after {name} weights").f
      save_weights(file, {"params": f_params}, notes_f(of_way, used))
    f_params = jax.tree.map(jnp.asarray, load_weights(file)[0]["params"])
    look = Look(config, networks_of_all._replace(f=f_params))
    judged["F's images"].append(look.at_fused(used.fuser.fuse, test))
  main = MAIN[str(test.kind)]
  return Fold(
    {kind: (of[0][0], of[1][0]) for kind, of in judged.items()},
    {kind: differences(of[1][1], of[0][1], main) for kind, of in judged.items()},
  )


def table(folds: Mapping[int, Fold]) -> list[str]:
  """Markdown lines: each fold and kind of image, then the mean differences."""
  first = next(iter(folds.values()))
  some = first.scores[KINDS[0]][0]
  names = [*first.differences[KINDS[0]], *sorted(n for n in some if "AP50/" in n[:5])]
  lines = ["| " + " | ".join(["fold", "images", *names]) + " |", "|---" * (len(names) + 2) + "|"]
  for number, fold in folds.items():
    for kind, (constant, learned) in fold.scores.items():
      cells = [f"{constant[name]:.3f} → {learned[name]:.3f}" for name in names]
      lines.append("| " + " | ".join([str(number), kind, *cells]) + " |")
  lines.append("")
  for kind in KINDS:
    for name in first.differences[kind]:
      mean = np.mean([fold.differences[kind][name] for fold in folds.values()], axis=0)
      lines.append(f"{kind}, {name}: {told(estimate(mean))}")
  return lines


def main(arguments: Sequence[str]) -> None:
  """Prints the table."""
  parser = fold_parser(__doc__, "F")
  parser.add_argument("--g", metavar="DIR", required=True, help="with g_fold_K.safetensors")
  parser.add_argument("--constant", type=float, required=True, help="w_a, as chosen on val")
  parser.add_argument("--save", metavar="DIR", required=True, help="of each F, for --weights")
  parser.add_argument("--trained", action="store_true", help="judge those that DIR holds already")
  only = "no F after the constant; its average in the place of that F's images"
  parser.add_argument("--learned-only", action="store_true", help=only)
  parser.add_argument("--begin", metavar="DIR", type=Path, help="with F's of an earlier --save")
  options = parse_config(parser, arguments)
  save = Path(options.save)
  save.mkdir(parents=True, exist_ok=True)
  how = How(options.constant, options.average, options.trained, options.begin, options.learned_only)
  folds = {}
  for number, config in folds_of(options):
    g_file = Path(options.g) / f"g_fold_{number}.safetensors"
    folds[number] = run_fold(config, g_file, save / f"f_fold_{number}", how)
    print("\n".join(table(folds)), flush=True)


if __name__ == "__main__":
  try:
    main(sys.argv[1:])
  except UsageError as error:
    sys.exit(f"error: {error}")
