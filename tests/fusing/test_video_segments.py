"""A video fused by segments: frames, times and sound of the plain run, whichever file it becomes.

Expected values are those of the plain run, which other tests compare with the films' own numbers.
"""

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from films import Film, even, flat, seen, shoot  # noqa: E402

from tdfusion_jax import cli, fusers  # noqa: E402
from tdfusion_jax.cluster.shards import Shard  # noqa: E402
from tdfusion_jax.fusing import segments  # noqa: E402
from tdfusion_jax.fusing.footage.joining import _ascending, _places  # noqa: E402
from tdfusion_jax.fusing.footage.pyav import VideoError  # noqa: E402
from tdfusion_jax.fusing.footage.sources import Footage  # noqa: E402
from tdfusion_jax.fusing.video import VideoOptions, fuse_video  # noqa: E402
from tdfusion_jax.images.scaling import Scale  # noqa: E402
from tdfusion_jax.images.writing import write_image  # noqa: E402

COUNT = 36
# Uneven, as a phone records them: pauses of several lengths.
UNEVEN = list(np.cumsum([0.0] + [0.033, 0.034, 0.1, 0.041, 0.25, 0.033, 0.06] * 5).round(3))
RNG = np.random.default_rng(5)


def noisy(levels):
  spread = [image + RNG.integers(-9, 10, image.shape) for image in flat(levels)]
  return [np.clip(image, 0, 255).astype(np.uint8) for image in spread]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
  """Visible frames at uneven times with sound, key frames every 8; infrared is longer."""
  folder = tmp_path_factory.mktemp("films")
  levels = [40 + 5 * i for i in range(COUNT)]
  often = {"crf": "10", "g": "8", "x264-params": "open-gop=1:bframes=3"}
  film = Film(UNEVEN, 0, 0.2, sound="aac", beep=1.0, options=often)
  shoot(folder / "vi.mp4", noisy(levels), film)
  infrared = Film(even(90, 25), options={"crf": "10", "g": "12"})
  shoot(folder / "ir.mp4", noisy([20 + i for i in range(90)]), infrared)
  return folder


class Recorder:
  """Fuses by the mean, and keeps what it was given."""

  def __init__(self):
    self.given = []

  def __call__(self, ir, vi):
    self.given.append((np.asarray(ir), np.asarray(vi)))
    return (ir + vi) / 2


def sources(folder, ir="ir.mp4", vi="vi.mp4"):
  return Footage(folder / ir), Footage(folder / vi)


def by_segments(folder, out, options, count, fuse, made=None, names=("ir.mp4", "vi.mp4")):
  """The joined file; its segments are fused in any order."""
  division = segments.Division(out, options, made or {"a": 1})
  for index in reversed(range(count)):
    with segments.opened(*sources(folder, *names), division) as film:
      segments.fuse_segment(fuse[index], film, film.plan(), Shard(index, count))
  shown = [seen(segments.segment_file(out, Shard(index, count))) for index in range(count)]
  with segments.opened(*sources(folder, *names), division) as film:
    return segments.join(film, count), sum(shown, [])


def packets(path, kind):
  with av.open(str(path)) as file:
    streams = getattr(file.streams, kind)
    return [(p.pts, p.size) for p in file.demux(streams[0]) if p.size] if streams else []


def described(path):
  """What a file says of itself beside its frames."""
  with av.open(str(path)) as file:
    video = file.streams.video[0]
    context = video.codec_context
    colours = context.colorspace, context.color_range, context.color_primaries, context.color_trc
    lasts = round(file.duration / 1e6, 2)
    return video.time_base, video.average_rate, context.name, colours, context.pix_fmt, lasts


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "avi", "ts"])
def test_joined_segments_are_the_plain_run_frame_by_frame(tmp_path, films, ending):
  plain, one = Recorder(), tmp_path / f"plain.{ending}"
  done = fuse_video(plain, *sources(films), one)
  parts, out = [Recorder() for _ in range(3)], tmp_path / f"out.{ending}"
  joined, of_segments = by_segments(films, out, VideoOptions(), 3, parts)
  # What was decoded in the middle of a video is what is decoded from its start on, bit by bit.
  given = [pair for part in parts for pair in part.given]
  assert len(given) == len(plain.given) == joined.frames == done.frames == COUNT
  for own, other in zip(given, plain.given, strict=True):
    assert all(map(np.array_equal, own, other))
  expected, found = np.array(seen(one)), np.array(seen(out))
  np.testing.assert_array_equal(found[:, 0], expected[:, 0])  # times, to the last tick
  np.testing.assert_allclose(found[:, 1], expected[:, 1], atol=5)  # coded anew
  np.testing.assert_array_equal(found[:, 1], np.array(of_segments)[:, 1])  # but once only
  assert packets(out, "audio") == packets(one, "audio")
  assert described(out) == described(one)
  assert sorted(joined.notes) == sorted(done.notes)
  assert [p.name for p in tmp_path.iterdir() if p.suffix == ".nut"] == []


