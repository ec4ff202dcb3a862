"""Measures what each rule for G asks of the fusion loss's weights, by region of the images.

  python tools/credit.py RUN [--t=FILE.safetensors] [--w=0.5] [--batches=25] [--rules="A;B"]

RUN is a finished run with a task; its F and T are used, or with `--t` another T, one that has
learned longer, say. Weights are `--w` everywhere, one number per pixel in the place of G: the
gradient of G's objective with respect to them is what a rule asks of every pixel, before G's
network has had its say.

A table follows of mean pushes on w_a, positive towards infrared, in units of the mean absolute push
of all pixels, with standard errors over batches. The regions of the built-in world are what one
image alone shows: right would be a positive push in things that only infrared shows, a negative one
in things that only the visible image shows. Of other data they are the labels' classes.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.batch import DetTarget, Pair, SegTarget, Views
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.data import val_batches
from tdfusion_jax.data.source import Source, find
from tdfusion_jax.files import UsageError
from tdfusion_jax.meta import Method, Rates, Solve, Teacher, TrainState, teach
from tdfusion_jax.meta.equilibrium import direct, equilibrium
from tdfusion_jax.meta.gauss_newton import gauss_newton
from tdfusion_jax.meta.lookahead import lookahead
from tdfusion_jax.report.collect import open_run
from tdfusion_jax.train import build

Masks = Mapping[str, np.ndarray]
"""{region: [B, H, W] bool} of a batch."""
ELSEWHERE = "elsewhere"


class Rule(NamedTuple):
  """A teacher, and which of two batches it is asked about."""

  teacher: Teacher
  asks_mtr: bool
  """Its weights are those of the meta-train batch; else of the meta-test batch."""
  same: bool = False
  """Both batches are one."""


def rules(rates: Rates) -> dict[str, Callable[[], Rule]]:
  """All that can teach G, each made when it is asked for."""
  return {
    "lookahead": lambda: Rule(lookahead(rates), True),
    "lookahead, 4 steps": lambda: Rule(lookahead(rates, f_steps=4), True),
    "gauss_newton, other images": lambda: Rule(gauss_newton(Solve()), True),
    "gauss_newton, the same images": lambda: Rule(gauss_newton(Solve(), "same"), True, same=True),
    "equilibrium": lambda: Rule(equilibrium(), False),
    "direct": lambda: Rule(direct(), False),
  }


def _weigh_pixels(w_a, ir, vi):
  del ir, vi
  return jnp.concatenate([w_a, 1 - w_a], axis=-1)


def push(
  teacher: Teacher, method: Method, state: TrainState, mtr: Views, mts: Views, w_a: float
) -> jax.Array:
  """-d(G's objective)/dw_a at `w_a` everywhere, [B, H, W].

  Args:
    teacher: what G lowers; the look-aheads ask it of the pixels of `mtr`, the others of `mts`.
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


def by_region(asked: np.ndarray, masks: Masks) -> np.ndarray:
  """Mean push of [B, H, W] in each region, NaN in one that no image has."""
  return np.array([asked[mask].mean() if mask.any() else np.nan for mask in masks.values()])


def masks_of(source: Source, start: int, pair: Pair) -> Masks:
  """Where the regions lie in a batch.

  Args:
    source: of the pairs; the built-in world knows what one image alone shows.
    start: index of the batch's first pair.
    pair: the batch, with its target.
  """
  scene = find(source, "scene")
  if scene is not None:
    scenes = [scene(start + row) for row in range(len(pair.ir))]
    found = {
      "infrared only": np.stack([one["ir_only"] for one in scenes]),
      "visible only": np.stack([one["vi_only"] for one in scenes]),
    }
  else:
    found = _of_labels(source.classes, pair)
  covered = np.any(list(found.values()), axis=0)
  return {**found, ELSEWHERE: ~covered}


def _of_labels(classes: tuple[str, ...], pair: Pair) -> dict[str, np.ndarray]:
  """{class: its pixels, or the pixels in its boxes}; of masks without class 0, the background."""
  target = pair.target
  if isinstance(target, SegTarget):
    named = list(enumerate(classes))[1:]
    return {name: np.asarray(target.labels) == index for index, name in named}
  assert isinstance(target, DetTarget), "a run with labels"
  found = {name: np.zeros(np.shape(pair.ir)[:3], bool) for name in classes}
  for row, slot in np.argwhere(np.asarray(target.valid)):
    x1, y1, x2, y2 = np.asarray(target.boxes)[row, slot].round().astype(int)
    found[classes[int(target.classes[row, slot])]][row, y1:y2, x1:x2] = True
  return found


class _World(NamedTuple):
  """A run's networks and the validation batches to ask about."""

  method: Method
  state: TrainState
  rates: Rates
  batches: list[Pair]
  masks: list[Masks]


def _open(run: Path, t: str | Path | None, batches: int) -> _World:
  """The run's F and T (or `t`) and its first validation batches."""
  config = open_run(run.name, run).config
  if config.task.kind == "none":
    raise ConfigError(f"{run}: a run with a task is needed.")
  weights = run / "weights"
  config.init.f, config.init.g = str(weights / "f.safetensors"), ""
  config.init.t = str(t or weights / "t.safetensors")
  experiment = build.experiment(config)
  pairs = _batches(run, config, experiment.val, batches)
  rows = config.data.batch_size
  masks = [masks_of(experiment.val, rows * i, pair) for i, pair in enumerate(pairs)]
  if masks[0][ELSEWHERE].shape != pairs[0].ir.shape[:3]:
    raise ConfigError(f"{run}: scenes as large as data.task_size are needed.")
  return _World(
    experiment.method,
    experiment.init(),
    Rates(config.meta.eta_f, config.meta.eta_t),
    [jax.tree.map(jnp.asarray, pair) for pair in pairs],
    masks,
  )


def _batches(run: Path, config: Config, source: Source, most: int) -> list[Pair]:
  rows = config.data.batch_size
  count = min(most, len(source) // rows)
  if count < 2:
    raise ConfigError(f"{run}: two validation batches and more are needed.")
  options: dict[str, Any] = {
    "batch_size": rows,
    "task_size": tuple(config.data.task_size),
    "max_boxes": config.data.max_boxes,
  }
  return list(val_batches(source, limit=count * rows, **options))


class Asked(NamedTuple):
  """What a rule asks of the weights."""

  rule: str
  regions: list[str]
  means: np.ndarray
  """[regions], in units of the mean absolute push."""
  errors: np.ndarray
  """[regions], standard errors over batches."""
  seconds: float
  """Of a batch, without compilation."""


def measure(
  run: str | Path,
  t: str | Path | None = None,
  w_a: float = 0.5,
  batches: int = 25,
  chosen: list[str] | None = None,
) -> Iterator[Asked]:
  """What each rule asks of the weights.

  Args:
    run: run folder.
    t: weight file of a T in place of the run's.
    w_a: where the weights stand.
    batches: validation batches to average over, at most.
    chosen: names of `rules`; None for all.

  Raises:
    UsageError: not a run with a task, weights that do not fit, or an unknown rule.
  """
  world = _open(Path(run), t, batches)
  known = rules(world.rates)
  for name in chosen or known:
    if name not in known:
      raise UsageError(f"--rules: {name!r} is none of: {'; '.join(known)}.")
    yield _ask(name, known[name](), world, w_a)


def _ask(name: str, rule: Rule, world: _World, w_a: float) -> Asked:
  ask = jax.jit(partial(push, rule.teacher, world.method, w_a=w_a))
  means, sizes, took = [], [], []
  others = world.batches if rule.same else world.batches[1:] + world.batches[:1]
  for pair, other, masks in zip(world.batches, others, world.masks, strict=True):
    # Every rule is asked about `pair`.
    mtr, mts = (pair, other) if rule.asks_mtr else (other, pair)
    began = time.perf_counter()
    asked = np.asarray(ask(world.state, Views(mtr, mtr), Views(mts, mts)))
    took.append(time.perf_counter() - began)
    means.append(by_region(asked, masks))
    sizes.append(np.abs(asked).mean())
  scaled = np.stack(means) / np.mean(sizes)
  counts = (~np.isnan(scaled)).sum(axis=0)
  errors = np.nanstd(scaled, axis=0, ddof=1) / np.sqrt(counts)
  regions = list(world.masks[0])
  return Asked(name, regions, np.nanmean(scaled, axis=0), errors, float(np.median(took[1:])))


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("run", metavar="RUN")
  parser.add_argument("--t", metavar="FILE", help="a T in place of the run's")
  parser.add_argument("--w", type=float, default=0.5, help="w_a to stand at")
  parser.add_argument("--batches", type=int, default=25)
  parser.add_argument("--rules", metavar="A;B", help="only these, with ; between them")
  given = parser.parse_args()
  chosen = [name.strip() for name in given.rules.split(";")] if given.rules else None
  for number, row in enumerate(measure(given.run, given.t, given.w, given.batches, chosen)):
    if not number:
      heads = [*row.regions, "s a batch"]
      print("| rule | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
    both = zip(row.means, row.errors, strict=True)
    cells = [f"{mean:+.2f} ± {error:.2f}" for mean, error in both]
    print(f"| {row.rule} | " + " | ".join([*cells, f"{row.seconds:.1f}"]) + " |", flush=True)


if __name__ == "__main__":
  try:
    main()
  except UsageError as error:
    sys.exit(f"error: {error}")
