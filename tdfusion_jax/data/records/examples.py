"""One pair as tensorflow-datasets stores it."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.images import open_image
from tdfusion_jax.data.source import Kind


def label_names(classes: Sequence[str]) -> list[str]:
  """256 names, so that 255 (unknown) is a valid value too."""
  return [*classes, *(f"value {i}" for i in range(len(classes), 255)), "ignored"]


def example(sample: Sample, files: Any, kind: Kind | None) -> dict[str, Any]:
  """The features of a pair.

  Args:
    sample: the pair.
    files: its `PairFiles`, None where it has none.
    kind: of its labels.
  """
  vi = sample.vi if sample.vi.ndim == 3 else np.repeat(sample.vi[..., None], 3, axis=-1)
  features = {
    "name": sample.name,
    "ir": _jpeg(files and files.ir, "L") or _png(sample.ir),
    "vi": _jpeg(files and files.vi, "RGB") or _png(vi),
    "vi_gray": sample.vi.ndim == 2,
    "labelled": sample.target is not None,
  }
  if kind == "segmentation":
    unknown = np.full(sample.ir.shape, 255, np.uint8)
    features["labels"] = _png(unknown if sample.target is None else sample.target)
  elif kind == "detection":
    boxes, classes = sample.target if sample.target is not None else ((), ())
    height, width = sample.ir.shape
    features["objects"] = [
      {
        "bbox": tfds.features.BBox(
          ymin=float(box[1] / height),
          xmin=float(box[0] / width),
          ymax=float(box[3] / height),
          xmax=float(box[2] / width),
        ),
        "label": int(index),
        "xyxy": box,
      }
      for box, index in zip(boxes, classes, strict=True)
    ]
  return features


def _png(pixels: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
  return buffer.getvalue()


def _jpeg(path: Path | None, mode: str) -> bytes | None:
  """The file itself if it is a JPEG of this mode: decoded pixels would take ten times its space."""
  if path is None or path.suffix.lower() not in (".jpg", ".jpeg"):
    return None
  with open_image(path) as image:
    fits = image.format == "JPEG" and image.mode == mode and image.getexif().get(0x0112, 1) == 1
  return path.read_bytes() if fits else None
