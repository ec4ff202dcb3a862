"""Measures what each rule for G asks of the fusion loss's weights, by region of the built-in world.

  python tools/credit.py RUN [--t=FILE.safetensors] [--w=0.5] [--batches=25]

RUN is a finished run on the synthetic world with a task; its F and T are used, or with `--t`
another T, one that has learned longer, say. Weights are `--w` everywhere, one number per pixel in
the place of G: the gradient of G's objective with respect to them is what a rule asks of every
pixel, before G's network has had its say.

A table follows of mean pushes on w_a, positive towards infrared, in units of the mean absolute push
of all pixels, with standard errors over batches. Right would be: positive in people that only
infrared shows, negative in signs that only the visible image shows.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax import weightfiles
from tdfusion_jax.batch import Pair, Views
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data import val_batches
from tdfusion_jax.data.source import find
from tdfusion_jax.meta import Method, Rates, Teacher, TrainState, teach
from tdfusion_jax.meta.equilibrium import equilibrium
from tdfusion_jax.meta.lookahead import lookahead
from tdfusion_jax.report.collect import open_run
from tdfusion_jax.train import build

REGIONS = ("infrared only", "visible only", "elsewhere")


def _weigh_pixels(w_a, ir, vi):
  del ir, vi
  return jnp.concatenate([w_a, 1 - w_a], axis=-1)


def push(
  teacher: Teacher, method: Method, state: TrainState, mtr: Views, mts: Views, w_a: float
) -> jax.Array:
  """-d(G's objective)/dw_a at `w_a` everywhere, [B, H, W].

  Args:
    teacher: what G lowers; the look-ahead asks it of the pixels of `mtr`, equilibrium of `mts`.
    method: functions and switches; the weights themselves take G's place.
    state: F and T as they are.
    mtr: meta-train batch.
    mts: meta-test batch, of the same shape.
    w_a: where the weights stand.
  """
  weights = jnp.full_like(mts.whole.ir, w_a)
  state = state._replace(params=state.params._replace(g=weights))
  per_pixel = method._replace(weigh=_weigh_pixels)
  grads, _ = teach(teacher, per_pixel, state, mtr, mts, jax.random.key(0))
  return -grads[..., 0]


def by_region(asked: np.ndarray, masks: list[dict[str, np.ndarray]]) -> np.ndarray:
  """Mean push of [B, H, W] in each of `REGIONS`, NaN in one that no image has."""
  infrared = np.stack([mask["ir_only"] for mask in masks])
  visible = np.stack([mask["vi_only"] for mask in masks])
  regions = (infrared, visible, ~(infrared | visible))
  return np.array([asked[region].mean() if region.any() else np.nan for region in regions])


class _World(NamedTuple):
  """A run's networks and the validation batches to ask about."""

  method: Method
  state: TrainState
  rates: Rates
  batches: list[Pair]
  masks: list[list[dict[str, np.ndarray]]]
  """Of each batch, what its images alone show."""


def _open(run: Path, t: str | Path | None, batches: int) -> _World:
  """The run's F and T (or `t`) and its first validation batches."""
  config = open_run(run.name, run).config
  if config.task.kind == "none" or not config.data.name.startswith("synthetic"):
    raise ConfigError(f"{run}: a run with a task on the built-in world is needed.")
  weights = run / "weights"
  config.init.f, config.init.g = str(weights / "f.safetensors"), ""
  config.init.t = str(t or weights / "t.safetensors")
  experiment = build.experiment(config)
  size, rows = tuple(config.data.task_size), config.data.batch_size
  count = min(batches, len(experiment.val) // rows)
  scene = find(experiment.val, "scene")
  if count < 2 or scene(0)["ir_only"].shape != size:
    raise ConfigError(
      f"{run}: two validation batches and more, of scenes as large as data.task_size, are needed."
    )
  pairs = val_batches(
    experiment.val,
    batch_size=rows,
    task_size=size,
    max_boxes=config.data.max_boxes,
    limit=count * rows,
  )
  return _World(
    experiment.method,
    experiment.init(),
    Rates(config.meta.eta_f, config.meta.eta_t),
    [jax.tree.map(jnp.asarray, pair) for pair in pairs],
    [[scene(rows * batch + row) for row in range(rows)] for batch in range(count)],
  )


def measure(
  run: str | Path, t: str | Path | None = None, w_a: float = 0.5, batches: int = 25
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
  """What each rule asks of the weights.

  Args:
    run: run folder.
    t: weight file of a T in place of the run's.
    w_a: where the weights stand.
    batches: validation batches to average over, at most.

  Yields:
    (rule, means, standard errors), arrays of three, `REGIONS`.

  Raises:
    ConfigError: not a run with a task on the built-in world.
    CheckpointError: weights that do not fit.
  """
  world = _open(Path(run), t, batches)
  teachers = {"lookahead": lookahead(world.rates), "equilibrium": equilibrium()}
  for rule, teacher in teachers.items():
    ask = jax.jit(partial(push, teacher, world.method, w_a=w_a))
    means, sizes = [], []
    others = world.batches[1:] + world.batches[:1]
    for pair, other, masks in zip(world.batches, others, world.masks, strict=True):
      # Both rules are asked about `pair`.
      mtr, mts = (pair, other) if rule == "lookahead" else (other, pair)
      asked = np.asarray(ask(world.state, Views(mtr, mtr), Views(mts, mts)))
      means.append(by_region(asked, masks))
      sizes.append(np.abs(asked).mean())
    scaled = np.stack(means) / np.mean(sizes)
    counts = (~np.isnan(scaled)).sum(axis=0)
    errors = np.nanstd(scaled, axis=0, ddof=1) / np.sqrt(counts)
    yield rule, np.nanmean(scaled, axis=0), errors


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("run", metavar="RUN")
  parser.add_argument("--t", metavar="FILE", help="a T in place of the run's")
  parser.add_argument("--w", type=float, default=0.5, help="w_a to stand at")
  parser.add_argument("--batches", type=int, default=25)
  given = parser.parse_args()
  print("| rule | " + " | ".join(REGIONS) + " |\n|---|" + "---|" * len(REGIONS))
  for rule, means, errors in measure(given.run, given.t, given.w, given.batches):
    cells = [f"{mean:+.2f} ± {error:.2f}" for mean, error in zip(means, errors, strict=True)]
    print(f"| {rule} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
  try:
    main()
  except (ConfigError, weightfiles.CheckpointError) as error:
    sys.exit(f"error: {error}")
