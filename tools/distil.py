"""Distils the fast network from F, on synthetic pairs alone: how the shipped fast weights are made.

  python tools/distil.py --workdir=runs/distilled [--scenes=320] [--seed=0] [--start=1]

F fuses every pair once, which `WORKDIR/pairs.npz` keeps; then the network learns what F made of
them, by the mean difference of images and of the steps between neighbouring pixels, in two rounds.
Each writes `WORKDIR/fast_ROUND.safetensors` in float16, every 500 steps and at its end, and begins
with what the one before has written. A rerun uses the pairs that are there; with `--start=2` it
does the second round alone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from distil_pairs import CROPS_PER_SCENE, crops_of

from tdfusion_jax import fusers
from tdfusion_jax.files import atomic_write
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.progress import Progress
from tdfusion_jax.weightfiles import save_weights

BATCH = 2
WARMUP = 200
SAVE_EVERY = 500


class Round(NamedTuple):
  """A part of the training."""

  steps: int
  rate: float
  """Of Adam, at its height; it falls to a thousandth along a cosine."""
  gradients: float
  """Weight of the difference of steps between neighbours."""


ROUNDS = (Round(4500, 2e-3, 1.0), Round(3500, 1e-3, 3.0))


class Lessons(NamedTuple):
  """What the network learns from: uint8 [N, CROP, CROP] twice, and what F made of them."""

  ir: np.ndarray
  vi: np.ndarray
  fused: np.ndarray
  """float16 [N, CROP, CROP] in [0, 1]."""


def lessons_of(file: Path, scenes: int, seed: int) -> Lessons:
  """The pairs in `file`, made there if need be."""
  if not file.exists():
    _make(file, scenes, seed)
  with np.load(file) as kept:
    lessons = Lessons(*(kept[name] for name in Lessons._fields))
  if len(lessons.ir) != scenes * CROPS_PER_SCENE:
    raise SystemExit(f"{file} has {len(lessons.ir)} pairs, of other --scenes: delete it.")
  return lessons


def _make(file: Path, scenes: int, seed: int) -> None:
  teach = make_fuse_fn(*fusers.load_fusion(weights=fusers.shipped_weights()))
  parts = []
  with Progress(scenes, "scenes", unit="scenes") as progress:
    for scene in range(scenes):
      crops = crops_of(scene, seed)
      ir, vi = (np.float32(side[..., None]) / 255 for side in crops)
      parts.append(Lessons(*crops, np.asarray(teach(ir, vi)[..., 0], np.float16)))
      progress.update(scene + 1)
  lessons = Lessons(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
  with atomic_write(file) as temporary, temporary.open("wb") as stream:
    np.savez(stream, **lessons._asdict())


def difference(fused: jax.Array, taught: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean differences of images [B, H, W, 1], and of the steps between their neighbouring pixels.

  Not of Sobel gradients: those do not see a pattern of two pixels, which a network that writes
  squares of two by two pixels is prone to.
  """
  error = fused - taught
  steps = sum(jnp.abs(jnp.diff(error, axis=axis)).mean() for axis in (1, 2))
  return jnp.abs(error).mean(), jnp.asarray(steps)


def distil(lessons: Lessons, rounds: Sequence[Round], seed: int, folder: Path, start: int) -> None:
  """Trains from round `start` on, counted from 1, and writes what each has made to `folder`."""
  params: Any = fusers.init_variables(fusers.fast_network().network, jax.random.key(seed))["params"]
  for number, each in enumerate(rounds, 1):
    file = folder / f"fast_{number}.safetensors"
    if number >= start:
      _train(params, lessons, each, np.random.default_rng(seed + number - 1), file)
    params = fusers.load_fusion(weights=file)[1]


def _train(params: Any, lessons: Lessons, how: Round, rng: np.random.Generator, file: Path) -> None:
  fuser = fusers.fast_network()
  warmup = min(WARMUP, how.steps // 2)
  rate = optax.warmup_cosine_decay_schedule(0.0, how.rate, warmup, how.steps, how.rate / 1000)
  optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

  def loss(params: Any, ir: jax.Array, vi: jax.Array, taught: jax.Array):
    images, gradients = difference(fuser(params, ir, vi), taught)
    return images + how.gradients * gradients, (images, gradients)

  @jax.jit
  def step(params: Any, state: Any, batch: Lessons):
    ir, vi = (side[..., None].astype(jnp.float32) / 255 for side in batch[:2])
    taught = batch.fused[..., None].astype(jnp.float32)
    gradient, measured = jax.grad(loss, has_aux=True)(params, ir, vi, taught)
    updates, state = optimiser.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, measured

  order = np.zeros(0, np.int64)
  state = optimiser.init(params)
  with Progress(how.steps, "distilling", unit="steps") as progress:
    for done in range(1, how.steps + 1):
      if len(order) < BATCH:
        order = rng.permutation(len(lessons.ir))
      chosen, order = order[:BATCH], order[BATCH:]
      batch = Lessons(*(array[chosen] for array in lessons))
      params, state, measured = step(params, state, batch)
      if done % 100 == 0:
        images, gradients = (float(x) for x in measured)
        progress.update(done, text=f"images {images:.4f}, gradients {gradients:.4f}")
      if done % SAVE_EVERY == 0 or done == how.steps:
        half = jax.tree.map(lambda x: np.asarray(x, np.float16), params)
        save_weights(file, {"params": half}, {"arch": fuser.name, "licence": "Apache-2.0"})


def main() -> None:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--workdir", type=Path, required=True)
  parser.add_argument("--scenes", type=int, default=320, help="each gives four pairs")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--start", type=int, default=1, metavar="ROUND", help="skip those before")
  options = parser.parse_args()
  lessons = lessons_of(options.workdir / "pairs.npz", options.scenes, options.seed)
  distil(lessons, ROUNDS, options.seed, options.workdir, options.start)


if __name__ == "__main__":
  main()
