"""Fuses a pair with an exported StableHLO file; needs JAX, NumPy and Pillow, nothing else.

  python tools/load_stablehlo.py fusion.stablehlo infrared.png visible.png fused.png

Copy it into your project: the three functions below are all that using the file takes.
"""

import sys

import jax
import numpy as np
from jax import export
from PIL import Image


def load(path):
  """(ir, vi) -> fused luminance: [B, H, W, 1] float32 in [0, 1], any batch, height and width.

  Each size compiles once.
  """
  with open(path, "rb") as file:
    program = export.deserialize(bytearray(file.read()))
  fused = jax.jit(program.call)
  return lambda ir, vi: np.asarray(fused(ir, vi))


def read(path):
  """[1, H, W, 1 or 3] float32 in [0, 1], gray or RGB, of 8 bits, or gray of 16."""
  with Image.open(path) as image:
    if image.mode in ("I", "F"):
      sys.exit(f"{path}: 8 or 16 bits are needed; scale its values to [0, 1] yourself")
    if image.mode.startswith("I;16"):
      array = np.asarray(image, np.float32) / 65535
    else:
      array = np.asarray(image.convert("L" if image.mode == "L" else "RGB"), np.float32) / 255
  return array.reshape(1, *array.shape[:2], -1)


def fuse(model, ir, vi):
  """The model's luminance with the visible image's chroma (BT.601), [B, H, W, 1 or 3] in [0, 1]."""
  weights = np.array([0.299, 0.587, 0.114], np.float32)
  luminance = [x if x.shape[-1] == 1 else (x @ weights)[..., None] for x in (ir, vi)]
  fused = model(*luminance)
  # Red, green and blue each keep their distance from the luminance, and with it Cb and Cr.
  return np.clip(fused + (vi - luminance[1]), 0, 1)


if __name__ == "__main__":
  if len(sys.argv) != 5:
    sys.exit(f"usage: python {sys.argv[0]} MODEL INFRARED VISIBLE FUSED.png")
  model_path, ir_path, vi_path, out_path = sys.argv[1:]
  result = fuse(load(model_path), read(ir_path), read(vi_path))[0]
  byte = np.round(result * 255).astype(np.uint8)
  Image.fromarray(byte[..., 0] if byte.shape[-1] == 1 else byte).save(out_path)
