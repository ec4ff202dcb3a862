"""What is opened as a video and what is not; what stood at a result's place before."""

import errno
import http.server
import os
import socket
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason="PyAV is not installed")

from films import Film, even, flat, seen, shoot  # noqa: E402

from tdfusion_jax.fusing.footage import pyav, writer  # noqa: E402
from tdfusion_jax.fusing.footage.pyav import VideoError  # noqa: E402
from tdfusion_jax.fusing.footage.sources import Footage  # noqa: E402
from tdfusion_jax.fusing.video import fuse_video  # noqa: E402

COUNT = 12


def film(path, count=COUNT, **how):
  shoot(path, flat([20 + 7 * i for i in range(count)]), Film(even(count), **how))
  return path


def levels(footage):
  found = [float(frame.array.mean()) for frame in footage]
  footage.close()
  return found


# Each names another file, or an address, in the way of its kind.
LISTS = {
  "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{there}\n#EXT-X-ENDLIST\n",
  "b.mp4": "ffconcat version 1.0\nfile '{there}'\n",
  "c.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n",
  "d.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video "
  "{port} RTP/AVP 96\n"
  "a=rtpmap:96 H264/90000\n",
  "e.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
  'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation '
  'id="1" bandwidth="1"><BaseURL>{address}</BaseURL></Representation></AdaptationSet>'
  "</Period></MPD>",
  "f.asx": '<asx version="3.0"><entry><ref href="{address}"/></entry></asx>',
  "g.mkv": "concat:{there}|{there}",
  "h.avi": "file:{there}",
  "i.svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>',
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_files_are_not_followed(tmp_path, name):
  """No file beside it is opened and nobody is called: a server on the address hears nothing."""
  film(tmp_path / "there.ts")
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    server.listen()
    server.settimeout(0.05)
    port = server.getsockname()[1]
    text = LISTS[name].format(
      there=tmp_path / "there.ts", address=f"http://127.0.0.1:{port}/a.ts", port=port
    )
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoError, match=name.replace(".", r"\.")):
      levels(Footage(tmp_path / name))
    with pytest.raises(TimeoutError):
      server.accept()


def test_names_are_no_commands(tmp_path):
  for name in (
    "concat:a|b.mp4",
    "a:b.mp4",
    "frame%03d.mp4",
    "-i.mp4",
    "subfile,,start,0,end,9,,:x.mp4",
  ):
    film(tmp_path / name, 3)
    assert len(levels(Footage(tmp_path / name))) == 3
  odd = os.fsencode(tmp_path) + b"/\xff\xfe.mp4"
  os.rename(os.fsencode(tmp_path / "a:b.mp4"), odd)
  assert len(levels(Footage(Path(os.fsdecode(odd))))) == 3


class Server(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    pass


def test_addresses_are_opened(tmp_path, monkeypatch):
  """Expected: the levels that the film was made of, through a server of this machine."""
  film(tmp_path / "vi.ts")
  film(tmp_path / "ir.mp4")
  handler = lambda *arguments: Server(*arguments, directory=str(tmp_path))  # noqa: E731
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    vi = Footage(f"{address}/vi.ts")
    assert vi.live
    done = fuse_video(lambda ir, vi: vi, Footage(tmp_path / "ir.mp4"), vi, tmp_path / "out.mp4")
    with pytest.raises(VideoError, match=r"none\.ts cannot be opened.*404"):
      Footage(f"{address}/none.ts")
    (tmp_path / "a.m3u8").write_text(LISTS["a.m3u8"].format(there=f"{address}/vi.ts"))
    with pytest.raises(VideoError, match="lists of other files are not followed"):
      Footage(f"{address}/a.m3u8")
    server.shutdown()
  assert done.frames == COUNT
  found = [level for _, level in seen(tmp_path / "out.mp4")]
  np.testing.assert_allclose(found, [20 + 7 * i for i in range(COUNT)], atol=3)


def test_a_stream_that_is_sent_by_udp(tmp_path):
  """MPEG-TS packets as a camera sends them, again and again until they are heard."""
  film(tmp_path / "vi.ts", 30)
  content = (tmp_path / "vi.ts").read_bytes()
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  done = threading.Event()

  def send():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
      while not done.is_set():
        for start in range(0, len(content), 7 * 188):
          out.sendto(content[start : start + 7 * 188], ("127.0.0.1", port))
        done.wait(0.05)

  sender = threading.Thread(target=send)
  sender.start()
  try:
    footage = Footage(f"udp://127.0.0.1:{port}")
    frame = next(iter(footage))
  finally:
    done.set()
    sender.join()
  footage.close()
  assert frame.array.shape == (48, 64, 3) and 15 < frame.array.mean() < 255


@pytest.mark.parametrize(
  ("source", "message"),
  [
    (
      "rtsp://127.0.0.1:1/x",
      "rtsp://127.0.0.1:1/x cannot be opened as a video: Connection refused",
    ),
    ("udp://127.0.0.1:1", "udp://127.0.0.1:1 cannot be opened as a video: nothing came for 0.3 s"),
    ("rtsp://me:secret@127.0.0.1:1/x", r"rtsp://\*\*\*@127\.0\.0\.1:1/x cannot be opened"),
    ("ftp://127.0.0.1/x", "addresses start with one of rtsp,"),
    ("file:///etc/passwd", "addresses start with one of rtsp,"),
    ("/dev/video98", r"/dev/video98 does not exist\. `ls /dev/video\*` lists"),
    ("98", "98 is no file, and there is no camera /dev/video98"),
    ("/dev/null", "/dev/null cannot be opened as a camera"),
  ],
)
def test_what_does_not_answer_is_named(monkeypatch, source, message):
  monkeypatch.setattr(pyav, "WAIT", 0.3)
  with pytest.raises(VideoError, match=message) as told:
    Footage(source)
  assert "secret" not in str(told.value)


def test_a_pipe_is_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / "a.mp4")
  with pytest.raises(VideoError, match="is a pipe or socket"):
    Footage(tmp_path / "a.mp4")


