"""Feeds damaged files to the readers: each must be read or refused with a UsageError, soon.

  python tools/fuzz_readers.py --count=10000 --seed=0

Valid images of every kind, Pascal VOC, YOLO, COCO and split files and lists of classes are made on
the spot, damaged at random (bits, cut, spliced or repeated pieces, numbers and names replaced by
hostile ones) and read, for training and for fusing. Ends with status 1 if anything but a UsageError
came out, or one file took longer than --limit seconds, ran code, or had something written.
--keep=DIR keeps what failed.
"""

import io
import json
import random
import struct
import sys
import zlib
from pathlib import Path

import fuzzing
import numpy as np
import tifffile
from PIL import Image

from tdfusion_jax.data.images import read_gray, read_visible
from tdfusion_jax.data.labels.annotations import clip_boxes, stop
from tdfusion_jax.data.labels.classes import read_classes
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.masks import read_labels
from tdfusion_jax.data.labels.splitlist import read_split_file
from tdfusion_jax.data.labels.voc import read_voc
from tdfusion_jax.data.labels.yolo import read_yolo
from tdfusion_jax.files import UsageError
from tdfusion_jax.images.reading import image_size, read_image, read_pixels
from tdfusion_jax.images.scaling import Scale

CLASSES = ("person", "car")
FORMATS = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}
SCALES = (
  Scale(),
  Scale("percentile", 1, 99, fill=True),
  Scale("range", 0, 1, channels=(4,)),
  Scale("range", 0, 50, celsius=True),
)


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
    ("webp", colour, {"lossless": True}),
    ("jp2", colour, {}),
    ("jp2", gray.astype(np.uint16), {}),
    ("ppm", colour, {}),
  ]
  found = [*tiffs(colour, gray), ("jpg", radiometric(gray))]
  for extension, pixels, options in kinds:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, FORMATS.get(extension, extension.upper()), **options)
    found.append((extension, buffer.getvalue()))
  palette = Image.fromarray(gray).convert("P")
  buffer = io.BytesIO()
  palette.save(buffer, "PNG")
  return [*found, ("png", buffer.getvalue())]


