"""Finished images in the place of pairs: what the task stage trains and judges a T on."""

from pathlib import Path

import numpy as np

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.images import files_by_stem, read_visible
from tdfusion_jax.data.source import DatasetError, Kind, Source
from tdfusion_jax.data.transforms import luminance

IMAGES = ("fusion", "folder", "infrared", "visible", "average", "maximum", "both")


# Of two luminances in [0, 1] and the average's weight of the first.
_OF_PAIR = {
  "visible": lambda ir, vi, w_a: vi,
  "average": lambda ir, vi, w_a: w_a * ir + (1 - w_a) * vi,
  "maximum": lambda ir, vi, w_a: np.maximum(ir, vi),
}


class FusedSource:
  """The labels of `source` with one image of another origin as both of its images.

  Args:
    source: pairs with labels.
    images: "infrared" or "visible" for the pair's own luminance; "average" or "maximum" of the two;
      "both" leaves the pair; "fusion" and "folder" read `folder`/NAME with an image suffix, gray or
      colour (its luminance is taken).
    folder: of the images.
    w_a: weight of infrared in the average, in [0, 1].

  Raises:
    DatasetError: an image is missing, cannot be read or has another size than its pair, naming the
      file.
  """

  def __init__(
    self, source: Source, images: str, folder: str | Path | None = None, w_a: float = 0.5
  ):
    if images not in IMAGES:
      raise DatasetError(f"images={images!r}: one of {', '.join(IMAGES)}")
    self.source, self.images, self.w_a = source, images, w_a
    self.names, self.classes = source.names, source.classes
    self.kind: Kind | None = source.kind
    self.folder = None
    if images in ("fusion", "folder"):
      if folder is None or not Path(folder).is_dir():
        raise DatasetError(f"{folder}: no such folder of fused images")
      self.folder = Path(folder)
      there = files_by_stem(self.folder)
      missing = [name for name in self.names if name not in there]
      if missing:
        raise DatasetError(
          f"{folder}: no image for {len(missing)} of {len(self.names)} pairs, "
          f"the first is {missing[0]}"
        )
      self._files = [there[name] for name in self.names]

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    sample = self.source[index]
    if self.images == "both":
      return sample
    if self.images == "infrared":
      image = sample.ir
    elif self.images in _OF_PAIR:
      image = _OF_PAIR[self.images](luminance(sample.ir), luminance(sample.vi), self.w_a)
    else:
      image = read_visible(self._files[index])
      if image.shape[:2] != sample.ir.shape:
        sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (image.shape, sample.ir.shape))
        raise DatasetError(f"{self._files[index]}: differs in size from its pair ({sizes})")
      image = luminance(image)
    if image.dtype != np.uint8:
      image = np.round(image * 255).astype(np.uint8)
    return sample._replace(ir=image, vi=image)

  def describe(self) -> str:
    """The pairs, and where their images come from."""
    where = f" from {self.folder}" if self.folder else ""
    weight = f", w_a = {self.w_a:g}" if self.images == "average" else ""
    return f"{self.source.describe()}; images: {self.images}{weight}{where}"
