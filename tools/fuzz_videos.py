"""Feeds damaged videos to the reader: each must be read or refused with an ImageError, soon.

  python tools/fuzz_videos.py --count=10000 --seed=0

Small valid videos (MP4, Matroska, AVI, MPEG-TS, GIF, WebP), TIFF stacks and folders of frames are
made on the spot, damaged at random and read as `tdfusion video` reads them. Ends with status 1 if
anything but an ImageError came out, one file took longer than --limit seconds, ran code, or had
something written, or if a decoder's machine code crashed: files are read by processes of their own,
a few hundred each. --keep=DIR keeps what failed.
"""

import argparse
import collections
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import tifffile
from PIL import Image

from tdfusion_jax.fusing.footage.pyav import pyav
from tdfusion_jax.fusing.footage.sources import Footage
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.scaling import Scale

SIZE = (24, 32)
COUNT = 6  # frames
BATCH = 250  # files that one process reads
MOST = 100  # frames read of one file
SCALE = Scale("range", 0, 255)
WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff")
LISTS = (
  b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
  b"ffconcat version 1.0\nfile '/etc/passwd'\n",
  b"concat:/etc/passwd|/etc/passwd",
)
# kind: codec of pictures, their form, codec of sound
CODED = {
  "mp4": (("libx264", "yuv420p", "aac"), ("mpeg4", "yuv420p", "")),
  "mkv": (("libx264", "yuv420p", "aac"), ("ffv1", "gray16le", ""), ("libvpx-vp9", "yuv420p", "")),
  "avi": (("mpeg4", "yuv420p", "pcm_s16le"), ("mjpeg", "yuvj420p", ""), ("rawvideo", "bgr24", "")),
  "ts": (("libx264", "yuv420p", "mp2"), ("mpeg2video", "yuv420p", "")),
  "mov": (("prores", "yuv422p10le", ""), ("png", "rgb24", "pcm_s16le")),
}


def pictures() -> list[np.ndarray]:
  """Noise on a ramp that moves."""
  rng = np.random.default_rng(0)
  ramp = np.linspace(20, 200, SIZE[1])
  found = []
  for i in range(COUNT):
    noisy = np.roll(ramp, i)[None, :, None] + rng.normal(0, 9, (*SIZE, 3))
    found.append(np.clip(noisy, 0, 255).astype(np.uint8))
  return found


def coded(ending: str, codec: str, form: str, sound: str, folder: Path) -> bytes:
  """The content of a valid video."""
  path = folder / f"whole.{ending}"
  av = pyav()
  with av.open(str(path), "w") as out:
    stream = out.add_stream(codec, rate=25)
    stream.height, stream.width, stream.pix_fmt = *SIZE, form
    stream.codec_context.time_base = Fraction(1, 25)
    voice = out.add_stream(sound, rate=48000) if sound else None
    for number, image in enumerate(pictures()):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=form)
      frame.pts, frame.time_base = number, Fraction(1, 25)
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
    if voice is not None:
      for block in silence(voice.codec_context):
        out.mux(voice.encode(block))
      out.mux(voice.encode(None))
  return path.read_bytes()


def silence(context: Any) -> list[Any]:
  """Blocks of sound for a coder."""
  form, layout = context.format.name, context.layout
  kind = np.float32 if form.startswith("flt") else np.int16
  channels = layout.nb_channels
  shape = (channels, 1152) if form.endswith("p") else (1, 1152 * channels)
  found = []
  for number in range(8):
    block = pyav().AudioFrame.from_ndarray(np.zeros(shape, kind), form, layout.name)
    block.sample_rate, block.pts, block.time_base = 48000, 1152 * number, Fraction(1, 48000)
    found.append(block)
  return found


def stacks() -> list[tuple[str, bytes]]:
  """(ending, content) of files of several images."""
  colour = pictures()
  gray = np.stack([image[..., 0] for image in colour])
  found = []
  forms: list[tuple[np.ndarray, dict[str, Any]]] = [
    (gray, {}),
    (gray.astype(np.uint16) * 200, {"compression": "zlib"}),
    (gray.astype(np.float32), {"bigtiff": True}),
    (gray.astype(np.uint16), {"imagej": True}),
  ]
  for array, how in forms:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="minisblack", **how)
    found.append(("tif", buffer.getvalue()))
  for ending in ("gif", "webp", "png"):
    buffer = io.BytesIO()
    images = [Image.fromarray(image) for image in colour]
    images[0].save(buffer, ending, save_all=True, append_images=images[1:], duration=40)
    found.append((ending, buffer.getvalue()))
  return found


def whole() -> dict[str, list[bytes]]:
  """Contents of valid files by their endings."""
  found: dict[str, list[bytes]] = collections.defaultdict(list)
  with tempfile.TemporaryDirectory() as folder:
    for ending, forms in CODED.items():
      for codec, form, sound in forms:
        found[ending].append(coded(ending, codec, form, sound, Path(folder)))
  for ending, content in stacks():
    found[ending].append(content)
  return dict(found)


