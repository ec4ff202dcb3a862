"""Trains a fusion network on by the measures that fused images are judged by, on synthetic pairs.

  python tools/polish.py --weights=runs/starter/weights/f.safetensors --workdir=runs/polished

How the shipped weights of F and of the fast network are finished. The loss is that of the paper at
fixed weights, with the brighter image beside the mean of both, gradients a little larger than the
sources', what VIF, Qabf, SSIM and SCD lack, rewards for contrast and entropy, and a price on pixels
brighter or darker than all that both sources show around them (halos). Pairs are those of
`tools/distil_pairs.py`: no photographs. Each round writes `WORKDIR/ROUND.safetensors`, every 250
steps and at its end, and begins with what the one before has written; `--start=2` begins with
round 2.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polish_measures as measures
from distil_pairs import CROP, Crops, crops_of

from tdfusion_jax import fusers
from tdfusion_jax.files import UsageError, atomic_write
from tdfusion_jax.fusers import Fuser
from tdfusion_jax.ops import compiling
from tdfusion_jax.ops.image import sobel
from tdfusion_jax.progress import Progress
from tdfusion_jax.weightfiles import save_weights

SIDE = 128
"""Pixels of a crop that is learned from."""
SCENES, SEED = 320, 7
WARMUP, LAST = 100, 0.02
SAVE_EVERY = 250
_HIGHEST_VIF = 1.5
_LEAST_CONTRAST = 0.02


class Round(NamedTuple):
  """A part of the training: steps, and the weights of the terms of its loss."""

  steps: int
  mean: float
  """Of the squared distance to both images, half to each."""
  brighter: float
  """Of the squared distance to the brighter image of the two."""
  gain: float
  """What gradients are sent after: so many times the stronger one of the sources'."""
  vif: float
  qabf: float
  ssim: float
  scd: float = 0.0
  contrast: float = 0.0
  """Of the logarithm of the standard deviation."""
  entropy: float = 0.0
  gradient: float = 0.3
  overshoot: float = 1.0
  rate: float = 5e-4
  """Of Adam, at its height; it falls along a cosine."""
  batch: int = 2


ROUNDS = {
  "F": (
    Round(1600, mean=0.1, brighter=0.1, gain=1.1, vif=0.15, qabf=0.15, ssim=0.0),
    Round(1200, mean=0.1, brighter=0.1, gain=1.08, vif=0.1, qabf=0.25, ssim=0.25),
    Round(1200, mean=0.08, brighter=0.12, gain=1.13, vif=0.12, qabf=0.5, ssim=0.22),
    Round(700, 0.09, 0.11, 1.12, 0.12, 0.5, 0.26, scd=0.03, entropy=0.03, rate=4e-4),
  ),
  "fast": (
    Round(2500, 0.1, 0.1, 1.12, 0.1, 0.45, 0.28, 0.1, contrast=0.02, rate=1e-3, batch=4),
    Round(2000, 0.09, 0.11, 1.12, 0.13, 0.55, 0.26, 0.03, entropy=0.03, rate=8e-4, batch=4),
  ),
}
"""By network, in order: the terms were weighed anew where a round ended."""


def pairs_of(file: Path, scenes: int = SCENES) -> Crops:
  """Those in `file`, made there if need be."""
  if not file.exists():
    with Progress(scenes, "scenes", unit="scenes") as progress:
      parts = [crops_of(scene, SEED) for scene in progress.track(range(scenes))]
    made = Crops(*(np.concatenate(side) for side in zip(*parts, strict=True)))
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
      np.savez(stream, **made._asdict())
  with np.load(file) as kept:
    return Crops(*(kept[name] for name in Crops._fields))


