"""Asks what G learns by itself: T's scores on `w_a a + w_b b`, beside those of every constant w.

  python tools/learned_average.py --config=FILE --config.FIELD=VALUE ... --folds=0,1,2

That image is where the intensity term of L_f rests, so it is what F is sent after. No F is trained,
so a rule for G can be judged in a fraction of the time. The config is one that `tdfusion train`
takes, with a T that is kept as it is (`task.frozen`, `init.t`) and one epoch of `meta.steps`
G-steps; G's parameters are averaged over the last steps (`--average`). With `loss.tone_held` G is
judged about the constant that was chosen, so that the two differ by what G learned and nothing
else.

With `task.labels=pseudo` G learns from what T is sure of, and is judged by the true labels.
`--shuffled` is a control: G learns from the labels of other pairs. What it still gains it owes to
T and the images, not to labels.

Of each fold G learns on "train", the constant is chosen on "val", and both are judged on "test". A
table of the folds follows, with the weights that G gives to each class, and the mean difference
with its 95 % interval (blocks of images drawn anew).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from credit import by_region, masks_of

from tdfusion_jax.batch import Pair
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.data import val_batches
from tdfusion_jax.data.pseudo import PseudoSource
from tdfusion_jax.data.source import Source
from tdfusion_jax.evaluate.contributions import Contributions
from tdfusion_jax.evaluate.judge import judge
from tdfusion_jax.evaluate.resampling import Estimate, draws, estimate
from tdfusion_jax.evaluate.verdict import MAIN
from tdfusion_jax.files import UsageError
from tdfusion_jax.meta import Params
from tdfusion_jax.progress import Progress
from tdfusion_jax.train import build, controls, pseudo
from tdfusion_jax.train.networks import networks, notes_g
from tdfusion_jax.weightfiles import save_weights

CONSTANTS = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 1.0)
_RESAMPLES = 1000


class Fold(NamedTuple):
  """What came of one fold."""

  constant: float
  """The best one on "val"."""
  tone: float
  """G's: where it is held the constant, or the best one between 0 and 1; or what it began at."""
  scores: dict[str, dict[str, float]]
  """{"learned", "constant"} on "test"."""
  differences: dict[str, np.ndarray]
  """{score: learned - constant, [1 + resamples]}, the first of the images as they are."""
  weights: dict[str, float]
  """{region: mean w_a}."""


def learn(experiment: build.Experiment, average: float) -> Params:
  """The networks after all G-steps, G being the moving average of itself.

  Args:
    experiment: its F/T-steps are left out.
    average: decay of the moving average, in [0, 1).
  """
  steps, state = experiment.steps, experiment.init()
  mean = jax.tree.map(jnp.copy, state.params.g)
  learning = [step for step in range(len(steps)) if steps.phase(step)[0] == "g"]
  with Progress(len(learning), "G learns", unit="steps") as progress:
    for step in progress.track(learning):
      state, _ = experiment.g_step(state, build.to_device(steps[step]))
      mean = jax.tree.map(lambda m, new: average * m + (1 - average) * new, mean, state.params.g)
  return state.params._replace(g=mean)


