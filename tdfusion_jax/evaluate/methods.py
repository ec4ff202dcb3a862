"""What is measured: pairs, and the methods that fuse them."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tdfusion_jax import fusers
from tdfusion_jax.cluster.shards import WHOLE, Shard
from tdfusion_jax.data import find_reader, get_source
from tdfusion_jax.data.source import Source
from tdfusion_jax.data.transforms import luminance
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusing.pairs import make_frame_fn
from tdfusion_jax.fusing.reading import remarks_of
from tdfusion_jax.images.elsewhere import here
from tdfusion_jax.images.listing import Place, list_addresses, list_files, list_pairs
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import image_size, read_pixels
from tdfusion_jax.images.scaling import LINEAR, Pixels, Scale
from tdfusion_jax.remote.addresses import place_of

Method = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""(name of a pair, infrared, visible) -> fused; luminances [H, W], uint8 or float32 in [0, 1]."""


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
  "average": lambda ir, vi: (ir + vi) / 2,
  "maximum": np.maximum,
  "infrared": lambda ir, vi: ir,
  "visible": lambda ir, vi: vi,
}
"""Fusions of every pixel by itself, of luminances in [0, 1]: what takes no training."""


class Pairs(NamedTuple):
  """The pairs to measure on."""

  sizes: Mapping[str, tuple[int, int] | None]
  """{name of a pair: (height, width), or None if only reading it will show}."""
  read: Callable[[str], tuple[np.ndarray, np.ndarray]]
  """name -> luminances of infrared and visible, [H, W] uint8, or float32 in [0, 1]."""
  remarks: dict[str, None]
  """What was left out of the files read so far, or looks wrong with them: lines, in order."""


def pairs_of_folders(
  ir_dir: str | Place,
  vi_dir: str | Place,
  scale: Scale = LINEAR,
  vi_scale: Scale = LINEAR,
  shard: Shard = WHOLE,
) -> Pairs:
  """The pairs of equal names in two folders.

  Args:
    ir_dir: infrared images; a folder, or the address of one, such as s3://bucket/ir.
    vi_dir: visible images of the same names, likewise.
    scale: range of infrared values.
    vi_scale: range of visible values.
    shard: which part of them.

  Raises:
    ImageError: files without a partner, or the sizes of a pair differ, all of them listed.
  """
  listed = list_pairs(place_of(ir_dir), place_of(vi_dir))
  files = {name: (ir, vi) for name, ir, vi in shard.of(listed)}
  sizes: dict[str, tuple[int, int] | None] = {}
  wrong = []
  for name, (ir, vi) in files.items():
    sizes[name] = _size_of(ir, scale.counts)
    other = _size_of(vi, vi_scale.counts)
    if sizes[name] and other and sizes[name] != other:
      wrong.append(f"{ir} is {_size(sizes[name])}, {vi} {_size(other)}")
  if wrong:
    raise ImageError(f"the images of a pair differ in size: {_few(wrong)}")

  remarks: dict[str, None] = {}

  def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    with here(*files[name]) as places:
      ir, vi = (read_pixels(*side) for side in zip(places, (scale, vi_scale), strict=True))
    remarks.update(dict.fromkeys(remarks_of(files[name][0], ir, vi)))
    return _luminance(ir), _luminance(vi)

  return Pairs(sizes, read, remarks)


def pairs_of_dataset(
  name: str,
  root: str | None,
  split: str,
  *,
  field: str = "name",
  options: Mapping[str, Any] | None = None,
) -> Pairs:
  """The pairs of one split of a data set, unlabelled ones too: fusion metrics need no labels.

  Args:
    name: a data set's name, or a reader of the user's own as `module:function`.
    root: where the data set is.
    split: such as "test".
    field: what named it, for messages.
    options: of the reader, such as {"every": 10}.

  Raises:
    UsageError, DatasetError: there is no such data set, split or option.
  """
  reader = find_reader(name, field)
  given = dict(options or {})
  if "labelled_only" in inspect.signature(reader).parameters:
    given.setdefault("labelled_only", False)
  return pairs_of_source(get_source(name, root=root, split=split, **given))


def pairs_of_source(source: Source) -> Pairs:
  """The pairs of a source, by their names."""
  index = {pair: i for i, pair in enumerate(source.names)}

  def read(pair: str) -> tuple[np.ndarray, np.ndarray]:
    sample = source[index[pair]]
    return sample.ir, sample.vi if sample.vi.ndim == 2 else luminance(sample.vi)

  return Pairs(dict.fromkeys(source.names), read, {})