SOURCES = {
  "mp4": ("libx264", {"g": "8", "x264-params": "open-gop=1:bframes=3"}, "aac"),
  "mkv": ("libx264", {"g": "8", "bf": "2"}, "aac"),
  "ts": ("libx264", {"g": "8", "bf": "2"}, "mp2"),
  "webm": ("libvpx-vp9", {"deadline": "realtime", "g": "8"}, "libopus"),
  "avi": ("mpeg4", {"qscale": "2", "g": "8"}, "pcm_s16le"),
  "mpg": ("mpeg2video", {"qscale": "2", "g": "8", "bf": "2"}, "mp2"),
}


@pytest.mark.parametrize("ending", SOURCES)
def test_frames_from_the_middle_are_those_of_the_whole(tmp_path, ending):
  codec, options, sound = SOURCES[ending]
  times = even(25, 25)
  film = Film(times, 2, 0.2, sound=sound, codec=codec, options=options)
  if ending in ("avi", "mpg"):
    film = film._replace(base=film.base * 3600)  # 25 a second
  file = tmp_path / f"a.{ending}"
  shoot(file, noisy([60 + 5 * i for i in times]), film)
  whole = list(footage := Footage(file))
  index = footage.index()
  assert footage.moments(index) == pytest.approx([frame.seconds for frame in whole], abs=1e-9)
  for number in (0, 7, 8, 9, 17, 24):
    found = list(footage.since(number, index))
    assert [f.seconds for f in found] == pytest.approx([f.seconds for f in whole[number:]])
    for own, other in zip(found, whole[number:], strict=True):
      np.testing.assert_array_equal(own.array, other.array)
  footage.close()


@pytest.mark.parametrize(
  "options", [VideoOptions(stretch=True), VideoOptions(Scale("percentile", 1, 99))]
)
def test_ranges_that_follow_the_scene_have_settled(tmp_path, monkeypatch, options):
  """A segment begins with the range that the plain run has there: to a gray level.

  The scene is bright, then dark; a range that began in the dark would be another.
  """
  for side, level in (("ir", 90), ("vi", 60)):
    film = noisy([level * (2 if i < 50 else 1) for i in range(100)])
    shoot(tmp_path / f"{side}.mp4", film, Film(even(100, 2), options={"preset": "ultrafast"}))
  written = {}

  def keep(writer, image, seconds):
    written.setdefault(str(writer._place.name.parent.name), {})[round(seconds, 3)] = image
    return add(writer, image, seconds)

  add = segments.Writer.add
  monkeypatch.setattr(segments.Writer, "add", keep)
  plain, parts = (tmp_path / name / "out.mp4" for name in ("plain", "parts"))
  fuse_video(lambda ir, vi: (ir + vi) / 2, *sources(tmp_path), plain, options)
  given = [Recorder() for _ in range(2)]
  by_segments(tmp_path, parts, options, 2, given)
  # Only a stretched result has to be fused before its segment begins.
  assert [len(part.given) for part in given] == [50, 50 + 40 * options.stretch]
  assert written["parts"].keys() == written["plain"].keys()
  for seconds, image in written["plain"].items():
    off = np.abs(written["parts"][seconds].astype(int) - image)
    assert off.max() <= 1 and off.mean() < 0.05, seconds