def pairs_of(config: Config, shuffled: bool) -> tuple[Source, Source] | None:
  """What G learns from and what is validated on, where the data's own labels are not it.

  Args:
    config: `task.labels` may ask for those of T.
    shuffled: each pair for training has the labels of the one half the set away.

  Raises:
    ConfigError: both are asked for.
  """
  if shuffled and config.task.labels != "true":
    raise ConfigError(f"config.task.labels={config.task.labels!r} does not go with --shuffled.")
  if not shuffled:
    with tempfile.TemporaryDirectory() as none_yet:
      return pseudo.labelled(config, none_yet)
  train, val = (build.source(config, split) for split in ("train", "val"))
  order = np.roll(np.arange(len(train)), len(train) // 2)
  targets = [train[int(other)].target for other in order]
  assert train.kind is not None, "labels"
  return PseudoSource(train, train.kind, train.classes, targets), val


def run_fold(
  config: Config,
  constants: Sequence[float],
  average: float,
  save: Path | None = None,
  shuffled: bool = False,
) -> Fold:
  """Learns and judges one fold.

  Args:
    config: with `data.train_options.fold` and `data.val_options.fold`.
    constants: to choose from.
    average: see `learn`.
    save: G's weight file to write, for `init.g`.
    shuffled: see `pairs_of`.

  Raises:
    ConfigError: a T that moves, or an F that would be needed.
  """
  if not config.task.frozen:
    raise ConfigError("config.task.frozen: a T that is kept as it is is needed.")
  if config.meta.rule != "equilibrium":
    raise ConfigError("config.meta.rule: 'equilibrium' is the one that needs no F.")
  config.data.val_split, config.data.test_split = "val", "test"
  experiment = build.experiment(config, pairs=pairs_of(config, shuffled))
  params = learn(experiment, average)
  if save is not None:
    save_weights(save, {"params": params.g}, notes_g(config, experiment.networks))
  look = Look(config, params)
  main = MAIN[str(experiment.val.kind)][0]
  of_val = {w: look.at(constant_weights(w), experiment.val)[0][main] for w in constants}
  best = max(of_val, key=of_val.__getitem__)
  tone = config.loss.tone
  if config.loss.tone_held:
    # At 0 and 1 no pixel would have a choice left.
    tone = max((w for w in constants if 0 < w < 1), key=of_val.__getitem__)
  weigh = weighing(config, params.g, tone)
  test = build.source(config, "test")
  learned, of_learned = look.at(weigh, test)
  constant, of_constant = look.at(constant_weights(best), test)
  return Fold(
    best,
    tone,
    {"learned": learned, "constant": constant},
    differences(of_learned, of_constant, MAIN[str(test.kind)]),
    weights_by_region(config, weigh, test),
  )


def weighing(config: Config, g_params: Any, tone: float) -> Callable:
  """(ir, vi) -> weights [B, H, W, 2] of G at `tone`."""
  config = config.copy_and_resolve_references()
  config.loss.tone = tone
  weigher = networks(config).weigher
  return lambda ir, vi: weigher(g_params, ir, vi)


def constant_weights(w_a: float) -> Callable:
  """(ir, vi) -> the same weights everywhere."""
  return lambda ir, vi: controls.weigh_constant({}, ir, vi, w_a=w_a)


class Look(NamedTuple):
  """T, which looks at fused images."""

  config: Config
  params: Params

  def at(self, weigh: Callable, source: Source) -> tuple[dict[str, float], Contributions]:
    """T's scores on the averages by `weigh`, (ir, vi) -> [B, H, W, 2]."""

    def fuse(params, ir, vi):
      del params
      return jnp.sum(weigh(ir, vi) * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True)

    return self.at_fused(fuse, source)

  def at_fused(self, fuse: Callable, source: Source) -> tuple[dict[str, float], Contributions]:
    """T's scores on the images of `fuse`, (f_params, ir, vi) -> [B, H, W, 1]."""
    task = build.task(build.scored(self.config), len(source.classes))
    assert task is not None, "labels"
    data = self.config.data
    size = tuple(data.task_size)
    return judge(task, self.params, source, fuse=fuse, task_size=size, max_boxes=data.max_boxes)


def differences(
  learned: Contributions, constant: Contributions, names: Sequence[str]
) -> dict[str, np.ndarray]:
  """{score: learned - constant, [1 + resamples]}, the first of the images as they are."""
  weights = draws(learned.blocks, _RESAMPLES, seed=0)
  first, second = learned.scores(weights), constant.scores(weights)
  return {name: first[name] - second[name] for name in names}


def weights_by_region(config: Config, weigh: Callable, source: Source) -> dict[str, float]:
  """Mean w_a in each class's boxes or masks and elsewhere, over the images that have it."""
  rows, found = 4, []
  options: dict[str, Any] = {
    "task_size": tuple(config.data.task_size),
    "max_boxes": config.data.max_boxes,
  }
  weigh = jax.jit(weigh)
  names: list[str] = []
  for number, pair in enumerate(val_batches(source, batch_size=rows, **options)):
    weights = np.asarray(weigh(jnp.asarray(pair.ir), jnp.asarray(pair.vi))[..., 0])
    for row in range(min(rows, len(source) - rows * number)):
      one = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], pair._replace(valid=None))
      masks = masks_of(source, rows * number + row, Pair(*one))
      names = list(masks)
      found.append(by_region(weights[row : row + 1], masks))
  return dict(zip(names, np.nanmean(np.stack(found), axis=0).tolist(), strict=True))


