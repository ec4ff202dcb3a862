"""Files that are called `.png` and that no pair can have."""

import numpy as np
from made_data import picture, save


def bad_files(folder):
  """{what it is: (the file, what is said about it beside a visible image of `made_data`)}."""
  text, eps, dot, other = (folder / f"{name}.png" for name in ("text", "eps", "dot", "other"))
  text.write_bytes(b"no image at all\n" * (20 << 16))  # 20 MB
  eps.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
  save(dot, np.zeros((1, 1), np.uint8))
  save(other, picture(2, 1)[:20])
  return {
    "text": (text, "text.png: cannot be read as an image"),
    "eps": (eps, "eps.png: cannot be read as an image"),
    "dot": (dot, "dot.png: 1x1 pixels; at least 16x16 are needed"),
    "other": (other, "the images of a pair have one size"),
  }
