"""What an image file stores, before anything is left out, and the picture in it."""

from typing import NamedTuple

import numpy as np

from tdfusion_jax.images.opening import ImageError


class Remark(NamedTuple):
  """What was left out of a file, or looks wrong with it."""

  kind: str
  """As `tdfusion data verify` calls it."""
  text: str
  """One line that names the file."""


class Stored(NamedTuple):
  """The numbers of a file, all of them."""

  array: np.ndarray
  """[H, W, C], upright: the picture's one or three channels, and behind them further ones."""
  colours: int
  """1 or 3; 0 where no channel is said to be the picture."""
  further: str = "alpha"
  """What the channels behind the picture are: alpha, associated alpha (the colours are multiplied
  by it), or further."""
  most: float | None = None
  """The largest number that the form allows, where it is not that of the type."""
  nodata: float | None = None
  """A value that the file declares as no data."""
  turned: bool = False
  """Whether it was turned or mirrored to stand upright."""
  remarks: tuple[Remark, ...] = ()


def picture(stored: Stored, name: str, channels: tuple[int, ...] = ()) -> Stored:
  """The picture of a file alone: one or three channels.

  Args:
    stored: all channels.
    name: the file's, for messages.
    channels: those to take, counted from 1; none for the picture.

  Raises:
    ImageError: a channel is not there, or none was asked for where none is the picture.
  """
  count = stored.array.shape[-1]
  if channels:
    if max(channels) > count:
      raise ImageError(f"{name}: has {count} channel(s), there is no channel {max(channels)}.")
    chosen = stored.array[..., [number - 1 for number in channels]]
    return stored._replace(array=chosen, colours=len(channels))
  if not stored.colours:
    raise ImageError(
      f"{name}: stores {count} channels and does not say which are the picture; choose with "
      "--ir-channel or --vi-channels."
    )
  if count == stored.colours:
    return stored
  shown, rest = stored.array[..., : stored.colours], stored.array[..., stored.colours :]
  ends = [(rest[..., i].min(), rest[..., i].max()) for i in range(rest.shape[-1])]
  varied = [(i, *pair) for i, pair in enumerate(ends) if pair[0] != pair[1]]
  remarks = stored.remarks
  if varied:
    number, low, high = varied[0]
    what = f"channel {stored.colours + number + 1} ({stored.further}, values {low:g} to {high:g})"
    text = f"{name}: {what} is left out; --ir-channel or --vi-channels takes it"
    remarks = (*remarks, Remark("dropped-channel", text))
  if stored.further == "associated alpha" and varied:
    shown = _divided(shown, rest[..., :1])
  return stored._replace(array=shown, remarks=remarks)


def _divided(shown: np.ndarray, alpha: np.ndarray) -> np.ndarray:
  """Colours that were multiplied by alpha, as they were before (TIFF 6.0, ExtraSamples = 1)."""
  whole = shown.dtype.kind == "u"
  most = np.iinfo(shown.dtype).max if whole else 1.0
  part = np.maximum(alpha.astype(np.float64), 1 if whole else 1e-6)
  colours = np.clip(shown * (most / part), 0, most)
  return (np.round(colours) if whole else colours).astype(shown.dtype)