def table(folds: Mapping[int, Fold]) -> list[str]:
  """Markdown lines: each fold, then the mean difference."""
  first = next(iter(folds.values()))
  names = [*first.differences, *sorted(n for n in first.scores["learned"] if "AP50/" in n[:5])]
  regions = "learned, " + ", ".join(first.weights)
  heads = ["fold", "constant, chosen on val", "tone of G", *names, regions]
  lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
  for number, fold in folds.items():
    of = fold.scores
    cells = [f"{of['constant'][n]:.3f} → {of['learned'][n]:.3f}" for n in names]
    given = ", ".join(f"{value:.2f}" for value in fold.weights.values())
    chosen = [str(number), f"w = {fold.constant:g}", f"{fold.tone:g}"]
    lines.append("| " + " | ".join([*chosen, *cells, given]) + " |")
  return [*lines, "", *(f"{name}: {told(gain)}" for name, gain in mean_gain(folds).items())]


def mean_gain(folds: Mapping[int, Fold]) -> dict[str, Estimate]:
  """{score: mean over folds of learned - constant}, each fold's images drawn by themselves."""
  first = next(iter(folds.values()))
  return {
    name: estimate(np.mean([fold.differences[name] for fold in folds.values()], axis=0))
    for name in first.differences
  }


def told(gain: Estimate) -> str:
  """A difference with its 95 % interval."""
  return f"learned less constant {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def fold_parser(about: str | None, averaged: str) -> argparse.ArgumentParser:
  """Options of a tool that learns fold by fold.

  Args:
    about: what the tool does.
    averaged: whose parameters are averaged.
  """
  parser = argparse.ArgumentParser(
    description=about, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config", metavar="FILE[:OPTIONS]", required=True)
  parser.add_argument("--folds", metavar="K,L", default="0,1,2")
  whose = f"decay of {averaged}'s moving average"
  parser.add_argument("--average", type=float, default=0.95, help=whose)
  return parser


def folds_of(options: argparse.Namespace) -> Iterator[tuple[int, Config]]:
  """(number, config of that fold) of each of `--folds`."""
  for number in map(int, options.folds.split(",")):
    config: Any = options.config.copy_and_resolve_references()
    config.data.train_options.fold = config.data.val_options.fold = number
    yield number, config


def main(arguments: Sequence[str]) -> None:
  """Prints the table."""
  parser = fold_parser(__doc__, "G")
  parser.add_argument("--save", metavar="DIR", help="write each fold's G there, for init.g")
  others = "a control: G learns from the labels of other pairs"
  parser.add_argument("--shuffled", action="store_true", help=others)
  options = parse_config(parser, arguments)
  if options.save:
    Path(options.save).mkdir(parents=True, exist_ok=True)
  folds = {}
  for number, config in folds_of(options):
    save = Path(options.save) / f"g_fold_{number}.safetensors" if options.save else None
    folds[number] = run_fold(config, CONSTANTS, options.average, save, options.shuffled)
    print("\n".join(table(folds)), flush=True)


if __name__ == "__main__":
  try:
    main(sys.argv[1:])
  except UsageError as error:
    sys.exit(f"error: {error}")
