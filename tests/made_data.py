"""Small data sets on disk, in the layouts of LLVIP and MSRS, of seeded noise."""

import numpy as np
from PIL import Image

from tdfusion_jax.weightfiles import save_weights

H, W = 40, 56


def picture(seed, channels=3):
  shape = (H, W, 3) if channels == 3 else (H, W)
  return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)


def squares(folder, count, folds):
  """Squares that only infrared shows, and a T that takes bright pixels for their class.

  Args:
    folder: gets `pairs/` with masks and folds.txt, and `t.safetensors` for `pixel_task`.
    count: of the pairs, 32x32.
    folds: number of a pair -> its fold.
  """
  root, rng = folder / "pairs", np.random.default_rng(0)
  for number in range(count):
    labels = np.zeros((32, 32), np.uint8)
    top, left = rng.integers(4, 16, 2)
    labels[top : top + 12, left : left + 12] = 1
    save(root / f"ir/{number:02}.png", 60 + 150 * labels)
    save(root / f"vi/{number:02}.png", rng.integers(0, 255, labels.shape))
    save(root / f"labels/{number:02}.png", labels)
  lines = [f"{number:02} {folds(number)}\n" for number in range(count)]
  (root / "folds.txt").write_text("".join(lines))
  (root / "labels/classes.txt").write_text("background\nsquare\n")
  t = {"params": {"w": np.array([[-9.0, 9.0]], np.float32), "b": np.array([4.5, -4.5], np.float32)}}
  save_weights(folder / "t.safetensors", t, {"arch": "pixel_task"})
  return root, folder / "t.safetensors"


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
