"""Videos in and out, with PyAV."""

import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from tdfusion_jax import cli
from tdfusion_jax.data import get_source
from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.fusing.ranges import SteadyRange
from tdfusion_jax.fusing.video import VideoOptions, fuse_video
from tdfusion_jax.images.reading import Scale

av = pytest.importorskip("av", reason="PyAV is not installed")

SIZE = (64, 80)
RATE = 10


def write(path, frames, rate=RATE, sound=False):
  with av.open(str(path), "w") as out:
    stream = out.add_stream("libx264", rate=rate, options={"crf": "1"})
    stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
    voice = out.add_stream("aac", rate=16000) if sound else None
    for frame in frames:
      out.mux(
        stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
      )
    out.mux(stream.encode(None))
    if voice is not None:
      tone = np.sin(np.arange(16000 * len(frames) // rate) * 0.2).astype(np.float32)[None]
      block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
      block.sample_rate = 16000
      out.mux(voice.encode(block))
      out.mux(voice.encode(None))


def scene(count, noise=4.0):
  """A static scene of the synthetic world, seen by noisy cameras: (infrared, visible) frames."""
  sample, rng = get_source("synthetic_det", size=SIZE, count=1)[0], np.random.default_rng(0)

  def frames(image):
    image = np.broadcast_to(image.reshape(*SIZE, -1), (*SIZE, 3))
    return [
      np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
      for _ in range(count)
    ]

  return frames(sample.ir), frames(sample.vi)


def decoded(path):
  with av.open(str(path)) as container:
    return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def mean(ir, vi):
  return (ir + vi) / 2


def test_a_static_scene_does_not_flicker_and_keeps_its_sound(tmp_path, capsys):
  """Bound: half a gray level of mean brightness from frame to frame."""
  ir, vi = scene(12)
  write(tmp_path / "ir.mp4", ir)
  write(tmp_path / "vi.mp4", vi, sound=True)
  command = [
    "video",
    f"--ir={tmp_path}/ir.mp4",
    f"--vi={tmp_path}/vi.mp4",
    f"--out={tmp_path}/out.mp4",
    "--cache=",
  ]
  assert cli.main([*command, "--stretch"]) == 0
  assert "12 frames written" in (said := capsys.readouterr().out) and "x real time" in said
  frames = decoded(tmp_path / "out.mp4")
  assert len(frames) == 12 and frames[0].shape == (*SIZE, 3) and frames[0].std() > 20
  brightness = np.array([frame.mean() for frame in frames])
  assert np.abs(np.diff(brightness)).max() < 0.5
  with av.open(str(tmp_path / "out.mp4")) as container:
    assert container.streams.video[0].average_rate == RATE
    sound = container.streams.audio[0]
    assert (
      sound.codec_context.name == "aac" and 1.0 < float(sound.duration * sound.time_base) <= 1.3
    )
  assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_folders_of_frames_and_odd_sizes(tmp_path):
  """Expected: the mean of both frames, to a video codec's accuracy."""
  rng, levels = np.random.default_rng(0), [40, 90, 140]
  for side in ("ir", "vi"):
    (tmp_path / side).mkdir()
    for i, level in enumerate(levels):
      image = np.full((33, 47), level + (20 if side == "ir" else 0)) + rng.integers(-2, 3, (33, 47))
      Image.fromarray(image.astype(np.uint8)).save(tmp_path / side / f"{i:03}.png")
  done = fuse_video(
    mean, Footage(tmp_path / "ir", 5.0), Footage(tmp_path / "vi", 5.0), tmp_path / "out.mkv"
  )
  assert done.frames == 3 and "even sizes" in done.notes[0]
  frames = decoded(tmp_path / "out.mkv")
  assert frames[0].shape == (34, 48, 3)
  np.testing.assert_allclose([f.mean() for f in frames], [level + 10 for level in levels], atol=2)


def test_another_frame_rate_meets_the_nearest_frame_in_time(tmp_path):
  """Infrared at 5 frames a second is bright in its second second; visible has 10 a second."""
  write(
    tmp_path / "ir.mp4",
    [np.full((*SIZE, 3), 20 if i < 5 else 220, np.uint8) for i in range(10)],
    rate=5,
  )
  write(tmp_path / "vi.mp4", [np.full((*SIZE, 3), 100, np.uint8)] * 30, rate=10)
  fuse_video(
    lambda ir, vi: ir,
    Footage(tmp_path / "ir.mp4"),
    Footage(tmp_path / "vi.mp4"),
    tmp_path / "out.mp4",
  )
  bright = [frame.mean() > 120 for frame in decoded(tmp_path / "out.mp4")]
  assert len(bright) in (20, 21) and bright.index(True) in (9, 10) and all(bright[10:])


def gray_frames(folder, levels, first=1):
  """frame1.png, frame2.png, ..., numbers without leading zeros."""
  folder.mkdir()
  for i, level in enumerate(levels, first):
    Image.fromarray(np.full(SIZE, level, np.uint8)).save(folder / f"frame{i}.png")


def test_numbered_frames_come_in_order_and_a_missing_one_is_told(tmp_path):
  levels = [10 + 15 * i for i in range(12)]
  for side in ("ir", "vi"):
    gray_frames(tmp_path / side, levels)
  fuse_video(mean, Footage(tmp_path / "ir"), Footage(tmp_path / "vi"), tmp_path / "out.mp4")
  np.testing.assert_allclose([f.mean() for f in decoded(tmp_path / "out.mp4")], levels, atol=2)
  (tmp_path / "ir" / "frame5.png").unlink()
  with pytest.raises(VideoError, match=r"1 frames have no partner: frame5 \(in .*vi only\)"):
    fuse_video(mean, Footage(tmp_path / "ir"), Footage(tmp_path / "vi"), tmp_path / "other.mp4")


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
def test_uneven_frame_times_stay(tmp_path, ending):
  """As a phone records them: ten a second, then two a second."""
  times = [0.1 * i for i in range(6)] + [0.5 + 0.5 * i for i in range(1, 5)]
  with av.open(str(tmp_path / "vi.mkv"), "w") as out:
    stream = out.add_stream("libx264", rate=10)
    stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
    stream.codec_context.time_base = Fraction(1, 1000)
    for i, time in enumerate(times):
      frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), 10 * i, np.uint8), format="rgb24")
      frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  write(tmp_path / "ir.mp4", [np.full((*SIZE, 3), 50, np.uint8)] * 30)
  fuse_video(
    mean, Footage(tmp_path / "ir.mp4"), Footage(tmp_path / "vi.mkv"), tmp_path / f"out.{ending}"
  )
  with av.open(str(tmp_path / f"out.{ending}")) as container:
    np.testing.assert_allclose(
      [frame.time for frame in container.decode(video=0)], times, atol=0.002
    )


