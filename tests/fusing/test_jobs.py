"""Which files become which, and in what form: one pair or folders, formats, depth, what is kept."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tdfusion_jax import cli, fusers
from tdfusion_jax.fusing import streaming
from tdfusion_jax.fusing.jobs import list_jobs
from tdfusion_jax.images.reading import ImageError, read_image

RNG = np.random.default_rng(5)
SIZE = (24, 32)
KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)  # GeoTIFF 1.1: projected, EPSG:32633
PLACE = [
  (33550, 12, 3, (0.25, 0.25, 0.0), True),
  (33922, 12, 6, (0.0, 0.0, 0.0, 389123.25, 5819876.75, 0.0), True),
  (34735, 3, len(KEYS), KEYS, True),
]


@pytest.fixture(autouse=True)
def mean(monkeypatch):
  """An F that takes the mean of both luminances."""
  monkeypatch.setattr(fusers, "load_fusion", lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {}))


def eight(*channels):
  return RNG.integers(0, 256, (*SIZE, *channels), np.uint8)


def sixteen(*channels):
  return RNG.integers(0, 65536, (*SIZE, *channels), np.uint16)


def save(path, image, **more):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".tif":
    tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack", **more)
  else:
    Image.fromarray(image).save(path, **more)
  return path


def fuse(ir, vi, out, *more):
  paths = [f"--{name}={path}" for name, path in (("ir", ir), ("vi", vi), ("out", out))]
  return cli.main(["fuse", *paths, "--weights=f.safetensors", "--no-check", "--cache=", *more])


@pytest.mark.parametrize("out", ["c.png", "new/c.PNG", "c.jpg", "c.jpeg", "c.tif", "c.tiff"])
def test_one_pair_of_files(tmp_path, out):
  ir, vi = save(tmp_path / "a.png", eight()), save(tmp_path / "b.png", eight())
  assert fuse(ir, vi, tmp_path / out) == 0
  expected = (read_image(ir) + read_image(vi)) / 2
  slack = 0.08 if "jp" in out else 0.5 / 255 + 1e-6  # JPEG loses some of noise
  np.testing.assert_allclose(read_image(tmp_path / out), expected, atol=slack)


def test_one_pair_into_a_folder_goes_by_the_visible_name(tmp_path):
  ir, vi = save(tmp_path / "a.png", eight()), save(tmp_path / "b.jpg", eight(3))
  (tmp_path / "there.png").mkdir()
  for out in ("new", "there.png"):
    assert fuse(ir, vi, tmp_path / out) == 0
    assert [path.name for path in (tmp_path / out).iterdir()] == ["b.png"]
  assert fuse(ir, vi, tmp_path / "new", "--skip-existing") == 0


@pytest.mark.parametrize(
  ("ir", "vi", "out", "more", "message"),
  [
    ("ir", "b.png", "c.png", (), "ir is a folder, .*b.png a file: give two folders, or two files"),
    ("a.png", "vi", "c.png", (), "vi is a folder, .*a.png a file"),
    ("a.png", "none.png", "c.png", (), "none.png does not exist; give two folders"),
    ("none", "vi", "out", (), "none does not exist"),
    ("a.png", "b.png", "c.gif", (), "c.gif: name a folder, or a file in .png, .tif"),
    ("a.png", "b.png", "c.png", ("--format=tif",), "not of the form tif: change its ending or"),
    ("a.png", "b.png", "b.png", (), "b.png is an input, which the result would replace"),
    ("a.png", "b.png", ".", (), "b.png is an input, which the result would replace"),
    ("ir", "vi", "vi", (), "holds inputs"),
  ],
)
def test_what_is_no_pair_is_named(tmp_path, capsys, monkeypatch, ir, vi, out, more, message):
  for name in ("a.png", "b.png", "ir/n.png", "vi/n.png"):
    save(tmp_path / name, eight())
  before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
  monkeypatch.chdir(tmp_path)
  assert fuse(ir, vi, out, *more) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert re.search(message, line), line
  assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


@pytest.mark.parametrize(
  ("form", "ir", "vi", "name", "dtype"),
  [
    ("", "8", "8", "n.png", "uint8"),
    ("", "16", "8", "n.png", "uint16"),
    ("", "8", "16", "n.png", "uint16"),
    ("png", "16", "16", "n.png", "uint8"),
    ("png16", "8", "8", "n.png", "uint16"),
    ("tif", "8", "8", "n.tif", "uint8"),
    ("tif", "16", "8", "n.tif", "uint16"),
    ("tif", "8", "float", "n.tif", "float32"),
    ("tif", "float", "8", "n.tif", "uint16"),
    ("jpg", "16", "8", "n.jpg", "uint8"),
  ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_depth_and_form(tmp_path, form, ir, vi, name, dtype, streamed, monkeypatch):
  """Read back by tifffile and Pillow: gray PNG of 16 bits is Pillow's I;16."""
  if streamed:
    monkeypatch.setattr(fusers, "is_f", lambda _: True)
    fake = lambda params, a, b, **_: (a.whole() + b.whole()) / 2  # noqa: E731
    monkeypatch.setattr(streaming, "fuse_streamed", fake)
    monkeypatch.setattr("tdfusion_jax.commands.fuse.make_fuser", lambda *_, **__: _Never())
  made = {"8": eight, "16": sixteen, "float": lambda: RNG.random(SIZE, np.float32)}
  sides = [save(tmp_path / side / "n.tif", made[kind]()) for side, kind in (("ir", ir), ("vi", vi))]
  more = [f"--format={form}"] * bool(form) + ["--stream-from=0"] * streamed
  assert fuse(tmp_path / "ir", tmp_path / "vi", tmp_path / "out", *more) == 0
  out = tmp_path / "out" / name
  assert [path.name for path in out.parent.iterdir()] == [name]
  with Image.open(out) as opened:
    stored = tifffile.imread(out) if name.endswith("tif") else np.asarray(opened)
  assert stored.dtype == dtype
  expected = sum(read_image(side)[..., 0] for side in sides) / 2
  top = 1 if dtype == "float32" else np.iinfo(dtype).max
  slack = {"uint8": 0.5 / 255, "uint16": 0.5 / 65535, "float32": 0}[dtype] + 1e-7
  np.testing.assert_allclose(stored / top, expected, atol=0.08 if form == "jpg" else slack)