def test_what_cannot_be_divided_or_joined_is_said(tmp_path, films):
  division = segments.Division(tmp_path / "out.mp4", VideoOptions(frames=20), {"stretch": False})
  shards = [Shard(index, 2) for index in range(2)]

  def opened(made=division):
    return segments.opened(*sources(films), made)

  with opened() as film, pytest.raises(VideoError, match="30 segments of 20 frames"):
    segments.fuse_segment(Recorder(), film, film.plan(), Shard(0, 30))
  with opened() as film:
    segments.fuse_segment(Recorder(), film, film.plan(), shards[1])
  with (
    opened() as film,
    pytest.raises(
      VideoError, match=r"out\.mp4\.shard_0_of_2\.nut is missing: fuse it by --shard 0/2"
    ),
  ):
    segments.join(film, 2)
  other = division._replace(made={"stretch": True})
  with opened(other) as film:
    segments.fuse_segment(Recorder(), film, film.plan(), shards[0])
  assert segments.is_there(other, shards[0]) and not segments.is_there(division, shards[0])
  with (
    opened() as film,
    pytest.raises(VideoError, match=r"shard_0_of_2\.nut was made with another"),
  ):
    segments.join(film, 2)
  longer = division._replace(options=VideoOptions())
  with opened(longer) as film:
    segments.fuse_segment(Recorder(), film, film.plan(), shards[0])
  with opened() as film, pytest.raises(VideoError, match=r"shard_1_of_2\.nut has another total"):
    segments.join(film, 2)
  file = segments.segment_file(division.out, shards[0])
  with opened() as film:
    segments.fuse_segment(Recorder(), film, film.plan(), shards[0])
  whole = file.read_bytes()
  file.write_bytes(whole[: len(whole) // 2])
  with opened() as film, pytest.raises(VideoError, match=r"shard_0_of_2\.nut has \d frames in pl"):
    segments.join(film, 2)
  file.write_bytes(b"no video")
  with opened() as film, pytest.raises(VideoError, match=r"shard_0_of_2\.nut cannot be opened"):
    segments.join(film, 2)
  assert not division.out.exists()


def test_a_video_whose_clock_jumps_is_not_divided(tmp_path, films):
  """Two recordings one behind the other, the second by the clock of the first."""
  file = tmp_path / "vi.ts"
  shoot(file, flat([50] * 12), Film(even(12, 25)))
  file.write_bytes(file.read_bytes() * 2)
  division = segments.Division(tmp_path / "out.mp4", VideoOptions(), {})
  with (
    segments.opened(Footage(films / "ir.mp4"), Footage(file), division) as film,
    pytest.raises(VideoError, match=r"vi\.ts does not state when each of its frames is shown"),
  ):
    film.plan()


def test_unequal_lengths_and_numbered_images(tmp_path, films):
  """Infrared ends first; of a folder of frames each segment reads its own files."""
  (tmp_path / "ir").mkdir()
  for i in range(11):
    write_image(tmp_path / "ir" / f"{i}.png", np.full((48, 64, 1), i / 20, np.float32))
  made = VideoOptions()
  plain = Recorder()
  names = tmp_path / "ir", films / "vi.mp4"
  done = fuse_video(plain, *sources(films, *names), tmp_path / "plain.mp4", made)
  parts = [Recorder() for _ in range(3)]
  joined, _ = by_segments(films, tmp_path / "out.mp4", made, 3, parts, names=names)
  for own, other in zip([p for part in parts for p in part.given], plain.given, strict=True):
    assert all(map(np.array_equal, own, other))
  assert joined.frames == done.frames == 11 and sorted(joined.notes) == sorted(done.notes)
  assert any("25 visible frames at the end have no infrared" in note for note in joined.notes)


def test_places_rise_and_come_before_what_is_shown():
  """By hand: I P B B at 0 3 1 2 and again at 4 7 5 6, where one may wait for two."""
  order = [0, 3, 1, 2, 4, 7, 5, 6]
  assert _places(order, 0) == [-1, 0, 1, 2, 3, 4, 5, 6]
  assert _places(order, 2) == [-2, -1, 0, 1, 2, 3, 4, 5]
  assert _places([5], 2) == [5] and _ascending([[0, 1, 2], [2, 3, 9]]) == [0, 1, 2, 3, 4, 9]


@pytest.fixture
def video(tmp_path, films, monkeypatch):
  monkeypatch.setattr(fusers, "load_fusion", lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {}))
  sides = ["--ir", str(films / "ir.mp4"), "--vi", str(films / "vi.mp4"), "--cache", ""]
  return lambda out, *more: cli.main(["video", *sides, "--out", str(tmp_path / out), *more])


def test_the_last_of_an_array_joins(tmp_path, video, monkeypatch, capsys):
  assert video("plain.mp4") == 0
  monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
  monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "0")
  for index, told in ((1, "1 segments are to come"), (0, "36 frames in 2 segments joined to")):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
    capsys.readouterr()
    assert video("out.mp4", "--shard=auto") == 0
    assert told in (shown := capsys.readouterr().out) and "18 frames written to" in shown
  assert [s for s, _ in seen(tmp_path / "out.mp4")] == [s for s, _ in seen(tmp_path / "plain.mp4")]
  assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "plain.mp4"]


def test_a_segment_that_is_there_is_kept(tmp_path, video, capsys):
  assert video("out.mp4", "--shard=0/2") == 0
  file = tmp_path / "out.mp4.shard_0_of_2.nut"
  before = file.stat().st_mtime_ns
  assert video("out.mp4", "--shard=0/2", "--skip-existing") == 0
  assert "is there" in capsys.readouterr().out and file.stat().st_mtime_ns == before
  assert video("out.mp4", "--join=2") == 2
  assert "out.mp4.shard_1_of_2.nut is missing: fuse it by --shard 1/2" in capsys.readouterr().err
  assert video("out.mp4", "--shard=1/2") == 0 and (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
  ("more", "message"),
  [
    (["--shard=0/2", "--join=2"], "--shard and --join: only one of them divides a video"),
    (["--join=0"], "--join 0: the number of segments, at least 1"),
    (["--workers=2"], "--workers is for --cluster"),
    (["--skip-existing"], "--skip-existing is for segments"),
    (["--shard=3/2"], "there is no part 3 of 2"),
  ],
)
def test_options_that_do_not_fit(video, capsys, more, message):
  assert video("out.mp4", *more) == 2
  assert message in capsys.readouterr().err
