"""Trains a fusion network on by the measures that fused images are judged by, on synthetic pairs.

  python tools/polish.py --weights=runs/starter/weights/f.safetensors --workdir=runs/polished

How the shipped weights of F and of the fast network are finished. The loss is that of the paper at
fixed weights, with the brighter image beside the mean of both, gradients a little larger than the
sources', what VIF, Qabf, SSIM and SCD lack, rewards for contrast and entropy, and a price on pixels
brighter or darker than all that both sources show around them (halos). Later rounds ask for other
things where both images are sharp, and where one is dark. Pairs are those of
`tools/distil_pairs.py`: no photographs. Each round writes `WORKDIR/ROUND.safetensors`, every 250
steps and at its end, and begins with what the one before has written, or with a mean of several;
`--start=2` begins with round 2.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polish_measures as measures
from distil_pairs import CROP, Crops, crops_of
from polish_rounds import ROUNDS, Round

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
_LEAST_CONTRAST, _LEAST_DETAIL = 0.02, 0.01
_SOFT = 5.0
"""SF above `Sharp.least` from where pairs are sharp in full."""
_DARK, _DIM, _OFTEN = 52.0, 20.0, 48.0
"""Levels of the mean: `Dark` begins there, holds in full so far below; drawn more often below."""


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


def sharpness(images: jax.Array) -> jax.Array:
  """SF of images [B, H, W] in [0, 1], in levels of 8 bits: [B]."""
  down, across = (jnp.square(jnp.diff(images, axis=axis)).mean((1, 2)) for axis in (1, 2))
  return 255 * jnp.sqrt(down + across + 1e-12)  # a slope where all is flat


def darker(ir: Any, vi: Any) -> jax.Array:
  """Mean of the darker image of pairs [B, H, W]: [B], in the unit of the images."""
  return jnp.minimum(ir.mean((1, 2)), vi.mean((1, 2)))


def shares(how: Round, ir: jax.Array, vi: jax.Array) -> tuple[jax.Array, jax.Array]:
  """How far each pair [B, H, W] is sharp, and dark, for the terms of `how`: [B] in [0, 1] each."""
  dark = jnp.clip((_DARK - 255 * darker(ir, vi)) / _DIM, 0, 1)
  softer = jnp.minimum(sharpness(ir), sharpness(vi))
  sharp = jnp.clip((softer - how.sharp.least) / _SOFT, 0, 1)
  return sharp * (1 - (1 - how.dark.sharp) * dark), dark


def loss(how: Round, ir: jax.Array, vi: jax.Array, fused: jax.Array) -> tuple[jax.Array, Any]:
  """The loss of images [B, SIDE, SIDE] in [0, 1], and its parts."""
  mean = (jnp.square(fused - ir) + jnp.square(fused - vi)).mean() / 2
  brighter = jnp.square(fused - jnp.maximum(ir, vi)).mean()
  sharp, dark = shares(how, ir, vi)
  gain = (how.gain + how.sharp.gain * sharp)[:, None, None, None]
  gradient = jnp.zeros(())
  for of_fused, a, b in zip(*(sobel(image[..., None]) for image in (fused, ir, vi)), strict=True):
    stronger = jnp.where(jnp.abs(a) >= jnp.abs(b), a, b)
    gradient = gradient + jnp.abs(of_fused - gain * stronger).mean()
  deviation = jnp.sqrt(jnp.var(fused, axis=(1, 2)) + 1e-8)  # a slope where all is flat
  measured = {
    "VIF": jnp.minimum((measures.vif(ir, fused) + measures.vif(vi, fused)) / 2, _HIGHEST_VIF),
    "Qabf": measures.qabf(ir, vi, fused),
    "SSIM": (measures.ssim(ir, fused) + measures.ssim(vi, fused)) / 2,
    "SCD": measures.scd(ir, vi, fused),
    "entropy": measures.entropy(fused),
    "contrast": jnp.log(deviation + _LEAST_CONTRAST),
    "detail": jnp.log(sharpness(fused) + _LEAST_DETAIL),
  }
  rewards = {
    "VIF": how.vif + how.dark.vif * dark,
    "Qabf": how.qabf + how.dark.qabf * dark,
    "SSIM": how.ssim + how.sharp.ssim * (1 - sharp) * (1 + how.dark.ssim * dark),
    "SCD": how.scd,
    "entropy": how.entropy + how.dark.entropy * dark,
    "contrast": how.contrast,
    "detail": how.sharp.detail * sharp,
  }
  total = how.mean * mean + how.brighter * brighter + how.gradient * gradient
  overshoot = measures.overshoot(ir, vi, fused)
  total = total + how.overshoot * overshoot
  total = total - sum((weight * measured[name]).mean() for name, weight in rewards.items())
  parts = {"gradient": gradient, "overshoot": overshoot}
  return total, parts | {name: values.mean() for name, values in measured.items()}


def train(fuser: Fuser, params: Any, pairs: Crops, how: Round, file: Path) -> Any:
  """The parameters after one round, written to `file`."""
  if not how.steps:
    _save(file, fuser, params)
    return params
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

  if how.dark.copies:
    often = np.asarray(darker(*pairs) < _OFTEN)  # of 8 bits
    pairs = Crops(*(np.concatenate([side, *[side[often]] * how.dark.copies]) for side in pairs))
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
  files = [folder / f"{number}.safetensors" for number in range(1, len(rounds[fuser.name]) + 1)]
  for number, how in enumerate(rounds[fuser.name], 1):
    if number >= start:
      if how.begin is not None:
        params = mean_of({files[before - 1]: share for before, share in how.begin.items()})
      elif number > 1:
        params = fusers.load_fusion(weights=files[number - 2])[1]
      train(fuser, params, pairs, how, files[number - 1])


def mean_of(shares: Mapping[Path, float]) -> Any:
  """The parameters of one network in the mean of its files {file: share}."""
  kept = [fusers.load_fusion(weights=file)[1] for file in shares]

  def mean(*leaves: Any) -> np.ndarray:
    return np.asarray(
      sum(share * np.float64(leaf) for share, leaf in zip(shares.values(), leaves, strict=True)),
      np.float32,
    )

  return jax.tree.map(mean, *kept)


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