def loss(how: Round, ir: jax.Array, vi: jax.Array, fused: jax.Array) -> tuple[jax.Array, Any]:
  """The loss of images [B, SIDE, SIDE] in [0, 1], and its parts."""
  mean = (jnp.square(fused - ir) + jnp.square(fused - vi)).mean() / 2
  brighter = jnp.square(fused - jnp.maximum(ir, vi)).mean()
  gradient = jnp.zeros(())
  for of_fused, a, b in zip(*(sobel(image[..., None]) for image in (fused, ir, vi)), strict=True):
    stronger = jnp.where(jnp.abs(a) >= jnp.abs(b), a, b)
    gradient = gradient + jnp.abs(of_fused - how.gain * stronger).mean()
  vif = (measures.vif(ir, fused) + measures.vif(vi, fused)) / 2
  deviation = jnp.sqrt(jnp.var(fused, axis=(1, 2)) + 1e-8)  # a slope where all is flat
  parts = {
    "gradient": gradient,
    "overshoot": measures.overshoot(ir, vi, fused),
    "VIF": jnp.minimum(vif, _HIGHEST_VIF).mean(),
    "Qabf": measures.qabf(ir, vi, fused).mean(),
    "SSIM": ((measures.ssim(ir, fused) + measures.ssim(vi, fused)) / 2).mean(),
    "SCD": measures.scd(ir, vi, fused).mean(),
    "entropy": measures.entropy(fused).mean(),
    "contrast": jnp.log(deviation + _LEAST_CONTRAST).mean(),
  }
  rewards = {"VIF": how.vif, "Qabf": how.qabf, "SSIM": how.ssim, "SCD": how.scd}
  rewards |= {"contrast": how.contrast, "entropy": how.entropy}
  total = how.mean * mean + how.brighter * brighter + how.gradient * gradient
  total = total + how.overshoot * parts["overshoot"]
  return total - sum(weight * parts[name] for name, weight in rewards.items()), parts


def train(fuser: Fuser, params: Any, pairs: Crops, how: Round, file: Path) -> Any:
  """The parameters after one round, written to `file`."""
  rate = optax.warmup_cosine_decay_schedule(
    0.0, how.rate, min(WARMUP, how.steps // 2), how.steps, how.rate * LAST
  )
  optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

  def of_params(params: Any, ir: jax.Array, vi: jax.Array):
    return loss(how, ir, vi, fuser(params, ir[..., None], vi[..., None])[..., 0])

  @compiling.jit
  def step(params: Any, state: Any, ir: jax.Array, vi: jax.Array):
    gradient, parts = jax.grad(of_params, has_aux=True)(params, ir, vi)
    updates, state = optimiser.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, parts

  rng, state = np.random.default_rng(0), optimiser.init(params)
  with Progress(how.steps, file.stem, unit="steps") as progress:
    for done in range(1, how.steps + 1):
      params, state, parts = step(params, state, *_batch(pairs, how.batch, rng))
      if done % 50 == 0:
        progress.update(done, text=", ".join(f"{k} {float(v):.4f}" for k, v in parts.items()))
      if done % SAVE_EVERY == 0 or done == how.steps:
        _save(file, fuser, params)
  return params


def _batch(pairs: Crops, size: int, rng: np.random.Generator) -> tuple[jax.Array, jax.Array]:
  chosen = rng.integers(0, len(pairs.ir), size)
  y, x = rng.integers(0, CROP + 1 - SIDE, 2)
  turn = -1 if rng.random() < 0.5 else 1
  cut = (side[chosen, y : y + SIDE, x : x + SIDE][:, :, ::turn] for side in pairs)
  ir, vi = (jnp.asarray(side.astype(np.float32) / 255) for side in cut)
  return ir, vi


def _save(file: Path, fuser: Fuser, params: Any) -> None:
  kept = np.float16 if fuser.name == fusers.fast_network().name else np.float32
  variables = {"params": jax.tree.map(lambda x: np.asarray(x, kept), params)}
  save_weights(file, variables, {"arch": fuser.name, "licence": "Apache-2.0"})


def polish(
  weights: Path,
  pairs: Crops,
  folder: Path,
  start: int = 1,
  rounds: Mapping[str, Sequence[Round]] = ROUNDS,
) -> None:
  """All rounds from `start` on, counted from 1."""
  fuser, params = fusers.load_fusion(weights=weights)
  if fuser.name not in rounds:
    raise UsageError(f"{weights}: of {fuser.name!r}; there are rounds for {', '.join(rounds)}.")
  for number, how in enumerate(rounds[fuser.name], 1):
    file = folder / f"{number}.safetensors"
    if number >= start:
      train(fuser, params, pairs, how, file)
    params = fusers.load_fusion(weights=file)[1]


def main() -> None:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--weights", type=Path, required=True, help="where it begins")
  parser.add_argument("--workdir", type=Path, required=True)
  parser.add_argument("--start", type=int, default=1, metavar="ROUND", help="skip those before")
  options = parser.parse_args()
  options.workdir.mkdir(parents=True, exist_ok=True)
  pairs = pairs_of(options.workdir / "pairs.npz")
  polish(options.weights, pairs, options.workdir, options.start)


if __name__ == "__main__":
  try:
    main()
  except UsageError as error:
    sys.exit(f"error: {error}")
