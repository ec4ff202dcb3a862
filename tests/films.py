"""Small videos made for tests, and what is seen and heard in one, read back by PyAV."""

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.video import VideoOptions, fuse_video

SIZE = (48, 64)
LOUD = 48_000  # samples a second
_FORMS = {"s16": (np.int16, 2**15), "s32": (np.int32, 2.0**31), "flt": (np.float32, 1)}
_QUIET = 0.2  # of full loudness: below is silence, coded


class Film(NamedTuple):
  """How a video is written."""

  times: list
  """Of its pictures, from the first on."""
  start: float = 0.0
  """When its sound starts by its own clock, or its pictures where it has none."""
  lead: float = 0.0
  """Seconds of sound before the first picture; negative: the sound is late."""
  base: Fraction = Fraction(1, 90000)
  sound: str = ""
  """The sound's codec."""
  beep: float = -1.0
  """When a tenth of a second of tone is heard, counted from the first picture."""
  codec: str = "libx264"
  pixels: str = "yuv420p"
  options: dict = {"crf": "1"}  # noqa: RUF012


def even(count, rate=10):
  return [i / rate for i in range(count)]


def flat(levels, size=SIZE, channels=3):
  return [np.full((*size, channels), level, np.uint8) for level in levels]


def shoot(path, images, film, setup=lambda stream: None):
  """Writes images [H, W, 3] uint8, or [H, W] of the film's own form of pixels.

  Those of yuv420p are Y', Cb and Cr one below the other.
  """
  with av.open(str(path), "w") as out:
    mean = Fraction((len(images) - 1) or 1) / Fraction(max(film.times[-1], 0.1))
    rate = mean.limit_denominator(1001)
    stream = out.add_stream(film.codec, rate=rate, options=film.options)
    height, width = images[0].shape[:2]
    planes = images[0].ndim == 2 and film.pixels == "yuv420p"
    stream.height, stream.width = height * 2 // 3 if planes else height, width
    stream.pix_fmt = film.pixels
    stream.codec_context.time_base = film.base
    setup(stream)
    voice = out.add_stream(film.sound, rate=LOUD, layout="mono") if film.sound else None
    first = film.start + max(film.lead, 0)
    for image, seconds in zip(images, film.times, strict=True):
      form = "rgb24" if image.ndim == 3 else film.pixels
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=form)
      frame.pts, frame.time_base = round((first + seconds) / film.base), film.base
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
    if voice is not None:
      _speak(out, voice, film)


def _speak(out, voice, film):
  length = film.times[-1] + 0.2 + film.lead
  at = np.arange(round(length * LOUD)) / LOUD - film.lead  # from the first picture on
  tone = np.where((at >= film.beep) & (at < film.beep + 0.1), np.sin(at * 2000 * np.pi), 0)
  late = film.start + max(-film.lead, 0)
  form = voice.codec_context.format.name
  for begin in range(0, len(tone) - 960, 960):
    kind, full = _FORMS[form.rstrip("p")]
    block = (tone[None, begin : begin + 960] * full * 0.6).astype(kind)
    frame = av.AudioFrame.from_ndarray(block, format=form, layout="mono")
    frame.sample_rate, frame.pts = LOUD, round(late * LOUD) + begin
    frame.time_base = Fraction(1, LOUD)
    out.mux(voice.encode(frame))
  out.mux(voice.encode(None))


def seen(path):
  """[(seconds, mean level)] of the pictures."""
  with av.open(str(path)) as file:
    return [(f.time, f.to_ndarray(format="gray").mean()) for f in file.decode(video=0)]


def heard(path):
  """Seconds at which the tone starts, and the seconds from which on there is sound."""
  first, onset = None, None
  with av.open(str(path)) as file:
    for frame in file.decode(audio=0):
      block = frame.to_ndarray() / _FORMS[frame.format.name.rstrip("p")][1]
      first = frame.time if first is None else first
      loud = np.flatnonzero(np.abs(block).reshape(-1) > _QUIET)
      if onset is None and len(loud):
        onset = frame.time + loud[0] / frame.sample_rate
  return onset, first


def fused(tmp_path, ir, vi, out="out.mp4", what=lambda ir, vi: vi, **options):
  """(what became of two videos of a folder, the result's path); the visible one, unless told."""
  sources = Footage(tmp_path / ir), Footage(tmp_path / vi)
  done = fuse_video(what, *sources, tmp_path / out, VideoOptions(**options))
  return done, tmp_path / out
