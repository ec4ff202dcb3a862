"""Times of pictures and sound through every container, read back by PyAV.

A flash and a beep are at one moment in the visible video. Expected is that they still are, and that
each frame is shown when it was, counted from the first; the numbers are those the films were
written by.
"""

import itertools
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from films import Film, even, flat, heard, seen, shoot  # noqa: E402

from tdfusion_jax.fusing.footage import sound  # noqa: E402
from tdfusion_jax.fusing.footage.clock import avi_rate, fitted  # noqa: E402
from tdfusion_jax.fusing.footage.sources import Footage  # noqa: E402
from tdfusion_jax.fusing.video import fuse_video  # noqa: E402

COUNT = 12
FLASH = 7  # the frame
# As a phone records in the dark: pauses of several lengths, none a multiple of another.
UNEVEN = [0.0, 0.033, 0.067, 0.1, 0.15, 0.191, 0.257, 0.4, 0.433, 0.5, 0.7, 0.733]
MILLI, FINE, NTSC = Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000)
NTSC_TIMES = [float(i * NTSC) for i in range(COUNT)]
PACKET = 1024 / 48_000  # seconds of the longest packet of sound here

CLOCKS = {
  # from, to, times, time base, start, lead of the sound, sound
  "mp4": ("mp4", "mp4", even(COUNT), FINE, 0, 0, "aac"),
  "mp4, uneven": ("mp4", "mp4", UNEVEN, FINE, 0, 0, "aac"),
  "mp4, picture late": ("mp4", "mp4", even(COUNT), FINE, 0, 0.5, "aac"),
  "mp4, sound late": ("mp4", "mp4", even(COUNT), FINE, 0, -0.3, "aac"),
  "mov to mkv": ("mov", "mkv", NTSC_TIMES, NTSC, 0, 0, "pcm_s16le"),
  "mov from 2 s": ("mov", "mov", UNEVEN, MILLI, 2, 0.25, "pcm_s16le"),
  "mkv": ("mkv", "mkv", UNEVEN, MILLI, 0, 0, "aac"),
  "mkv from 4 s, picture late": ("mkv", "mp4", even(COUNT), MILLI, 4, 1.0, "aac"),
  "mkv, sound late": ("mkv", "mkv", even(COUNT, 25), MILLI, 0, -0.2, "libopus"),
  "webm": ("webm", "webm", UNEVEN, MILLI, 0, 0, "libopus"),
  "webm from 3 s": ("webm", "webm", even(COUNT), MILLI, 3, 0.4, "libopus"),
  "ts": ("ts", "ts", even(COUNT, 25), FINE, 0, 0, "mp2"),
  "ts from 3 s": ("ts", "mp4", even(COUNT), FINE, 3, 0, "aac"),
  "ts, uneven, picture late": ("ts", "mkv", UNEVEN, FINE, 10, 0.75, "mp2"),
  "avi": ("avi", "avi", even(COUNT), Fraction(1, 10), 0, 0, "pcm_s16le"),
  "avi to mov": ("avi", "mov", even(COUNT, 15), Fraction(1, 15), 0, 0, "pcm_s16le"),
  "mp4, uneven, to avi": ("mp4", "avi", UNEVEN, FINE, 0, 0, "libmp3lame"),
  "mkv to avi, picture late": ("mkv", "avi", UNEVEN, MILLI, 1, 0.5, "pcm_s16le"),
  "NTSC to avi": ("mp4", "avi", NTSC_TIMES, NTSC, 0, 0, "libmp3lame"),
  "ts to mkv": ("ts", "mkv", even(COUNT), FINE, 2, 0, "aac"),
  "mp4 to ts": ("mp4", "ts", UNEVEN, FINE, 0, 0.3, "aac"),
  "nut": ("nut", "mkv", UNEVEN, MILLI, 1.5, 0, "pcm_s16le"),
  "flv": ("flv", "ts", even(COUNT), MILLI, 0, 0, "aac"),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_pictures_and_sound_keep_their_times(tmp_path, case):
  source, result, times, base, start, lead, sound = CLOCKS[case]
  levels = [200 if i == FLASH else 40 for i in range(COUNT)]
  webm = {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}} if source == "webm" else {}
  codec = {"codec": "mpeg4", "options": {"qscale": "2"}} if source == "avi" else webm
  film = Film(times, start, lead, base, sound, times[FLASH], **codec)
  vi, ir, out = tmp_path / f"vi.{source}", tmp_path / "ir.mp4", tmp_path / f"out.{result}"
  shoot(vi, flat(levels), film)
  # Infrared's clock starts with the sound of the visible video.
  shoot(ir, flat([10] * 80), Film(even(80, 30)))
  done = fuse_video(lambda ir, vi: vi, Footage(ir), Footage(vi), out)
  shown = seen(out)
  assert done.frames == len(shown) == COUNT
  assert np.argmax([level for _, level in shown]) == FLASH
  got = np.array([seconds for seconds, _ in shown])
  rounding = 0.0051 if result == "avi" else 0.0011  # an .avi has a hundred ticks a second, an .mkv
  np.testing.assert_allclose(got - got[0], times, atol=rounding)  # a thousand
  onset, first = heard(out)
  assert onset - got[FLASH] == pytest.approx(0, abs=PACKET + 0.006), done.notes
  # Sound is there from the first picture on, where there was any.
  assert first - got[0] == pytest.approx(max(-lead, 0), abs=2.5 * PACKET)
  assert not [note for note in done.notes if note.startswith("no sound")]
  uneven = result == "avi" and times is UNEVEN
  assert any("an .avi file has one rate" in note for note in done.notes) == uneven


