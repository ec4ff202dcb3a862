"""What the page does with a pair of files; it knows no Gradio."""

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tdfusion_jax.demo.models import Model
from tdfusion_jax.evaluate.methods import (
  Method,
  Pairs,
  method_of_baseline,
  method_of_folder,
  pairs_of_folders,
)
from tdfusion_jax.files import UsageError, first_line
from tdfusion_jax.fusing.folders import FolderOptions, fuse_jobs
from tdfusion_jax.fusing.huge import USUAL_MEGAPIXELS
from tdfusion_jax.fusing.jobs import Job
from tdfusion_jax.fusing.reading import Reading
from tdfusion_jax.images.listing import EXTENSIONS
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.pictures import heat
from tdfusion_jax.images.reading import image_size, read_image
from tdfusion_jax.images.registration import doubt
from tdfusion_jax.images.scaling import LINEAR, Scale
from tdfusion_jax.images.writing import to_bytes
from tdfusion_jax.metrics.fusion import PAPER, fusion_metrics

LEAST = 16
"""Pixels of the shorter side: what is smaller shows nothing, and most metrics have no value."""
_SHOWN = 1600  # pixels of the longer side of what is shown beside the result
_SIDES = {"ir": "infrared", "vi": "visible"}
_BASELINES = ("average", "maximum")


class Files(NamedTuple):
  """A pair and its result, in the places where `tdfusion evaluate` looks for them."""

  ir: Path
  vi: Path
  fused: Path
  """Written by `fuse`."""
  scale: Scale
  """Of infrared values."""


def stage(
  folder: Path, ir: str | Path | None, vi: str | Path | None, scale: Scale = LINEAR
) -> Files:
  """Copies of the two files, under one name.

  Args:
    folder: an empty one.
    ir: the infrared file; None if there is none yet.
    vi: the visible file.
    scale: range of infrared values.

  Raises:
    ImageError: one is missing, or is no kind of image file.
  """
  if ir is None or vi is None:
    missing = " and ".join(
      name for name, file in (("infrared", ir), ("visible", vi)) if file is None
    )
    raise ImageError(f"The {missing} image is missing: drop a file, or pick a sample.")
  stem = f"{Path(vi).stem}_fused"
  places = []
  for side, file in (("ir", Path(ir)), ("vi", Path(vi))):
    _require_kind(file, _SIDES[side])
    place = folder / side / f"{stem}{file.suffix.lower()}"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file():  # the page forgets uploads after a while
      raise ImageError(f"The {_SIDES[side]} image is not there any more: drop it again.")
    shutil.copyfile(file, place)
    places.append(place)
  return Files(places[0], places[1], folder / "fused" / f"{stem}.png", scale)


def _require_kind(file: Path, side: str) -> None:
  if file.suffix.lower() not in EXTENSIONS:
    raise ImageError(
      f"The {side} image {file.name} is no file of a kind that is read; these are: "
      f"{', '.join(EXTENSIONS)}."
    )


@contextmanager
def in_own_names(names: Mapping[str, Path]) -> Iterator[None]:
  """Has errors in the block name what the user has dropped, and not where it is kept.

  Args:
    names: {what the user calls it: the file}.
  """
  try:
    yield
  except (UsageError, OSError, MemoryError, RuntimeError) as error:
    text = own_names(str(error) if isinstance(error, UsageError) else first_line(error), names)
    raise ImageError(f"{text[:1].upper()}{text[1:]}") from error


def own_names(text: str, names: Mapping[str, Path]) -> str:
  """A message about files, as `in_own_names` has it."""
  for name, path in names.items():
    text = text.replace(f" '{path}'", "").replace(str(path), name)
  if "--" in text and "tdfusion fuse" not in text:
    text += " (What begins with -- is an option of tdfusion fuse.)"
  return text


def check(files: Files) -> None:
  """Raises unless the pair can be fused here, before anything is computed.

  Raises:
    ImageError: a file that cannot be read, too small, too large, or two of unequal sizes.
  """
  ir, vi = (f"{width}x{height}" for height, width in (_size(files.ir), _size(files.vi)))
  if ir != vi:
    raise ImageError(
      f"The infrared image has {ir} pixels, the visible one {vi}: the images of a pair have one "
      "size and show one view. Register them first (tdfusion fuse --align helps)."
    )


