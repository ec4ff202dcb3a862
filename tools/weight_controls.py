"""Asks whether weights need to be learned: T's scores on averages by weights that no one learned.

  python tools/weight_controls.py --config=FILE --config.FIELD=VALUE ... --folds=0,1,2 [--g=DIR]

Config and fields are those of `tools/learned_average.py`; DIR is what its `--save` wrote. Each kind
of weights has settings; the best one is chosen on "val" by T's main score, and judged on "test":

  constant    the same w_a everywhere
  day, night  a constant for bright visible images and one for dark ones
  warm        more infrared where infrared is brighter than the rest of its image
  brighter    more of the image that is brighter at the pixel
  maximum     all of it

"warm" and "brighter" have the mean log-odds of the constant, as a G of `loss.tone_held` has. Each
kind, and G, is compared with the constant.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from learned_average import (
  CONSTANTS,
  Look,
  constant_weights,
  differences,
  fold_parser,
  folds_of,
  told,
  weighing,
)

from tdfusion_jax.config import Config
from tdfusion_jax.config.commandline import parse_config
from tdfusion_jax.evaluate.contributions import Contributions
from tdfusion_jax.evaluate.resampling import estimate
from tdfusion_jax.evaluate.verdict import MAIN
from tdfusion_jax.files import UsageError
from tdfusion_jax.train import build

Weigh = Callable[[jax.Array, jax.Array], jax.Array]
_NIGHT = 0.25
"""Mean luminance below which a visible image is dark."""
_BY_DAY, _BY_NIGHT = (0.5, 0.65, 0.75), (0.65, 0.75, 0.9)
_WARM, _BRIGHTER = (0.25, 0.5, 1.0), (2.0, 4.0, 8.0)
_BLUR = 8.0  # pixels


class Judged(NamedTuple):
  """One kind of weights on one fold."""

  setting: str
  scores: dict[str, float]
  contributions: Contributions


def _both(w_a: jax.Array) -> jax.Array:
  return jnp.concatenate([w_a, 1 - w_a], axis=-1)


def about(tone: float, odds: jax.Array) -> jax.Array:
  """Weights [B, H, W, 2] whose mean log-odds in each image are those of `tone`.

  Args:
    tone: w_a, in (0, 1).
    odds: [B, H, W, 1], log-odds but for a number.
  """
  held = odds - odds.mean(axis=(1, 2), keepdims=True)
  return _both(jax.nn.sigmoid(held + jnp.log(tone / (1 - tone))))


def by_day_and_night(day: float, night: float) -> Weigh:
  """A constant for bright visible images, another one for dark ones."""

  def weigh(ir, vi):
    dark = vi.mean(axis=(1, 2), keepdims=True) < _NIGHT
    return _both(jnp.broadcast_to(jnp.where(dark, night, day), ir.shape))

  return weigh


def warm(tone: float, gain: float) -> Weigh:
  """Log-odds rise by `gain` with each standard deviation of the blurred infrared image."""
  radius = int(3 * _BLUR)
  window = jnp.exp(-0.5 * (jnp.arange(-radius, radius + 1) / _BLUR) ** 2)
  window = window / window.sum()

  def along(images, axis):
    width = [(0, 0)] * 4
    width[axis] = (radius, radius)
    shape = [1, 1, 1, 1]
    shape[axis - 1] = window.size
    kernel = window.reshape(shape)
    numbers = ("NHWC", "HWIO", "NHWC")
    padded = jnp.pad(images, width, "edge")
    return jax.lax.conv_general_dilated(padded, kernel, (1, 1), "VALID", dimension_numbers=numbers)

  def weigh(ir, vi):
    del vi
    seen = along(along(ir, 1), 2)
    return about(tone, gain * seen / (seen.std(axis=(1, 2), keepdims=True) + 1e-6))

  return weigh


def brighter(tone: float, gain: float) -> Weigh:
  """Log-odds rise with what infrared is brighter by."""
  return lambda ir, vi: about(tone, gain * (ir - vi))


def maximum(ir: jax.Array, vi: jax.Array) -> jax.Array:
  """All weight to the brighter image."""
  return _both((ir >= vi).astype(ir.dtype))


def kinds(tone: float) -> dict[str, dict[str, Weigh]]:
  """{kind: {setting: weights}} of those that are chosen about a constant."""
  days = [(day, night) for day in _BY_DAY for night in _BY_NIGHT]
  return {
    "day, night": {f"w = {d:g}, {n:g}": by_day_and_night(d, n) for d, n in days},
    "warm": {f"gain {gain:g}": warm(tone, gain) for gain in _WARM},
    "brighter": {f"gain {gain:g}": brighter(tone, gain) for gain in _BRIGHTER},
    "maximum": {"": maximum},
  }


def run_fold(config: Config, g_file: Path | None) -> dict[str, Judged]:
  """{kind: what came of it on "test"}, the constant first.

  Args:
    config: with `data.train_options.fold` and `data.val_options.fold`.
    g_file: G's weights, None without.
  """
  config.data.val_split, config.data.test_split = "val", "test"
  config.init.g = "" if g_file is None else str(g_file)
  experiment = build.experiment(config)
  params, val = experiment.init().params, experiment.val
  look, test = Look(config, params), build.source(config, "test")
  main = MAIN[str(val.kind)][0]

  def best(settings: Mapping[str, Weigh]) -> str:
    if len(settings) == 1:
      return next(iter(settings))
    scores = {name: look.at(weigh, val)[0][main] for name, weigh in settings.items()}
    return max(scores, key=scores.__getitem__)

  def judged(setting: str, weigh: Weigh) -> Judged:
    return Judged(setting, *look.at(weigh, test))

  constants = {f"{w:g}": constant_weights(w) for w in CONSTANTS}
  chosen = best(constants)
  found = {"constant": judged(f"w = {chosen}", constants[chosen])}
  tone = min(max(float(chosen), 0.5), 0.8)  # at 0 and 1 no pixel would have a choice left
  for kind, settings in kinds(tone).items():
    setting = best(settings)
    found[kind] = judged(setting, settings[setting])
  if g_file is not None:
    found["G"] = judged(f"tone {tone:g}", weighing(config, params.g, tone))
  return found


def table(folds: Mapping[int, Mapping[str, Judged]], names: Sequence[str]) -> list[str]:
  """Markdown lines: each fold's scores, then the mean difference of each kind to the constant.

  Args:
    folds: {number: what `run_fold` gives}.
    names: of the scores.
  """
  first = next(iter(folds.values()))
  heads = ["weights", *(f"fold {number}" for number in folds)]
  heads += [f"{name}: less constant, mean of folds" for name in names]
  lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
  for kind in first:
    cells = []
    for fold in folds.values():
      scores = ", ".join(f"{fold[kind].scores[name]:.3f}" for name in names)
      cells.append(f"{scores} ({fold[kind].setting})" if fold[kind].setting else scores)
    gains = [
      differences(fold[kind].contributions, fold["constant"].contributions, names)
      for fold in folds.values()
    ]
    for name in names:
      gain = estimate(np.mean([of[name] for of in gains], axis=0))
      cells.append("" if kind == "constant" else told(gain).removeprefix("learned less constant "))
    lines.append("| " + " | ".join([kind, *cells]) + " |")
  return lines


def main(arguments: Sequence[str]) -> None:
  """Prints the table."""
  parser = fold_parser(__doc__, "G")
  parser.add_argument("--g", metavar="DIR", type=Path, help="with g_fold_K.safetensors")
  options = parse_config(parser, arguments)
  folds = {}
  for number, config in folds_of(options):
    g_file = options.g / f"g_fold_{number}.safetensors" if options.g else None
    folds[number] = run_fold(config, g_file)
    names = MAIN[str(build.source(config, "test").kind)]
    print("\n".join(table(folds, names)), flush=True)


if __name__ == "__main__":
  try:
    main(sys.argv[1:])
  except UsageError as error:
    sys.exit(f"error: {error}")
