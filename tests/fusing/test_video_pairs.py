"""Which frames meet: by time, by number, and what is said of those without a partner.

The fused picture is infrared's, whose frames have a level each, so that it says which one was met.
"""

import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("av", reason="PyAV is not installed")

from films import SIZE, Film, even, flat, seen, shoot  # noqa: E402

from tdfusion_jax import cli  # noqa: E402
from tdfusion_jax.fusing.footage.decoding import DEFAULT_RATE  # noqa: E402
from tdfusion_jax.fusing.footage.pyav import VideoError  # noqa: E402
from tdfusion_jax.fusing.footage.sources import Footage  # noqa: E402
from tdfusion_jax.fusing.video import VideoOptions, fuse_video  # noqa: E402
from tdfusion_jax.images.scaling import Scale  # noqa: E402

STEP = 6  # gray levels between two frames of infrared


def levels(count):
  return [20 + STEP * i for i in range(count)]


def film(path, count, times=None, **how):
  shoot(path, flat(levels(count)), Film(times or even(count), **how))
  return path


def folder(path, count):
  path.mkdir()
  for number, level in enumerate(levels(count)):
    Image.fromarray(np.full(SIZE, level, np.uint8)).save(path / f"{number}.png")
  return path


def met(ir, vi, out, **options):
  """(numbers of the infrared frames that were met, what was said)."""
  done = fuse_video(lambda ir, vi: ir, ir, vi, out, VideoOptions(**options))
  return [round((level - 20) / STEP) for _, level in seen(out)], done.notes


def said(notes, *texts):
  return all(any(text in note for note in notes) for text in texts)


def test_a_folder_takes_the_rate_of_the_other_side(tmp_path):
  """Thirty frames a second against thirty images: number meets number."""
  ir, vi = folder(tmp_path / "ir", 20), film(tmp_path / "vi.mp4", 20, even(20, 30))
  numbers, notes = met(Footage(ir), Footage(vi), tmp_path / "out.mp4")
  assert numbers == list(range(20))
  assert said(notes, "ir has no rate: its frames are shown at the times of", "30 a second")


def test_a_visible_folder_takes_infrareds_times(tmp_path):
  times = [0.0, 0.1, 0.15, 0.4, 0.45, 0.9]
  ir, vi = film(tmp_path / "ir.mp4", 6, times), folder(tmp_path / "vi", 6)
  numbers, notes = met(Footage(ir), Footage(vi), tmp_path / "out.mkv")
  assert numbers == list(range(6)) and said(notes, "vi has no rate")
  shown = [seconds for seconds, _ in seen(tmp_path / "out.mkv")]
  np.testing.assert_allclose(shown, times, atol=0.001)


def test_a_rate_that_is_given_counts(tmp_path):
  """Ten images a second against twenty frames a second: each is met twice."""
  ir, vi = folder(tmp_path / "ir", 6), film(tmp_path / "vi.mp4", 12, even(12, 20))
  numbers, notes = met(Footage(ir, 10.0), Footage(vi), tmp_path / "out.mp4")
  # Of two frames equally near the later one is taken.
  assert numbers == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]
  assert said(notes, "6 visible frames met an infrared frame that another had met before")


def test_two_folders_have_a_rate_that_is_said(tmp_path):
  ir, vi = folder(tmp_path / "ir", 4), folder(tmp_path / "vi", 4)
  numbers, notes = met(Footage(ir), Footage(vi), tmp_path / "out.mp4")
  assert numbers == list(range(4)) and said(notes, "25 frames a second; see --rate")
  assert seen(tmp_path / "out.mp4")[3][0] == pytest.approx(3 / float(DEFAULT_RATE))


@pytest.mark.parametrize(
  ("ir", "vi", "expected", "notes"),
  [
    ((6, 10), (10, 10), range(6), ["4 visible frames at the end"]),
    ((10, 10), (6, 10), range(6), ["4 of 10 infrared frames met no visible frame"]),
    ((12, 20), (6, 10), range(0, 12, 2), ["6 of 12 infrared frames met no visible frame"]),
    ((5, 5), (10, 10), [0, 1, 1, 2, 2, 3, 3, 4, 4, 4], ["5 visible frames met an infrared frame"]),
    ((6, 10), (6, 10), range(6), []),
  ],
)
def test_frames_without_a_partner_are_counted(tmp_path, ir, vi, expected, notes):
  """(frames, rate) of both."""
  a = film(tmp_path / "ir.mp4", ir[0], even(*ir))
  b = film(tmp_path / "vi.mp4", vi[0], even(*vi))
  numbers, found = met(Footage(a), Footage(b), tmp_path / "out.mp4")
  assert numbers == list(expected) and said(found, *notes) and len(found) == len(notes)