def _size(path: Path) -> tuple[int, int]:
  """(height, width); ImageError if the file cannot be read, or is too small or too large."""
  height, width = image_size(path) or read_image(path).shape[:2]
  if min(height, width) < LEAST:
    raise ImageError(f"{path}: {width}x{height} pixels; at least {LEAST}x{LEAST} are needed.")
  if height * width > USUAL_MEGAPIXELS * 1e6:
    raise ImageError(
      f"{path}: {width}x{height} pixels, more than the {USUAL_MEGAPIXELS:g} million of this "
      "page; tdfusion fuse accepts larger ones."
    )
  return height, width


def fuse(files: Files, model: Model) -> str:
  """Writes `files.fused`, as `tdfusion fuse` does.

  Returns:
    What looks wrong with the pair, or nothing.

  Raises:
    ImageError: a file cannot be read, or the pair cannot be fused.
  """
  options = FolderOptions(reading=Reading(files.scale, check=doubt))
  (outcome,) = fuse_jobs(model.fuser, [Job(files.ir, files.vi, files.fused)], options)
  if outcome.error is not None:
    raise outcome.error
  return outcome.warning


def weight_map(files: Files, model: Model) -> tuple[np.ndarray, int]:
  """G's weight of infrared on the pair: ([H, W] in [0, 1], the stride that G looked at).

  Raises:
    ImageError: a file cannot be read.
  """
  assert model.weigh is not None
  name, pairs = _pairs(files)
  return model.weigh(*pairs.read(name))


def scores(files: Files) -> tuple[dict[str, dict[str, float]], list[str]]:
  """The six metrics of the paper, as `tdfusion evaluate` measures them.

  Args:
    files: after `fuse`.

  Returns:
    {"fused", and what needs no training: {metric: value, NaN where there is none}}; remarks.
  """
  name, pairs = _pairs(files)
  methods: dict[str, Method] = {"fused": method_of_folder(files.fused.parent, pairs)}
  methods |= {rule: method_of_baseline(rule, "rule") for rule in _BASELINES}
  ir, vi = pairs.read(name)
  rows = {}
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for title, method in methods.items():
      found = fusion_metrics(ir[None], vi[None], method(name, ir, vi)[None], metrics=PAPER)
      rows[title] = {metric: float(value[0]) for metric, value in found.items()}
  return rows, list(dict.fromkeys(str(warning.message) for warning in caught))


def _pairs(files: Files) -> tuple[str, Pairs]:
  pairs = pairs_of_folders(files.ir.parent, files.vi.parent, files.scale)
  (name,) = pairs.sizes
  return name, pairs


def small(image: np.ndarray) -> np.ndarray:
  """[H, W, C] uint8, reduced to what a page shows, as [h, w, 3]."""
  rgb = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
  picture = Image.fromarray(rgb)
  picture.thumbnail((_SHOWN, _SHOWN), Image.Resampling.BOX)
  return np.asarray(picture)


def preview(path: Path, side: str, scale: Scale = LINEAR) -> np.ndarray:
  """An image file as the page shows it, [h, w, 3] uint8.

  Args:
    path: the file that the user has dropped.
    side: "infrared" or "visible", for messages.
    scale: range of its values.

  Raises:
    ImageError: no kind of image file, or it cannot be read, or is too large or too small.
  """
  _require_kind(path, side)
  with in_own_names({f"{side} image {path.name}": path}):
    _size(path)
    return small(to_bytes(read_image(path, scale)))


def shown(files: Files) -> dict[str, np.ndarray]:
  """{"infrared", "visible", "fused": as the page shows it, [h, w, 3] uint8}.

  Raises:
    ImageError: a file cannot be read.
  """
  images = {"infrared": read_image(files.ir, files.scale), "visible": read_image(files.vi)}
  images["fused"] = read_image(files.fused)
  return {name: small(to_bytes(image)) for name, image in images.items()}


def described(files: Files) -> str:
  """The size of the result, in words."""
  height, width = image_size(files.fused) or (0, 0)
  return f"{width}x{height} pixels"


def coloured(w_a: np.ndarray) -> np.ndarray:
  """Weights [H, W] as the page shows them, [h, w, 3] uint8."""
  return small(heat(w_a))
