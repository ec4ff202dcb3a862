"""Small data sets on disk, in the layouts of LLVIP and MSRS, of seeded noise."""

import numpy as np
from PIL import Image

H, W = 40, 56


def picture(seed, channels=3):
  shape = (H, W, 3) if channels == 3 else (H, W)
  return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)


def voc(path, *objects, size=(H, W)):
  path.parent.mkdir(parents=True, exist_ok=True)
  sides = ("xmin", "ymin", "xmax", "ymax")
  items = ""
  for name, *box in objects:
    values = "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
    items += f"<object><name>{name}</name><bndbox>{values}</bndbox></object>"
  path.write_text(
    f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{items}</annotation>"
  )
