"""Feeds damaged files to the readers: each must be read or refused with a DatasetError, soon.

  python tools/fuzz_readers.py --count=10000 --seed=0

Valid images, Pascal VOC, YOLO, COCO and split files are made on the spot, damaged at random (bits,
cut, spliced or repeated pieces, numbers and names replaced by hostile ones) and read. Ends with
status 1 if anything but DatasetError came out, or one file took longer than --limit seconds.
--keep=DIR keeps what failed.
"""

import argparse
import collections
import faulthandler
import io
import json
import random
import re
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tdfusion_jax.data.images import read_gray, read_labels, read_visible
from tdfusion_jax.data.labels.annotations import clip_boxes, stop
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.splitlist import read_split_file
from tdfusion_jax.data.labels.voc import read_voc
from tdfusion_jax.data.labels.yolo import read_yolo
from tdfusion_jax.data.source import DatasetError

NUMBERS = (
  "nan",
  "-nan",
  "inf",
  "-1",
  "0",
  "1e999",
  "-1e999",
  "1e308",
  "99999999999999999999",
  "9" * 5000,
  "0x10",
  "1_0",
  "٣",
  "",
  "None",
  "true",
  "1.5",
  "-0",
  "4294967296",
  "[]",
  "{}",
)
NAMES = (
  "../../../etc/passwd",
  "/etc/passwd",
  "..",
  ".",
  "C:\\x",
  "a\x00b",
  "dog",
  "A" * 5000,
  "",
  "&x;",
  "\u202e",
  "a/b",
)
PIECES = (
  b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;&a;">]>',
  b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
  b"\xff\xfe",
  b"<" * 3000,
  b"<a>" * 3000,
  b"[" * 60000,
  b"\x00" * 64,
  b'<?xml version="1.0" encoding="nonsense"?>',
  b",,,,",
)
CLASSES = ("person", "car")


def images() -> list[tuple[str, bytes]]:
  """(extension, content) of valid small images of every kind that the readers take."""
  rng = np.random.default_rng(0)
  colour, gray = rng.integers(0, 256, (24, 30, 3), np.uint8), rng.integers(0, 9, (24, 30), np.uint8)
  kinds = [
    ("png", colour, {}),
    ("png", gray, {}),
    ("png", colour, {"optimize": True}),
    ("jpg", colour, {"quality": 80}),
    ("jpg", colour, {"progressive": True}),
    ("jpg", gray, {}),
    ("bmp", colour, {}),
    ("bmp", gray, {}),
    ("tif", colour, {}),
    ("tif", gray, {"compression": "tiff_lzw"}),
    ("tif", colour, {"compression": "jpeg"}),
    ("tif", gray, {"compression": "tiff_adobe_deflate"}),
    ("png", gray.astype(np.uint16), {}),
  ]
  found = []
  for extension, pixels, options in kinds:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
      buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(extension, extension.upper()), **options
    )
    found.append((extension, buffer.getvalue()))
  palette = Image.fromarray(gray).convert("P")
  buffer = io.BytesIO()
  palette.save(buffer, "PNG")
  return [*found, ("png", buffer.getvalue())]


def texts() -> dict[str, tuple[str, bytes]]:
  """(extension, content) of a valid file of each form of labels."""
  box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>20</ymax></bndbox>"
  items = "".join(f"<object><name>{name}</name>{box}</object>" for name in CLASSES)
  coco = {
    "images": [
      {"id": i, "file_name": f"{n}.png", "width": 30, "height": 24} for i, n in enumerate("ab")
    ],
    "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
    "annotations": [
      {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2.5, 10, 12], "iscrowd": 0}
    ]
    * 2,
  }
  voc = f"<annotation><size><width>30</width><height>24</height></size>{items}</annotation>"
  return {
    "voc": ("xml", voc.encode()),
    "yolo": ("txt", b"0 0.5 0.5 0.25 0.5\n1 0.25 0.4 0.1 0.2\n"),
    "coco": ("json", json.dumps(coco).encode()),
    "split": ("txt", b"a.png 1,2,10,12,0 3,4,9,9,1\nb.png\nc.png 0,0,5,5,1\n"),
  }


def damage(rng: random.Random, content: bytes, text: bool) -> bytes:
  """One to four random changes."""
  for _ in range(rng.choice((1, 1, 2, 4))):
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice((1, 2, 4, 16, 64)))
    kinds = (
      ["bits", "cut", "remove", "repeat", "bytes", "insert"]
      + ["number"] * 4 * text
      + ["name"] * 3 * text
    )
    kind = rng.choice(kinds)
    if kind == "bits" and content:
      position = rng.randrange(len(content))
      content = (
        content[:position]
        + bytes([content[position] ^ 1 << rng.randrange(8)])
        + content[position + 1 :]
      )
    elif kind == "cut":
      content = content[:start]
    elif kind == "remove":
      content = content[:start] + content[stop:]
    elif kind == "repeat":
      content = content[:stop] + content[start:stop] * rng.choice((1, 3, 50)) + content[stop:]
    elif kind == "bytes":
      content = content[:start] + rng.randbytes(stop - start) + content[stop:]
    elif kind == "insert":
      content = content[:start] + rng.choice(PIECES) + content[start:]
    elif kind == "number":
      content = _replace(rng, rb"-?\d+\.?\d*", rng.choice(NUMBERS), content)
    elif kind == "name":
      # Of XML mostly the text between tags: a broken tag ends the reading before the values are
      # looked at.
      pattern = (
        rb"(?<=>)[^<>]+(?=<)" if content[:1] == b"<" and rng.random() < 0.8 else rb"[A-Za-z_][\w.]*"
      )
      content = _replace(rng, pattern, rng.choice(NAMES), content)
  return content