def tiffs(colour: np.ndarray, gray: np.ndarray) -> list[tuple[str, bytes]]:
  """Forms of TIFF that Pillow does not write, and a PGM of 12 bits."""
  wide = gray.astype(np.uint16) * 7000
  forms: list[tuple[np.ndarray, dict]] = [
    (wide, {}),
    (wide, {"compression": "zlib", "predictor": True, "byteorder": ">"}),
    (wide, {"tile": (16, 16), "compression": "zlib"}),
    (np.moveaxis(colour, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
    (colour.astype(np.uint16), {"photometric": "rgb", "bigtiff": True}),
    (gray.astype(np.float64), {"extratags": [(42113, "s", 0, "3", True)]}),
    (gray.astype(np.float16), {}),
    (gray, {"photometric": "palette", "colormap": np.full((3, 256), 700, np.uint16)}),
    (gray, {"photometric": "miniswhite", "extratags": [(274, "H", 1, 6, True)]}),
    (np.stack([colour, colour]), {"photometric": "rgb"}),
    (np.dstack([colour, gray]), {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    (np.dstack([colour, gray]), {"photometric": "separated"}),
  ]
  found = []
  for array, options in forms:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"photometric": "minisblack", **options})
    found.append(("tif", buffer.getvalue()))
  height, width = gray.shape
  plain = b"P5 %d %d 4095\n" % (width, height) + wide.astype(">u2").tobytes()
  return [*found, ("pgm", plain)]


def radiometric(gray: np.ndarray) -> bytes:
  """A JPEG with FLIR's segment: counts as a PNG, and a camera's constants."""
  height, width = gray.shape
  picture, counts = io.BytesIO(), io.BytesIO()
  Image.fromarray(gray).save(picture, "JPEG")
  Image.fromarray(gray.astype(np.uint16) * 900).save(counts, "PNG")
  raw = struct.pack("<HHH", 2, width, height).ljust(32, b"\x00") + counts.getvalue()
  camera = bytearray(0x360)
  struct.pack_into("<H", camera, 0, 2)
  for place, value in ((0x20, 0.9), (0x28, 293.0), (0x58, 17e3), (0x5C, 1430.0), (0x30C, 0.01)):
    struct.pack_into("<f", camera, place, value)
  records = [(1, raw), (0x20, bytes(camera))]
  places = [128, 128 + len(raw)]
  entries = [
    struct.pack(">HHIIII", kind, 0, 100, 0, place, len(content)).ljust(32, b"\x00")
    for place, (kind, content) in zip(places, records, strict=True)
  ]
  head = (b"FFF\x00" + bytes(16) + struct.pack(">III", 100, 64, 2)).ljust(64, b"\x00")
  segment = b"FLIR\x00\x01\x00\x00" + head + b"".join(entries) + raw + bytes(camera)
  whole = picture.getvalue()
  return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + whole[2:]


def texts() -> list[tuple[str, str, bytes]]:
  """(form, extension, content) of valid files of each form of labels, as several programs write."""
  yolo = b"0 0.5 0.5 0.25 0.5\n1 0.25 0.4 0.1 0.2\n"
  others = (
    b"0 0.2 0.2 0.6 0.2 0.6 0.7 0.2 0.7\n1 0.5 0.5 0.2 0.2 0.93\n1 0.5 0.5 0.2 0.2 0.9 17\n"
    b"0 0.5 0.5 0.5 0.25 0.4 0.45 2 0.6 0.5 1\n"
  )
  return [
    *(("voc", "xml", content) for content in _voc()),
    *(("coco", "json", json.dumps(content).encode()) for content in _coco()),
    ("yolo", "txt", yolo),
    ("yolo", "txt", others),
    ("yolo", "txt", yolo.decode().encode("utf-16")),
    ("split", "txt", b"a.png 1,2,10,12,0 3,4,9,9,1\nb.png\nc.png 0,0,5,5,1\n"),
    ("names", "yaml", b"path: ..\ntrain: images/train\nnc: 2\nnames:\n  0: person\n  1: car\n"),
    ("names", "txt", b"person\ncar\n"),
  ]


def _voc() -> list[bytes]:
  size = "<size><width>30</width><height>24</height></size>"
  box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>20</ymax></bndbox>"
  points = "".join(f"<x{i}>{i * 3}</x{i}><y{i}>{i * 2}</y{i}>" for i in range(1, 5))
  rotated = "<cx>9</cx><cy>9</cy><w>6</w><h>4</h><angle>0.5</angle>"
  plain = "".join(f"<object><name>{name}</name>{box}</object>" for name in CLASSES)
  other = "".join(
    f"<object><name>person</name>{item}</object>"
    for item in (f"<polygon>{points}</polygon>", f"<robndbox>{rotated}</robndbox>")
  )
  head = '<?xml version="1.0" encoding="gb2312"?>'
  files = [f"<annotation>{size}{items}</annotation>" for items in (plain, other)]
  return [*(file.encode() for file in files), f"{head}{files[0]}".encode()]


def _coco() -> list[dict]:
  plain = {
    "images": [
      {"id": i, "file_name": f"{n}.png", "width": 30, "height": 24} for i, n in enumerate("ab")
    ],
    "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
    "annotations": [
      {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2.5, 10, 12], "iscrowd": 0}
    ]
    * 2,
  }
  regions = ([[1, 2, 9, 3, 5, 12]], {"size": [24, 30], "counts": [30, 5, 685]})
  runs = {"size": [24, 30], "counts": "n0500"}
  other = {
    "images": [
      {"id": "a", "file_name": "D:\\x\\a%20b.png"},
      {"id": 7, "file_name": "s3://c/d.png"},
    ],
    "categories": [
      {"id": 0, "name": "all", "supercategory": "none"},
      {"id": "1", "name": "person", "supercategory": "all"},
    ],
    "annotations": [
      {"image_id": "a", "category_id": 1, "segmentation": region} for region in (*regions, runs)
    ],
  }
  return [plain, other]


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
  chunks[which] = (kind, fuzzing.damage(rng, data, False))
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
    scale = rng.choice(SCALES)
    ways = (read_gray, read_visible, lambda p: read_labels(p, 9, 0))
    rng.choice(
      (*ways, image_size, lambda p: read_pixels(p, scale), lambda p: read_image(p, scale))
    )(path)
    return
  # As in training, where the first fault ends the reading, or as in `tdfusion data verify`, where
  # none does.
  report = rng.choice((stop, lambda kind, message: None))
  if kind == "names":
    read_classes(path)
    return
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


def target() -> fuzzing.Target:
  """The readers, with a damaged file of one of their forms at a time."""
  files = {"image": [("image", *picture) for picture in images()]}
  for form, extension, content in texts():
    files.setdefault(form, []).append((form, extension, content))

  def make(rng: random.Random, folder: Path) -> fuzzing.Case:
    kind, extension, content = rng.choice(files[rng.choice(("image", *files))])
    inner = kind == "image" and extension == "png" and rng.random() < 0.6
    damaged = (
      fuzzing.damage(rng, content, kind != "image") if not inner else damage_png(rng, content)
    )
    path = folder / f"case.{extension}"
    path.write_bytes(damaged)
    return fuzzing.Case(kind, path)

  def attempt(case: fuzzing.Case, rng: random.Random, out: Path) -> None:
    del out
    read(case.kind, case.path, rng)

  return fuzzing.Target(make, attempt, refusal=UsageError)


if __name__ == "__main__":
  sys.exit(fuzzing.main(__doc__ or "", target))
