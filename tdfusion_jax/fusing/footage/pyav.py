"""PyAV (FFmpeg), where it is installed."""

from typing import Any

from tdfusion_jax.images.reading import ImageError


class VideoError(ImageError):
  """A video that cannot be read or written, and why."""


def pyav() -> Any:
  """The module `av`; VideoError where it is missing."""
  try:
    import av
  except ImportError:
    raise VideoError("videos need PyAV: pip install 'tdfusion-jax[video]'") from None
  return av