def test_sound_that_a_container_cannot_place_is_left_out_with_a_note(tmp_path):
  film = Film(even(COUNT), 0, -0.3, MILLI, "libmp3lame", 0.5)
  shoot(tmp_path / "vi.mkv", flat([40] * COUNT), film)
  shoot(tmp_path / "ir.mp4", flat([10] * COUNT), Film(even(COUNT)))
  sources = Footage(tmp_path / "ir.mp4"), Footage(tmp_path / "vi.mkv")
  done = fuse_video(lambda ir, vi: vi, *sources, tmp_path / "out.avi")
  assert any("s after the pictures, which .avi cannot" in note for note in done.notes), done.notes
  assert len(seen(tmp_path / "out.avi")) == COUNT


def test_a_pause_that_is_lost_is_said(tmp_path):
  """Ten packets of 20 ms are taken out of the sound; an .avi file closes the gap."""
  whole, cut = tmp_path / "whole.mkv", tmp_path / "vi.mkv"
  shoot(whole, flat([40] * COUNT), Film(even(COUNT), 0, 0, MILLI, "pcm_s16le", 0.1))
  with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
    copies = {s.index: out.add_stream_from_template(s) for s in source.streams}
    for packet in source.demux():
      spoken = packet.stream.type == "audio" and packet.pts is not None
      if not packet.size or (spoken and 400 <= packet.pts * packet.time_base * 1000 < 600):
        continue
      packet.stream = copies[packet.stream.index]
      out.mux(packet)
  shoot(tmp_path / "ir.mp4", flat([10] * COUNT), Film(even(COUNT)))
  for ending, said in (("avi", True), ("mkv", False)):
    sources = Footage(tmp_path / "ir.mp4"), Footage(cut)
    done = fuse_video(lambda ir, vi: vi, *sources, tmp_path / f"out.{ending}")
    assert any("the sound pauses for 0.2" in note for note in done.notes) == said, done.notes


def test_damaged_sound_ends_and_the_pictures_go_on(tmp_path, monkeypatch):
  film = Film(even(COUNT), 0, 0, FINE, "mp2", 0.1)
  shoot(tmp_path / "vi.ts", flat([40] * COUNT), film)
  shoot(tmp_path / "ir.mp4", flat([10] * COUNT), Film(even(COUNT)))
  read = sound.open_file

  class Damaged:
    """A container whose sound cannot be read beyond its tenth packet."""

    def __init__(self, path):
      self._file = read(path)

    def __getattr__(self, name):
      return getattr(self._file, name)

    def demux(self, stream):
      yield from itertools.islice(self._file.demux(stream), 10)
      raise av.error.InvalidDataError(1, "Invalid data")

    def __enter__(self):
      return self

    def __exit__(self, *_):
      self._file.close()

  monkeypatch.setattr(sound, "open_file", Damaged)
  sources = Footage(tmp_path / "ir.mp4"), Footage(tmp_path / "vi.ts")
  done = fuse_video(lambda ir, vi: vi, *sources, tmp_path / "out.mp4")
  assert done.frames == COUNT and "vi.ts ends early: Invalid data" in done.notes[0]
  assert heard(tmp_path / "out.mp4")[0] == pytest.approx(0.1, abs=PACKET)


def test_only_infrared_has_sound(tmp_path):
  """Infrared's beep comes with its sixth frame, by its own clock, which starts at 2 s."""
  film = Film(even(COUNT), 2, 0.2, MILLI, "aac", 0.5)
  shoot(tmp_path / "ir.mkv", flat([200 if i == 5 else 40 for i in range(COUNT)]), film)
  shoot(tmp_path / "vi.mp4", flat([10] * 20), Film(even(20)))
  sources = Footage(tmp_path / "ir.mkv"), Footage(tmp_path / "vi.mp4")
  fuse_video(lambda ir, vi: ir, *sources, tmp_path / "out.mp4")
  shown = seen(tmp_path / "out.mp4")
  flash = shown[int(np.argmax([level for _, level in shown]))][0]
  assert heard(tmp_path / "out.mp4")[0] == pytest.approx(flash, abs=PACKET + 0.001)


@pytest.mark.parametrize(
  ("rate", "largest"),
  [
    (Fraction(750000, 28339), 65535),
    (Fraction(30000, 1001), 65535),
    (Fraction(1, 90000), 65535),
    (Fraction(123456789, 1000), 65535),
    (Fraction(2**40 + 1, 2**36), 2**31 - 1),
    (Fraction(999, 1000000), 65535),
  ],
)
def test_rates_get_terms_that_fit(rate, largest):
  """Bound: half of one over the product of both denominators, or the largest there is."""
  found = fitted(rate, largest)
  assert 0 < found.numerator <= largest and 0 < found.denominator <= largest
  if 1 / largest < rate < largest:
    assert abs(found / rate - 1) < 1e-3
  assert fitted(Fraction(30000, 1001)) == Fraction(30000, 1001)


def test_avi_gets_the_lowest_rate_that_meets_all_frames():
  """By hand: thirds of a tenth need 30, the uneven times a hundred."""
  assert avi_rate(Fraction(10), even(5)) == 10
  assert avi_rate(Fraction(15), [0.0, 1 / 30, 4 / 30, 5 / 30]) == 30
  assert avi_rate(Fraction(11), UNEVEN) == 100
  assert avi_rate(Fraction(10), None) == 100
