"""PyAV (FFmpeg), where it is installed, and what it may open.

A video is data of others: FFmpeg would follow the names in a playlist to any file or address. Here
a file opens itself and nothing else, and an address only what its protocol needs.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

from tdfusion_jax import files
from tdfusion_jax.images.reading import MAX_PIXELS, ImageError

# Containers and bare streams that hold their pictures themselves. Left out on purpose: lists of
# other files (hls, dash, concat, sdp, imf), numbered images (image2), generators (lavfi).
_FORMATS = (
  "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h261,h263,h264,hevc,vvc,obu,ivf,"
  "m4v,mjpeg,mpjpeg,mjpeg_2000,smjpeg,flv,live_flv,asf,ogg,nut,mxf,dv,gxf,yuv4mpegpipe,gif,apng,"
  "wtv,dhav,cine,ser,vc1,cavsvideo,nsv,rm,r3d,amv"
)
_PROTOCOLS = {  # of an address: what it is carried by
  "rtsp": "rtsp,rtp,udp,tcp",
  "rtsps": "rtsps,rtsp,rtp,udp,tcp,tls",
  "rtmp": "rtmp,tcp",
  "http": "http,https,httpproxy,tcp,tls",  # a server may send on to its secure address
  "https": "https,http,httpproxy,tcp,tls",
  "udp": "udp",
  "rtp": "rtp,udp",
  "tcp": "tcp",
  "srt": "srt",
}
SCHEMES = tuple(_PROTOCOLS)
WAIT = 10.0  # seconds for an address or camera to answer, and for each picture


class VideoError(ImageError):
  """A video that cannot be read or written, and why."""


def pyav() -> Any:
  """The module `av`; VideoError where it is missing."""
  try:
    import av
  except ImportError:
    raise VideoError("videos need PyAV: pip install 'tdfusion-jax[video]'") from None
  return av


def scheme(source: str) -> str | None:
  """`rtsp` of `rtsp://...`; None of a path."""
  found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", source)
  return found[1].lower() if found else None


def without_secrets(source: str) -> str:
  """An address as it may be shown, without name and password."""
  return re.sub(r"(?<=://)[^/@]+@", "***@", source)


def open_file(path: Path) -> Any:
  """A container of FFmpeg's, opened for reading.

  Raises:
    VideoError: it cannot be opened, or names other files.
  """
  # With a scheme before it, no name is taken for an address or a command such as "concat:".
  return _open(f"file:{os.path.abspath(path)}", path, "a video", protocol_whitelist="file")


def open_address(source: str) -> Any:
  """A stream from the network.

  Raises:
    VideoError: of another protocol, or without answer.
  """
  kind = scheme(source) or ""
  if kind not in _PROTOCOLS:
    raise VideoError(
      f"{without_secrets(source)}: addresses start with one of {', '.join(SCHEMES)}."
    )
  return _open(
    source,
    without_secrets(source),
    "a video",
    timeout=WAIT,
    formats=f"{_FORMATS},rtsp,rtp",
    protocol_whitelist=_PROTOCOLS[kind],
  )


def open_camera(device: str) -> Any:
  """A camera of this machine.

  Args:
    device: its path, such as /dev/video0.

  Raises:
    VideoError: there is none, or it is taken.
  """
  if not sys.platform.startswith("linux"):
    raise VideoError(f"{device}: cameras are read on Linux only.")
  return _open(device, device, "a camera", timeout=WAIT, format="video4linux2")


def _open(
  url: str,
  name: str | Path,
  what: str,
  *,
  format: str | None = None,  # noqa: A002 (as `av.open` calls it)
  timeout: float | None = None,
  formats: str = _FORMATS,
  **options: str,
) -> Any:
  av = pyav()
  options["max_pixels"] = str(MAX_PIXELS)
  if format is None:
    options["format_whitelist"] = formats
  try:
    return av.open(
      url, "r", format=format, options=options, metadata_errors="replace", timeout=timeout
    )
  except av.error.ArgumentError as error:
    raise VideoError(
      f"{name} cannot be opened as {what}: it is no container of pictures that is read (lists of "
      "other files are not followed)."
    ) from error
  except (av.error.FFmpegError, OSError, ValueError) as error:
    raise VideoError(f"{name} cannot be opened as {what}: {reason(error)}") from error


def reason(error: Exception) -> str:
  """FFmpeg's error in words, without the name that it repeats."""
  av = pyav()
  if isinstance(error, av.error.ExitError):
    return f"nothing came for {WAIT:g} seconds."
  return files.reason(error)
