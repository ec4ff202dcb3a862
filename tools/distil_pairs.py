"""Synthetic pairs for `tools/distil.py`, more varied than the built-in world's photographs.

The built-in scenes, with other tones, blur, noise, textures and reversed infrared, so that a
network that learns from them has met what real cameras do. No photographs.
"""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from tdfusion_jax.data import get_source
from tdfusion_jax.data.synthetic.canvas import smooth_noise
from tdfusion_jax.ops.image import luminance

SCENE = (480, 640)
CROP = 192
CROPS_PER_SCENE = 4
_FINEST_CELLS = 96


class Crops(NamedTuple):
  """Pairs, uint8 [N, CROP, CROP] each."""

  ir: np.ndarray
  vi: np.ndarray


def crops_of(scene: int, seed: int) -> Crops:
  """`CROPS_PER_SCENE` varied crops of one built-in scene, a pure function of both numbers."""
  rng = np.random.default_rng([seed, scene])
  noise = float(rng.choice([0.3, 0.6, 1.0]))
  source = get_source(
    "synthetic_det", split="train", size=SCENE, count=scene + 1, seed=seed, night=0.5, noise=noise
  )
  sample = source[scene]
  visible = np.asarray(luminance(sample.vi.astype(np.float32) / 255))[..., 0]
  images = {"ir": sample.ir.astype(np.float32).reshape(SCENE) / 255, "vi": visible}
  made = [_varied(_cut(images, rng), rng) for _ in range(CROPS_PER_SCENE)]
  return Crops(*(np.stack([pair[side] for pair in made]) for side in ("ir", "vi")))


def _cut(images: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
  """A window of both, now and then of two places, from 192 to 448 pixels wide, reduced to CROP."""
  extent = int(rng.integers(CROP, 449)) if rng.random() < 0.5 else CROP
  cut, place = {}, None
  for side, image in images.items():
    if place is None or rng.random() < 0.1:
      place = [int(rng.integers(0, size - extent + 1)) for size in SCENE]
    window = image[place[0] : place[0] + extent, place[1] : place[1] + extent]
    cut[side] = np.asarray(
      Image.fromarray(window).resize((CROP, CROP), Image.Resampling.BOX, reducing_gap=None)
    )
  return cut


def _varied(images: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Other textures, tones, sharpness and noise; 8 bits."""
  if rng.random() < 0.2:
    images = {"ir": images["vi"], "vi": images["ir"]}
  shared = _texture(rng)
  return {
    side: _photo(_toned(_textured(image, shared, rng), side, rng), side, rng)
    for side, image in images.items()
  }


def _texture(rng: np.random.Generator) -> np.ndarray:
  """Bumps of all sizes, finer ones lower: [CROP, CROP] about -1 to 1."""
  total: Any = np.zeros((CROP, CROP), np.float32)
  fall = rng.uniform(0.3, 1.1)
  cells = 3
  while cells <= _FINEST_CELLS:
    total = total + smooth_noise(rng, (CROP, CROP), cells) * np.float32(cells**-fall)
    cells *= 2
  return total / max(float(np.abs(total).max()), 1e-6)


def _textured(image: np.ndarray, shared: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """With a texture that both images have, and one of its own, each on a part of the picture."""
  for texture, chance in ((shared, 0.6), (_texture(rng), 0.4)):
    if rng.random() < chance:
      where = np.clip(0.5 + 2 * smooth_noise(rng, (CROP, CROP), int(rng.integers(2, 8))), 0, 1)
      image = image + texture * where * np.float32(rng.uniform(-0.3, 0.3))
  return image


def _toned(image: np.ndarray, side: str, rng: np.random.Generator) -> np.ndarray:
  """Other contrast, brightness and gamma; infrared reversed now and then, as cameras show it."""
  image = np.clip(image, 0, 1)
  if rng.random() < (0.25 if side == "ir" else 0.05):
    image = 1 - image
  if rng.random() < 0.7:
    image = image ** np.float32(np.exp(rng.uniform(-0.8, 0.8)))
  if rng.random() < 0.7:
    low, high = np.quantile(image, [0.01, 0.99])
    reach = max(float(high - low), 0.05)
    wide = rng.uniform(0.15, 1.2)
    at = rng.uniform(-0.1, max(1.1 - wide, 0.0))
    image = (image - low) / np.float32(reach) * np.float32(wide) + np.float32(at)
  return np.clip(image, 0, 1).astype(np.float32)


def _photo(image: np.ndarray, side: str, rng: np.random.Generator) -> np.ndarray:
  """What a lens and a sensor make of it, in 8 bits."""
  picture = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
  kind = rng.random()
  if kind < (0.4 if side == "ir" else 0.2):
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 2.0)))
  elif kind > 0.75:
    percent = int(rng.integers(50, 200))
    picture = picture.filter(ImageFilter.UnsharpMask(rng.uniform(0.6, 2.0), percent, 0))
  noisy = np.asarray(picture, np.float32)
  if rng.random() < 0.5:
    noisy = noisy + rng.standard_normal(noisy.shape, np.float32) * np.float32(rng.uniform(0, 6))
  return np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