def damaged(rng: random.Random, content: bytes) -> bytes:
  """Changes anywhere, or a hostile number or list where a head or an index is."""
  if rng.random() < 0.5:
    return fuzzing.damage(rng, content, False)
  for _ in range(rng.choice((1, 1, 2, 3))):
    near = min(len(content), 600)
    place = rng.choice((rng.randrange(near), len(content) - 1 - rng.randrange(near)))
    piece = rng.choice((*WORDS, *WORDS, rng.randbytes(4), *LISTS))
    content = content[:place] + piece + content[place + len(piece) :]
  return rng.choice(LISTS) + content if rng.random() < 0.02 else content


def read(case: fuzzing.Case, rng: random.Random, out: Path) -> None:
  """What `tdfusion video` does with a source before it is fused."""
  del out
  footage = Footage(case.path)
  try:
    last = -1.0
    for frame in itertools.islice(footage, MOST):
      found = frame.pixels(str(case.path), SCALE).whole()
      if found.ndim != 3 or found.shape[-1] not in (1, 3) or not np.isfinite(found).all():
        raise AssertionError(f"no picture: {found.shape}, mean {found.mean()}")
      if not last < frame.seconds < 1e12:
        raise AssertionError(f"no time: {frame.seconds} after {last}")
      last = frame.seconds
    if rng.random() < 0.3:
      footage.count()
  finally:
    footage.close()


def target() -> fuzzing.Target:
  """The reader, with a damaged video at a time."""
  files = whole()
  frames = []
  for image in pictures():
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    frames.append(buffer.getvalue())

  def make(rng: random.Random, folder: Path) -> fuzzing.Case:
    for left in folder.iterdir():
      shutil.rmtree(left) if left.is_dir() else left.unlink()
    kind = rng.choice((*files, "folder"))
    if kind != "folder":
      path = folder / f"case.{kind}"
      path.write_bytes(damaged(rng, rng.choice(files[kind])))
      return fuzzing.Case(kind, path)
    (folder / "case").mkdir()
    which = rng.randrange(len(frames))
    for number, content in enumerate(frames):
      content = damaged(rng, content) if number == which else content
      (folder / "case" / f"{number}.png").write_bytes(content)
    return fuzzing.Case(kind, folder / "case")

  return fuzzing.Target(make, read, refusal=ImageError)


def work(count: int, seed: int, limit: float, keep: Path | None) -> None:
  """A process of its own: reads `count` files, and prints what came of them."""
  pyav().logging.set_level(None)
  outcome = fuzzing.fuzz(target(), count, seed, limit, keep)
  counts = [[*key, number] for key, number in outcome.counts.items()]
  print(json.dumps([counts, outcome.failures, outcome.longest]))


def in_processes(
  count: int, seed: int, limit: float = 5.0, keep: Path | None = None, batch: int = BATCH
) -> fuzzing.Outcome:
  """Like `fuzzing.fuzz`, but by one process after the other; one that dies is a failure.

  Args:
    count: files.
    seed: other damage.
    limit: seconds that one file may take.
    keep: folder for the files that failed.
    batch: files that one process reads.
  """
  counts, failures, longest = collections.Counter(), [], 0.0
  for number, first in enumerate(range(0, count, batch)):
    part = 100_000 * (seed + 1) + number
    size = min(batch, count - first)
    with tempfile.TemporaryDirectory() as scratch:
      options = [f"--count={size}", f"--seed={part}", f"--limit={limit}", "--worker"]
      command = [sys.executable, str(Path(__file__).resolve()), *options]
      command += [f"--keep={keep}"] if keep else []
      done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(scratch)
      )
      if done.returncode:
        failures.append(f"files {first} to {first + size - 1}: {_death(done)}")
        if keep:
          _keep_last(Path(scratch), keep / f"crash_{part}")
        continue
    found, problems, slowest = json.loads(done.stdout.splitlines()[-1])
    for kind, result, times in found:
      counts[kind, result] += times
    failures += [f"seed {part}, {problem}" for problem in problems]
    longest = max(longest, slowest)
  return fuzzing.Outcome(counts, failures, longest)


def _environment(scratch: str) -> dict[str, str]:
  root = str(Path(__file__).resolve().parents[1])
  return {**os.environ, "TMPDIR": scratch, "PYTHONPATH": root}


def _death(done: subprocess.CompletedProcess) -> str:
  if done.returncode < 0:
    return f"the process was ended by {signal.Signals(-done.returncode).name}"
  return f"the process ended with {done.returncode}: {done.stderr[-2000:]}"


def _keep_last(scratch: Path, to: Path) -> None:
  """The file that a process read when it died is still where it was."""
  for found in scratch.glob("*/in"):
    shutil.copytree(found, to, dirs_exist_ok=True)


def main() -> int:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--count", type=int, default=10_000, help="damaged files")
  parser.add_argument("--seed", type=int, default=0, help="other damage")
  parser.add_argument("--limit", type=float, default=5.0, help="seconds that one file may take")
  parser.add_argument("--keep", type=Path, metavar="DIR", help="where the files that failed go")
  parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
  options = parser.parse_args()
  keep = options.keep.resolve() if options.keep else None
  if options.worker:
    work(options.count, options.seed, options.limit, keep)
    return 0
  began = time.perf_counter()
  outcome = in_processes(options.count, options.seed, options.limit, keep)
  print(fuzzing.report(outcome, options.count, time.perf_counter() - began))
  return 1 if outcome.failures else 0


if __name__ == "__main__":
  sys.exit(main())