def test_cover_pictures_are_no_video(tmp_path):
  with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
    voice = out.add_stream("aac", rate=16000, layout="mono")
    block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    block.sample_rate, block.pts, block.time_base = 16000, 0, Fraction(1, 16000)
    out.mux([*voice.encode(block), *voice.encode(None)])
  with pytest.raises(VideoError, match="has no video stream"):
    Footage(tmp_path / "a.m4a")


def test_metadata_that_is_not_utf8_is_no_obstacle(tmp_path):
  with av.open(str(tmp_path / "a.mkv"), "w") as out:
    out.metadata["title"] = "Nebelwald XY"
    stream = out.add_stream("mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    frame = av.VideoFrame.from_ndarray(flat([90])[0], format="rgb24")
    out.mux([*stream.encode(frame), *stream.encode(None)])
  content = (tmp_path / "a.mkv").read_bytes()
  assert b"Nebelwald XY" in content
  (tmp_path / "a.mkv").write_bytes(content.replace(b"Nebelwald XY", b"Nebelw\xe4ld XY"))
  assert levels(Footage(tmp_path / "a.mkv")) == [pytest.approx(90, abs=2)]


def test_two_images_of_one_name_in_a_folder_are_named(tmp_path):
  for ending in ("png", "jpg"):
    Image.fromarray(flat([40])[0]).save(tmp_path / f"a.{ending}")
  with pytest.raises(VideoError, match=r"a\.jpg and .*a\.png have the same name"):
    Footage(tmp_path)


GOOD = b"an earlier good result"
FAULTS = [
  *((fault, ending) for fault in ("opening", "first frame") for ending in writer.CODECS),
  *(("reading back", ending) for ending in writer.CODECS),
  # Of other containers what was written can be played without being closed.
  ("closing", ".mp4"),
  ("closing", ".mov"),
]


@pytest.mark.parametrize(("fault", "ending"), FAULTS)
def test_a_good_file_is_not_replaced_by_a_broken_one(tmp_path, monkeypatch, fault, ending):
  out = tmp_path / f"out{ending}"
  out.write_bytes(GOOD)
  ir, vi = film(tmp_path / "ir.mp4", 3), film(tmp_path / "vi.mp4", 3)
  close = writer.Writer.close

  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  def refused(*_):
    raise VideoError("refused")

  def cut(self):
    close(self)
    path = Path(self._out.name)
    path.write_bytes(path.read_bytes()[:24])

  name, what = {
    "opening": ("_add_stream", full),
    "first frame": ("add", refused),
    "closing": ("close", refused),
    "reading back": ("close", cut),
  }[fault]
  monkeypatch.setattr(writer.Writer, name, what)
  with pytest.raises(VideoError):
    fuse_video(lambda ir, vi: vi, Footage(ir), Footage(vi), out)
  assert out.read_bytes() == GOOD
  assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["ir.mp4", out.name, "vi.mp4"])


@pytest.mark.parametrize("ending", writer.CODECS)
def test_an_interrupted_recording_keeps_its_frames(tmp_path, ending):
  """Ctrl-C after the fourth frame, before anything for the first."""
  ir, vi, out = film(tmp_path / "ir.mp4"), film(tmp_path / "vi.mp4"), tmp_path / f"out{ending}"
  out.write_bytes(GOOD)

  def interrupt(count):
    if count == 4:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fuse_video(lambda ir, vi: vi, Footage(ir), Footage(vi), out, told=interrupt)
  assert len(seen(out)) == 4

  def at_once(ir, vi):
    raise KeyboardInterrupt

  out.write_bytes(GOOD)
  with pytest.raises(KeyboardInterrupt):
    fuse_video(at_once, Footage(ir), Footage(vi), out)
  assert out.read_bytes() == GOOD
  assert len([*tmp_path.iterdir()]) == 3


def test_a_full_disk_is_told(tmp_path):
  """RLIMIT_FSIZE stands for it, in a process of its own."""
  ir, vi = film(tmp_path / "ir.mp4"), tmp_path / "vi.mkv"
  rng = np.random.default_rng(0)
  noise = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(COUNT)]
  shoot(vi, noise, Film(even(COUNT)))
  (tmp_path / "out.mp4").write_bytes(GOOD)
  script = (
    "import resource, signal, sys\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    "from tdfusion_jax.fusing.footage.sources import Footage\n"
    "from tdfusion_jax.fusing.video import fuse_video, VideoError\n"
    "try: fuse_video(lambda ir, vi: vi, Footage(sys.argv[1]), Footage(sys.argv[2]), sys.argv[3])\n"
    "except VideoError as error: print('told:', error)\n"
  )
  command = [sys.executable, "-c", script, str(ir), str(vi), str(tmp_path / "out.mp4")]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.stdout.startswith(f"told: {tmp_path}/out.mp4 cannot be written"), done
  assert (tmp_path / "out.mp4").read_bytes() == GOOD