def test_nothing_is_said_of_what_was_not_asked_for(tmp_path):
  a, b = film(tmp_path / "ir.mp4", 6), film(tmp_path / "vi.mp4", 9)
  numbers, notes = met(Footage(a), Footage(b), tmp_path / "out.mp4", frames=4)
  assert numbers == [0, 1, 2, 3] and notes == []


def test_files_that_start_at_different_times_meet_by_their_clocks(tmp_path):
  """Visible pictures begin half a second after the file does, which infrared's pictures start."""
  ir = film(tmp_path / "ir.mp4", 12)
  vi = film(tmp_path / "vi.mkv", 8, start=3.0, lead=0.5, sound="aac")
  numbers, notes = met(Footage(ir), Footage(vi), tmp_path / "out.mp4")
  assert numbers == list(range(5, 12))
  assert said(notes, "pictures start 0.50 s after", "1 visible frames at the end", "5 of 12")


def test_a_clock_that_is_set_by_hand(tmp_path):
  """Infrared started 0.3 s after visible, so its frames are 0.3 s later than it says."""
  ir, vi = film(tmp_path / "ir.mp4", 8), film(tmp_path / "vi.mp4", 8)
  numbers, notes = met(Footage(ir), Footage(vi), tmp_path / "out.mp4", shift=0.3)
  assert numbers == list(range(5)) and said(notes, "3 visible frames at the start", "3 of 8")
  assert seen(tmp_path / "out.mp4")[0][0] == 0
  numbers, _ = met(Footage(ir), Footage(vi), tmp_path / "other.mp4", shift=-0.2)
  assert numbers == list(range(2, 8))
  with pytest.raises(VideoError, match="no frames in common; --shift moves infrared"):
    met(Footage(ir), Footage(vi), tmp_path / "none.mp4", shift=60.0)


def test_two_files_that_start_anywhere_start_together(tmp_path):
  ir = film(tmp_path / "ir.mkv", 6, start=2.0)
  vi = film(tmp_path / "vi.ts", 6, start=7.0)
  numbers, _ = met(Footage(ir), Footage(vi), tmp_path / "out.mp4")
  assert numbers == list(range(6))


def test_two_cameras_have_one_clock(tmp_path):
  """Files stand for them; the second was opened 0.3 s after the first."""
  ir = Footage(film(tmp_path / "ir.mkv", 8, start=2.0))
  vi = Footage(film(tmp_path / "vi.mkv", 5, start=2.3))
  assert ir.stream is not None and vi.stream is not None
  ir.stream.camera = vi.stream.camera = True
  numbers, _ = met(ir, vi, tmp_path / "out.mp4")
  assert numbers == [3, 4, 5, 6, 7] and seen(tmp_path / "out.mp4")[0][0] == 0


def test_channels_and_scales_of_both_sides(tmp_path):
  """Infrared is the second channel of its stack, visible has 12 bits of its own range."""
  pages = np.zeros((3, *SIZE, 3), np.uint16)
  pages[..., 1] = np.array([1000, 2000, 3000])[:, None, None]
  tifffile.imwrite(tmp_path / "ir.tif", pages, photometric="rgb")
  gray = np.full((3, *SIZE), 2500, np.uint16)
  tifffile.imwrite(tmp_path / "vi.tif", gray, photometric="minisblack")
  got = []

  def look(ir, vi):
    got.append((float(ir.mean()), float(vi.mean())))
    return ir

  options = VideoOptions(
    Scale("range", 0, 4000, channels=(2,)), vi_scale=Scale("range", 2000, 3000)
  )
  sources = Footage(tmp_path / "ir.tif"), Footage(tmp_path / "vi.tif")
  fuse_video(look, *sources, tmp_path / "out.mp4", options)
  np.testing.assert_allclose(got, [(0.25, 0.5), (0.5, 0.5), (0.75, 0.5)], atol=1e-6)


def test_the_command_says_what_was_done(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  folder(tmp_path / "ir", 4), film(tmp_path / "vi.mp4", 6)
  command = ["video", "--ir=ir", "--vi=vi.mp4", "--out=out.ts", "--cache="]
  assert cli.main(command) == 0
  out = capsys.readouterr().out
  assert "note: ir has no rate" in out and "note: 2 visible frames at the end" in out
  assert "4 frames written to out.ts" in out