def test_a_result_never_replaces_a_source(tmp_path):
  write(tmp_path / "vi.mp4", [np.zeros((*SIZE, 3), np.uint8)] * 2)
  gray_frames(tmp_path / "ir", [1, 2])
  (tmp_path / "link.mp4").symlink_to(tmp_path / "vi.mp4")
  for out in ("vi.mp4", "link.mp4", "ir/out.mp4"):
    with pytest.raises(VideoError, match="which the result would replace"):
      fuse_video(mean, Footage(tmp_path / "ir"), Footage(tmp_path / "vi.mp4"), tmp_path / out)
  assert len(decoded(tmp_path / "vi.mp4")) == 2


def test_what_came_before_a_damaged_frame_is_kept(tmp_path):
  for side in ("ir", "vi"):
    gray_frames(tmp_path / side, [40, 80, 120, 160])
  damaged = tmp_path / "vi" / "frame4.png"
  damaged.write_bytes(damaged.read_bytes()[:60])
  with pytest.raises(VideoError, match=r"frame4\.png.*The 3 frames before it are in .*out\.mp4"):
    fuse_video(mean, Footage(tmp_path / "ir"), Footage(tmp_path / "vi"), tmp_path / "out.mp4")
  np.testing.assert_allclose(
    [f.mean() for f in decoded(tmp_path / "out.mp4")], [40, 80, 120], atol=2
  )
  assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), 1e-4])
def test_impossible_rates_of_folders(tmp_path, rate):
  gray_frames(tmp_path / "ir", [1, 2])
  with pytest.raises(VideoError, match=r"frames per second: from 0\.01"):
    Footage(tmp_path / "ir", rate)


def test_thermal_frames_of_16_bits_get_a_range_that_follows_slowly(tmp_path):
  """One hot frame among even ones must not darken it: its background alone would fall to 0.15."""
  rng = np.random.default_rng(1)
  for side in ("ir", "vi"):
    (tmp_path / side).mkdir()
  for i in range(5):
    thermal = rng.integers(29000, 30000, SIZE).astype(np.uint16)
    if i == 2:
      thermal[:20] = 36000
    Image.fromarray(thermal).save(tmp_path / "ir" / f"{i}.png")
    Image.fromarray(np.full(SIZE, 128, np.uint8)).save(tmp_path / "vi" / f"{i}.png")
  seen = []

  def keep(ir, vi):
    seen.append(float(np.asarray(ir)[0, 30:].mean()))
    return ir

  footage = Footage(tmp_path / "ir", 25.0), Footage(tmp_path / "vi", 25.0)
  fuse_video(keep, *footage, tmp_path / "out.avi", VideoOptions(Scale("percentile", 1, 99)))
  assert abs(seen[0] - 0.5) < 0.05 and 0.35 < seen[2] < 0.5


def test_a_range_follows():
  """Expected: 1 - exp(-1) of a step after a time constant of two seconds, by definition."""
  steady = SteadyRange(50.0)
  steady.follow(0.0, 1.0)
  for _ in range(100):
    low, high = steady.follow(1.0, 2.0)
  assert low == pytest.approx(1 - np.exp(-1)) and high == pytest.approx(2 - np.exp(-1))


@pytest.mark.parametrize(
  ("ir", "vi", "out", "message"),
  [
    ("missing.mp4", "ok.mp4", "out.mp4", "does not exist"),
    ("text.mp4", "ok.mp4", "out.mp4", "cannot be opened as a video"),
    ("ok.mp4", "ok.mp4", "out.txt", r"should end in one of \.mp4"),
    ("small.mp4", "ok.mp4", "out.mp4", r"differ in size \(40x32 and 80x64\)"),
    ("empty", "ok.mp4", "out.mp4", "holds no image"),
    ("cut.mp4", "ok.mp4", "out.mp4", r"cut\.mp4"),
  ],
)
def test_what_cannot_be_fused_is_told(tmp_path, ir, vi, out, message):
  frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
  write(tmp_path / "ok.mp4", [frame] * 3)
  write(tmp_path / "small.mp4", [frame[:32, :40]] * 3)
  (tmp_path / "text.mp4").write_text("not a video")
  (tmp_path / "empty").mkdir()
  (tmp_path / "cut.mp4").write_bytes((tmp_path / "ok.mp4").read_bytes()[:200])
  with pytest.raises(VideoError, match=message):
    fuse_video(mean, Footage(tmp_path / ir), Footage(tmp_path / vi), tmp_path / out)
  assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def test_without_pyav(tmp_path, monkeypatch):
  (tmp_path / "a.mp4").write_text("")
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(VideoError, match=r"PyAV: pip install 'tdfusion-jax\[video\]'"):
    Footage(tmp_path / "a.mp4")
