"""Makes the README's picture: a synthetic pair, what F makes of it, and G's weights.

  python tools/make_readme_picture.py [--out docs/_static/readme_pair.png] [--scene 14]

F and G have the starter weights; the scene belongs to the test split, which neither was trained on.
"""

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import tdfusion_jax
from tdfusion_jax import fusers, weightfiles
from tdfusion_jax.data.synthetic import SyntheticSource
from tdfusion_jax.images.pictures import gray, heat
from tdfusion_jax.ops.image import luminance

SIZE = (144, 192)
ENLARGE = 2
GAP = 8
TITLE = 36
OUT = Path(__file__).resolve().parents[1] / "docs" / "_static" / "readme_pair.png"


def weights_of_infrared(ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
  """The starter G's w_a, [H, W] in [0, 1], for infrared [H, W] and visible [H, W, 3] uint8."""
  loaded, _ = weightfiles.load_weights(fusers.shipped_weights().with_name("g.safetensors"))
  a = jnp.asarray(ir, jnp.float32)[None, ..., None] / 255
  b = jnp.asarray(luminance(jnp.asarray(vi, jnp.float32)[None] / 255))
  return np.asarray(fusers.weigh_net(loaded["params"], a, b))[0, ..., 0]


def titled(panels: dict[str, np.ndarray]) -> Image.Image:
  """The panels [H, W, 3] uint8 in two rows of two, each under its title."""
  height, width = (side * ENLARGE for side in SIZE)
  canvas = Image.new("RGB", (2 * width + GAP, 2 * (height + TITLE) + GAP), (255, 255, 255))
  draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(22)
  for at, (title, panel) in enumerate(panels.items()):
    left, top = at % 2 * (width + GAP), at // 2 * (height + TITLE + GAP)
    draw.text((left + 2, top + 4), title, fill=(40, 40, 40), font=font)
    large = Image.fromarray(panel).resize((width, height), Image.Resampling.BICUBIC)
    canvas.paste(large, (left, top + TITLE))
  return canvas


def main() -> None:
  """Writes the picture."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", type=Path, default=OUT, help="the PNG file")
  parser.add_argument("--scene", type=int, default=14, help="number of the scene in the test split")
  options = parser.parse_args()
  scene = SyntheticSource("segmentation", "test", size=SIZE, seed=0, night=1.0).scene(options.scene)
  ir, vi = scene["ir"], scene["vi"]
  panels = {
    "infrared": gray(ir / 255),
    "visible": vi,
    "fused by F": tdfusion_jax.fuse(ir, vi),
    "G's weight of infrared, w_a": heat(weights_of_infrared(ir, vi)),
  }
  options.out.parent.mkdir(parents=True, exist_ok=True)
  titled(panels).quantize(256, dither=Image.Dither.NONE).save(options.out, optimize=True)
  print(f"{options.out} ({options.out.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
  main()