def _replace(rng: random.Random, pattern: bytes, value: str, content: bytes) -> bytes:
  places = list(re.finditer(pattern, content))
  if not places:
    return content
  place = rng.choice(places)
  return content[: place.start()] + value.encode("utf-8", "surrogatepass") + content[place.end() :]


def damage_png(rng: random.Random, content: bytes) -> bytes:
  """Changes inside a PNG chunk; its checksum is made right again, so they reach the decoder."""
  chunks, position = [], 8
  while position + 12 <= len(content):
    (length,) = struct.unpack(">I", content[position : position + 4])
    chunks.append(
      (content[position + 4 : position + 8], content[position + 8 : position + 8 + length])
    )
    position += 12 + length
  which = rng.randrange(len(chunks))
  kind, data = chunks[which]
  chunks[which] = (kind, damage(rng, data, False))
  if rng.random() < 0.2:
    chunks.insert(
      1, (rng.choice((b"zTXt", b"iCCP", b"tEXt")), b"x\x00\x00" + zlib.compress(bytes(1 << 22)))
    )
  packed = (
    struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
  )
  return content[:8] + b"".join(packed)


def read(kind: str, path: Path, rng: random.Random) -> None:
  """What the sources do with a file of this kind."""
  if kind == "image":
    rng.choice((read_gray, read_visible, lambda p: read_labels(p, 9, 0)))(path)
    return
  # As in training, where the first fault ends the reading, or as in `tdfusion data verify`, where
  # none does.
  report = rng.choice((stop, lambda kind, message: None))
  if kind == "voc":
    found = [read_voc(path, CLASSES, report)]
  elif kind == "yolo":
    found = [read_yolo(path, len(CLASSES), (24, 30), report)]
  else:
    boxes = (
      read_coco(path, report)[0] if kind == "coco" else read_split_file(path, len(CLASSES), report)
    )
    if any(
      "/" in name or "\\" in name or name in ("", ".", "..") or "\x00" in name for name in boxes
    ):
      raise AssertionError(f"a name that leaves the folder: {list(boxes)}")
    found = list(boxes.values())
  for item in found:
    if not np.isfinite(item.boxes).all() or (item.boxes[:, 2:] < item.boxes[:, :2]).any():
      raise AssertionError(f"boxes that are none: {item.boxes}")
    clip_boxes(item, (24, 30), path)


def fuzz(
  count: int, seed: int, limit: float, keep: Path | None = None
) -> tuple[collections.Counter, list[str], float]:
  """(outcomes by kind, failures, longest time in seconds) of `count` damaged files."""
  rng = random.Random(seed)
  pictures, forms = images(), texts()
  outcomes, failures, longest = collections.Counter(), [], 0.0
  with tempfile.TemporaryDirectory() as folder:
    for number in range(count):
      kind = rng.choice(("image", "image", *forms))
      extension, content = rng.choice(pictures) if kind == "image" else forms[kind]
      inner = kind == "image" and extension == "png" and rng.random() < 0.6
      content = damage_png(rng, content) if inner else damage(rng, content, kind != "image")
      path = Path(folder) / f"case.{extension}"
      path.write_bytes(content)
      faulthandler.dump_traceback_later(
        20 * limit, exit=True
      )  # a reader that never returns cannot be counted
      began = time.perf_counter()
      problem = None
      try:
        read(kind, path, rng)
        outcomes[kind, "read"] += 1
      except DatasetError as error:
        outcomes[kind, "refused"] += 1
        problem = None if path.name in str(error) else f"message without the file's name: {error}"
      except Exception:
        problem = traceback.format_exc()
      seconds = time.perf_counter() - began
      faulthandler.cancel_dump_traceback_later()
      longest = max(longest, seconds)
      if seconds > limit:
        problem = f"took {seconds:.1f} s"
      if problem:
        failures.append(f"file {number} ({kind}): {problem}")
        if keep:
          keep.mkdir(parents=True, exist_ok=True)
          (keep / f"{seed}_{number}_{kind}.{extension}").write_bytes(content)
  return outcomes, failures, longest


def main() -> int:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--count", type=int, default=10_000, help="damaged files")
  parser.add_argument("--seed", type=int, default=0, help="other damage")
  parser.add_argument("--limit", type=float, default=5.0, help="seconds that one file may take")
  parser.add_argument("--keep", type=Path, metavar="DIR", help="where the files that failed go")
  options = parser.parse_args()
  warnings.simplefilter("ignore")
  began = time.perf_counter()
  outcomes, failures, longest = fuzz(options.count, options.seed, options.limit, options.keep)
  for kind in sorted({kind for kind, _ in outcomes}):
    print(f"{kind:6} read {outcomes[kind, 'read']:6} refused {outcomes[kind, 'refused']:6}")
  memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  print(
    f"{options.count} files in {time.perf_counter() - began:.0f} s, "
    f"longest {longest * 1000:.0f} ms, peak memory {memory:.0f} MiB, {len(failures)} failure(s)"
  )
  print("\n".join(failures[:20]))
  return 1 if failures else 0


if __name__ == "__main__":
  sys.exit(main())