class _Never:
  compiled = ()

  def plan(self, sizes):
    assert not sizes

  def start(self, ir, vi):
    raise AssertionError("this pair is to be streamed")


def test_16_bits_in_colour_keep_their_last_bits(tmp_path):
  """A pair that differs in the lowest bits alone: OpenCV reads them all back."""
  cv2 = pytest.importorskip("cv2")
  vi = (30000 + RNG.integers(0, 200, (*SIZE, 3))).astype(np.uint16)
  gray = (vi @ [0.299, 0.587, 0.114]).astype(np.uint16)
  save(tmp_path / "ir.tif", gray)
  assert cv2.imwrite(str(tmp_path / "vi.png"), vi[..., ::-1])
  assert fuse(tmp_path / "ir.tif", tmp_path / "vi.png", tmp_path / "o.png") == 0
  back = cv2.imread(str(tmp_path / "o.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
  assert back.dtype == np.uint16
  # The luminance of the mean lies at most one unit beside the visible one; chroma stays.
  np.testing.assert_allclose(back.astype(float), vi.astype(float), atol=3)


@pytest.mark.parametrize("depth", [eight, sixteen])
def test_a_geotiff_pair_keeps_its_place(tmp_path, depth):
  """Must show 5: position, resolution and reference system, as tifffile reads them."""
  save(tmp_path / "ir" / "n.tif", sixteen(), extratags=PLACE)
  source = save(tmp_path / "vi" / "n.tif", depth(3), extratags=PLACE)
  assert fuse(tmp_path / "ir", tmp_path / "vi", tmp_path / "out") == 0
  with tifffile.TiffFile(source) as a, tifffile.TiffFile(tmp_path / "out" / "n.tif") as b:
    place = b.geotiff_metadata
    assert place is not None and place == a.geotiff_metadata
    assert place["ProjectedCSTypeGeoKey"] == 32633
    assert place["ModelPixelScale"] == [0.25, 0.25, 0.0]
    assert place["ModelTiepoint"][3:5] == [389123.25, 5819876.75]
    assert b.asarray().shape == (*SIZE, 3) and b.asarray().dtype == np.uint16


def test_a_place_that_png_cannot_hold_is_said_to_be_lost(tmp_path, capsys):
  save(tmp_path / "ir" / "n.tif", eight())
  save(tmp_path / "vi" / "n.tif", eight(3), extratags=PLACE)
  assert fuse(tmp_path / "ir", tmp_path / "vi", tmp_path / "out", "--format=png") == 0
  said = capsys.readouterr().err
  assert (
    "warning: n: .png has no place for the position on Earth" in said and "--format=tif" in said
  )


def test_camera_and_place_of_the_visible_image_are_kept(tmp_path):
  exif = Image.Exif()
  exif.update({271: "FLIR", 274: 6})
  exif.get_ifd(34853).update({1: "N", 2: (52.0, 30.0, 15.0)})
  turned = Image.fromarray(eight(3)).transpose(Image.Transpose.ROTATE_90)
  (tmp_path / "vi").mkdir()
  turned.save(tmp_path / "vi" / "n.jpg", exif=exif)
  save(tmp_path / "ir" / "n.png", eight())
  assert fuse(tmp_path / "ir", tmp_path / "vi", tmp_path / "out") == 0
  with Image.open(tmp_path / "out" / "n.png") as opened:
    back = opened.getexif()
    assert opened.size == SIZE[::-1] and back[271] == "FLIR" and back[274] == 1
    assert dict(back.get_ifd(34853)) == {1: "N", 2: (52.0, 30.0, 15.0)}


@pytest.mark.parametrize("form", ["png16", "tif", "jpg"])
def test_evaluate_reads_what_was_written(tmp_path, form, capsys):
  ir, vi = save(tmp_path / "ir" / "n.png", eight()), save(tmp_path / "vi" / "n.png", eight(3))
  assert fuse(ir.parent, vi.parent, tmp_path / "out", f"--format={form}") == 0
  sides = [f"--ir={ir.parent}", f"--vi={vi.parent}", f"--fused=m={tmp_path / 'out'}"]
  assert cli.main(["evaluate", *sides, "--metrics=EN,MSE"]) == 0
  assert "| m |" in capsys.readouterr().out


def test_files_that_are_no_utf8(tmp_path):
  folder = os.fsencode(tmp_path)
  for side in (b"ir", b"vi"):
    os.mkdir(os.path.join(folder, side))
    save(Path(os.fsdecode(os.path.join(folder, side, b"caf\xe9.png"))), eight())
  assert fuse(tmp_path / "ir", tmp_path / "vi", tmp_path / "out") == 0
  assert os.listdir(os.path.join(folder, b"out")) == [b"caf\xe9.png"]


def test_python_names_what_it_cannot_pair(tmp_path):
  with pytest.raises(ImageError, match="does not exist"):
    list_jobs(tmp_path / "a", tmp_path / "b", tmp_path / "c")