def method_of_weights(
  *,
  run: str | Path | None = None,
  weights: str | Path | None = None,
  network: str = "",
  stretch: bool = False,
  dtype: Any = None,
) -> Method:
  """A network: of a run folder, of a weight file, or the one that ships with the package.

  Args:
    run: a training's folder. Not both.
    weights: a `.safetensors` file.
    network: what makes the network, if it is one of your own: `package.module:factory`.
    stretch: stretch its images to the full range.
    dtype: as for `make_fuse_fn`.

  Raises:
    CheckpointError: no such run or file, or it holds something else.
    UsageError: `network` cannot be made.
  """
  loaded = fusers.load_fusion(run=run, weights=weights, network=network)
  fuse = make_frame_fn(*loaded, stretch=stretch, dtype=dtype)

  def fused(name: str, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
    del name
    a, b = (_unit(image)[None, ..., None] for image in (ir, vi))
    return np.clip(np.asarray(fuse(a, b))[0, ..., 0], 0, 1)

  return fused


def method_of_baseline(name: str, field: str) -> Method:
  """A fusion without a network, which every network should be compared with.

  Of two 8-bit images it is one of 8 bits, halves rounded to even, as its file would be.

  Args:
    name: a key of `BASELINES`.
    field: what named it, for messages.

  Raises:
    UsageError: there is no such baseline.
  """
  if name not in BASELINES:
    raise UsageError(f"{field}: unknown {name}; there are: {', '.join(BASELINES)}.")
  return _by_pixel(BASELINES[name])


def method_of_constant(text: str, field: str) -> Method:
  """One weight for all pixels: `w ir + (1 - w) vi`; 0.5 is the average. 8 bits as baselines.

  Args:
    text: the weight of infrared, from 0 to 1.
    field: what named it, for messages.

  Raises:
    UsageError: no such number.
  """
  try:
    w = float(text)
  except ValueError:
    w = -1.0
  if not 0 <= w <= 1:
    raise UsageError(f"{field}: {text} is no weight of infrared from 0 to 1, such as 0.7.")
  return _by_pixel(lambda ir, vi: w * ir + (1 - w) * vi)


def _by_pixel(rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Method:
  def fused(pair: str, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
    del pair
    levels = [_unit(image).astype(np.float64) * 255 for image in (ir, vi)]
    whole = [np.round(image) for image in levels]
    if all(np.allclose(*each, rtol=0, atol=1e-3) for each in zip(levels, whole, strict=True)):
      return np.round(rule(*whole)).astype(np.uint8)
    return rule(_unit(ir), _unit(vi))

  return fused


def method_of_folder(
  folder: str | Place, pairs: Pairs, *, resize: bool = False, scale: Scale = LINEAR
) -> Method:
  """Images that any method has fused, named like their pairs.

  Args:
    folder: holds them; or the address of one, such as s3://bucket/fused.
    pairs: what they belong to.
    resize: resize what has another size than its pair (bicubic); otherwise it is an error.
    scale: range of their values.

  Raises:
    ImageError: an image is missing, there twice, or of another size, before anything is measured.
  """
  files = _files_of(place_of(folder), pairs)
  if not resize:
    _check_sizes(files, pairs)

  def fused(name: str, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
    del vi
    with here(files[name]) as (file,):
      image = _fused(file, scale)
    if image.shape == ir.shape:
      return image
    if not resize:
      sizes = f"{files[name]} is {_size(image.shape)}, its pair {_size(ir.shape)}"
      raise ImageError(f"{sizes}; --resize would resize it.")
    resized = Image.fromarray(_unit(image)).resize(ir.shape[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.asarray(resized), 0, 1)

  return fused


def _size_of(file: Place, counts: bool = False) -> tuple[int, int] | None:
  """(height, width), or None where only fetching and reading it would show."""
  return image_size(file, counts=counts) if isinstance(file, Path) else None


def _files_of(folder: Place, pairs: Pairs) -> dict[str, Place]:
  """{name of a pair: its fused image}."""
  if isinstance(folder, Path):
    if not folder.is_dir():
      raise ImageError(f"{folder}: no such folder of fused images.")
    files, clashes, _ = list_files(folder)
  else:
    files, clashes, _ = list_addresses(folder)
  for first, second in clashes:
    if first.stem in pairs.sizes:
      raise ImageError(f"{first} and {second} have the same name.")
  missing = [name for name in pairs.sizes if name not in files]
  if missing:
    count = f"{len(missing)} of {len(pairs.sizes)} pairs"
    raise ImageError(f"{folder}: no fused image for {count}: {some(missing)}")
  return files


def _check_sizes(files: Mapping[str, Place], pairs: Pairs) -> None:
  wrong = []
  for name, size in pairs.sizes.items():
    own = _size_of(files[name])
    if size and own and own != size:
      wrong.append(f"{files[name]} is {_size(own)}, its pair {_size(size)}")
  if wrong:
    raise ImageError(f"{_few(wrong)}; --resize would resize them.")


def _fused(file: Path, scale: Scale) -> np.ndarray:
  try:
    return _luminance(read_pixels(file, scale))
  except ImageError as error:
    if "give a scale" not in str(error):
      raise
    hint = "give --fused-scale, such as 0:255 for values from 0 to 255"
    raise ImageError(f"{str(error).partition('; give a scale')[0]}; {hint}.") from None


def _luminance(image: Pixels) -> np.ndarray:
  """[H, W] float32 in [0, 1], of any file that `tdfusion fuse` reads."""
  unit = image.whole()
  return luminance(unit * 255) if unit.shape[-1] == 3 else unit[..., 0]


def _unit(image: np.ndarray) -> np.ndarray:
  return image.astype(np.float32) / 255 if image.dtype == np.uint8 else image


def _size(shape: Any) -> str:
  return f"{shape[1]}x{shape[0]}"


def _few(lines: list[str]) -> str:
  return "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")


def some(names: list[str]) -> str:
  """The first three of them, for messages."""
  return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
