"""The readers of LLVIP, M3FD, MSRS and FMB on tiny trees in their distributed layouts."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tdfusion_jax.batch import IGNORE_LABEL
from tdfusion_jax.data import CachedSource, DatasetError, Source, get_source

H, W = 6, 8


def save(path: Path, array) -> Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.asarray(array, np.uint8)).save(path)
  return path


def voc(path: Path, objects, size=(H, W)):
  path.parent.mkdir(parents=True, exist_ok=True)
  items = "".join(
    f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
    "</object>"
    for name, a, b, c, d in objects
  )
  path.write_text(
    f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{items}</annotation>"
  )


def pair(ir: Path, vi: Path, value: int = 7):
  save(ir, np.full((H, W), value))
  save(vi, np.stack([np.full((H, W), value + k) for k in range(3)], -1))


@pytest.fixture
def llvip_root(tmp_path):
  for i in range(4):
    pair(
      tmp_path / f"infrared/train/01000{i}.png", tmp_path / f"visible/train/01000{i}.png", 10 * i
    )
  voc(tmp_path / "Annotations/010000.xml", [("person", 1, 2, 5, 6)])
  voc(tmp_path / "Annotations/010002.xml", [])
  return tmp_path


def test_llvip_leaves_unlabelled_pairs_out_and_keeps_empty_ones(llvip_root):
  source = get_source("llvip", root=llvip_root)
  assert source.names == ["010000", "010002"]
  assert isinstance(source, Source) and source.kind == "detection" and source.classes == ("person",)
  sample = source[0]
  assert sample.ir.shape == (H, W) and sample.vi.shape == (H, W, 3) and sample.ir.dtype == np.uint8
  np.testing.assert_array_equal(sample.target[0], [[1, 2, 5, 6]])
  np.testing.assert_array_equal(sample.target[1], [0])
  assert source[1].target[0].shape == (0, 4) and source[1].target[1].shape == (0,)
  assert source[1].ir[0, 0] == 20 and source[1].vi[0, 0].tolist() == [20, 21, 22]
  everything = get_source("llvip", root=llvip_root, labelled_only=False)
  assert everything.names[1] == "010001" and everything[1].target is None
  assert "2 pairs" in source.describe() and "person" in source.describe()


def test_llvip_every_counts_all_pairs(llvip_root):
  assert get_source("llvip", root=llvip_root, every=2).names == ["010000", "010002"]
  assert get_source("llvip", root=llvip_root, every=3).names == ["010000"]


def test_llvip_split_file_supplies_missing_boxes(llvip_root, tmp_path):
  listed = tmp_path / "list.txt"
  listed.write_text("010001.jpg 0,1,3,4,0 2,2,9,5,0\n010000.jpg 0,0,1,1,0\n")
  source = get_source("llvip", root=llvip_root, split_file=listed)
  assert source.names == ["010001", "010000"]
  np.testing.assert_array_equal(
    source[0].target[0], [[0, 1, 3, 4], [2, 2, W, 5]]
  )  # cut at the border
  np.testing.assert_array_equal(source[1].target[0], [[1, 2, 5, 6]])  # the XML goes first
  listed.write_text("099999.jpg 0,1,3,4,0\n")
  with pytest.raises(DatasetError, match=r"1 of the 1 images .*099999"):
    get_source("llvip", root=llvip_root, split_file=listed)
  for text, match in (
    ("../../x.jpg 0,0,1,1,0", "plain file name"),
    ("a.jpg 0,0,1,1", "x1,y1"),
    ("a.jpg 0,0,1,1,3", "class index 3"),
    ("a.jpg 0,0,1,nan,0", "finite"),
    ("", "no image"),
    ("a.jpg\na.jpg", "repeats"),
  ):
    listed.write_text(text)
    with pytest.raises(DatasetError, match=match):
      get_source("llvip", root=llvip_root, split_file=listed)


def test_missing_data_says_where_to_get_it(tmp_path):
  for name, origin in (
    ("llvip", "bupt-ai-cz/LLVIP"),
    ("m3fd", "JinyuanLiu-CV/TarDAL"),
    ("msrs", "Linfeng-Tang/MSRS"),
    ("fmb", "JinyuanLiu-CV/SegMiF"),
  ):
    for root in (None, tmp_path / "nowhere", tmp_path):
      with pytest.raises(DatasetError, match=origin) as error:
        get_source(name, root=root)
      assert "<root>/" in str(error.value)
  with pytest.raises(DatasetError, match="known: llvip, m3fd"):
    get_source("kitti")
  with pytest.raises(DatasetError, match="llvip.*evry"):
    get_source("llvip", root=tmp_path, evry=10)


def test_llvip_incomplete(llvip_root):
  with pytest.raises(DatasetError, match="no split 'val'"):
    get_source("llvip", root=llvip_root, split="val")
  for path in (llvip_root / "Annotations").iterdir():
    path.rename(path.with_stem("x" + path.stem))
  with pytest.raises(DatasetError, match="none of the 4 pairs has a label"):
    get_source("llvip", root=llvip_root)
  (llvip_root / "visible/train/010003.png").unlink()
  with pytest.raises(DatasetError, match="without a partner.*: 010003"):
    get_source("llvip", root=llvip_root)


def test_bad_xml_names_the_file(llvip_root):
  xml = llvip_root / "Annotations/010000.xml"
  source = get_source("llvip", root=llvip_root)
  bomb = '<!DOCTYPE x [<!ENTITY a "b">]><annotation>&a;</annotation>'
  for text, match in (("<annotation>", "cannot be read as XML"), (bomb, "cannot be read as XML")):
    xml.write_text(text)
    with pytest.raises(DatasetError, match=f"010000.xml.*{match}"):
      source[0]
  voc(xml, [("dog", 1, 2, 3, 4)])
  with pytest.raises(DatasetError, match="unknown class 'dog'; known: person"):
    source[0]
  voc(xml, [("person", "one", 2, 3, 4)])
  with pytest.raises(DatasetError, match="person xmin is 'one'"):
    source[0]
  voc(xml, [("person", 1, 2, 3, 4)], size=(H * 2, W * 2))
  with pytest.raises(DatasetError, match="made for an image of 16x12, but the image is 8x6"):
    source[0]


def test_boxes_without_area_are_dropped_and_reported(llvip_root, caplog):
  voc(
    llvip_root / "Annotations/010000.xml",
    [("person", 3, 3, 3, 5), ("person", 20, 0, 30, 4), ("person", 2, 1, 4, 5)],
  )
  boxes, classes = get_source("llvip", root=llvip_root)[0].target
  np.testing.assert_array_equal(boxes, [[2, 1, 4, 5]])
  assert len(classes) == 1 and "010000.xml: dropped 2 box" in caplog.text


def test_image_errors_name_the_files(llvip_root):
  source = get_source("llvip", root=llvip_root)
  ir, vi = llvip_root / "infrared/train/010000.png", llvip_root / "visible/train/010000.png"
  save(vi, np.zeros((H, W + 1, 3)))
  with pytest.raises(
    DatasetError, match=r"sizes differ: .*infrared.*010000.png is 8x6, .*visible.* is 9x6"
  ):
    source[0]
  data = ir.read_bytes()
  for content in (data[: len(data) // 2], b"no image", b""):
    ir.write_bytes(content)
    with pytest.raises(DatasetError, match="infrared.train.010000.png: cannot be read as an image"):
      source[0]
  Image.fromarray(np.zeros((H, W), np.uint16)).save(ir)
  with pytest.raises(DatasetError, match="more than 8 bits"):
    source[0]
  ir.unlink()
  with pytest.raises(DatasetError, match="does not exist"):
    source[0]


def test_huge_images_are_refused_before_decoding(llvip_root):
  # A PNG header that claims 20000 x 20000 pixels; the file itself is tiny.
  import struct
  import zlib

  def chunk(kind, content):
    return (
      struct.pack(">I", len(content))
      + kind
      + content
      + struct.pack(">I", zlib.crc32(kind + content))
    )

  header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
  (llvip_root / "infrared/train/010000.png").write_bytes(
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
  )
  limit = Image.MAX_IMAGE_PIXELS
  with pytest.raises(DatasetError, match="20000x20000 pixels, more than the limit of 200 million"):
    get_source("llvip", root=llvip_root)[0]
  assert limit == Image.MAX_IMAGE_PIXELS


def test_exif_orientation_is_applied(llvip_root):
  """Pillow's own exif_transpose of the same pixels is what training sees."""
  exif = Image.Exif()
  exif[0x0112] = 6
  image = np.zeros((W, H, 3), np.uint8)
  image[:3] = 255
  (llvip_root / "visible/train/010000.png").unlink()
  path = llvip_root / "visible/train/010000.jpg"
  Image.fromarray(image).save(path, exif=exif, quality=100)
  found = get_source("llvip", root=llvip_root)[0].vi
  with Image.open(path) as opened:
    np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(opened)))
  assert found.shape == (H, W, 3) and found[:, -1].mean() > 250 > 5 > found[:, 0].mean()


def test_what_a_training_would_have_to_guess_is_refused(llvip_root):
  path = llvip_root / "visible/train/010000.png"
  rgba = np.random.default_rng(0).integers(0, 256, (H, W, 4), dtype=np.uint8)
  Image.fromarray(rgba).save(path)
  source = get_source("llvip", root=llvip_root)
  with pytest.raises(DatasetError, match="channel 4 .alpha.*left out"):
    source[0]
  rgba[..., 3] = 255
  Image.fromarray(rgba).save(path)
  np.testing.assert_array_equal(source[0].vi, rgba[..., :3])
  frames = [Image.fromarray(rgba[..., :3]), Image.fromarray(255 - rgba[..., :3])]
  frames[0].save(path, "TIFF", save_all=True, append_images=frames[1:])
  with pytest.raises(DatasetError, match="holds 2 images"):
    source[0]
  Image.fromarray(rgba[..., 0].astype(np.float32)).save(path, "TIFF")
  with pytest.raises(DatasetError, match="float32 has more than 8 bits"):
    source[0]


def test_m3fd_layout_classes_and_default_split(tmp_path):
  for i in range(8):
    pair(tmp_path / f"Ir/{i:05d}.png", tmp_path / f"Vis/{i:05d}.png")
    voc(tmp_path / f"Annotation/{i:05d}.xml", [("Lamp", 0, 0, 2, 2), ("people", 1, 1, 3, 3)])
  colours = np.zeros((H, W, 3))
  colours[..., 0] = 100  # BT.601: 0.299 * 100 = 29.9
  save(tmp_path / "Ir/00000.png", colours)
  train, test = (get_source("m3fd", root=tmp_path, split=s) for s in ("train", "test"))
  assert (
    len(train) == 6 and test.names == ["00003", "00007"] and not set(train.names) & set(test.names)
  )
  assert train.classes == ("People", "Car", "Bus", "Motorcycle", "Truck", "Lamp")
  assert train[0].ir.shape == (H, W) and train[0].ir[0, 0] == 30
  np.testing.assert_array_equal(train[0].target[1], [5, 0])
  listed = tmp_path / "split.txt"
  listed.write_text("00003.png 1,1,2,2,4\n")
  (tmp_path / "Annotation/00003.xml").unlink()
  boxes, classes = get_source("m3fd", root=tmp_path, split_file=listed)[0].target
  np.testing.assert_array_equal(boxes, [[1, 1, 2, 2]])
  assert classes.tolist() == [4]


def masks(root: Path, folders, labels):
  for split in ("train", "test"):
    for i, label in enumerate(labels):
      pair(root / split / folders[0] / f"{i}.png", root / split / folders[1] / f"{i}.png")
      save(root / split / folders[2] / f"{i}.png", label)


def test_msrs_labels(tmp_path):
  labels = np.arange(H * W).reshape(H, W) % 9
  masks(tmp_path, ("ir", "vi", "Segmentation_labels"), [labels, labels * 0 + 255])
  source = get_source("msrs", root=tmp_path, split="test")
  assert len(source.classes) == 9 and source.kind == "segmentation"
  np.testing.assert_array_equal(source[0].target, labels)
  assert source[0].target.dtype == np.uint8 and (source[1].target == IGNORE_LABEL).all()
  where = tmp_path / "test/Segmentation_labels/0.png"
  save(where, labels + 1)
  with pytest.raises(DatasetError, match=r"0.png: label values must be 0 to 8 or 255, found .*9"):
    source[0]
  save(where, np.zeros((H, W - 1)))
  with pytest.raises(DatasetError, match="sizes differ"):
    source[0]
  save(where, np.random.default_rng(0).integers(0, 9, (H, W, 3)))
  with pytest.raises(DatasetError, match="colour-coded"):
    source[0]
  palette = Image.fromarray(labels.astype(np.uint8))
  palette.putpalette(np.random.default_rng(1).integers(0, 256, 768).tolist())
  palette.save(where)
  np.testing.assert_array_equal(source[0].target, labels)
  where.unlink()
  with pytest.raises(DatasetError, match="without a partner"):
    get_source("msrs", root=tmp_path, split="test")


def test_fmb_unlabelled_is_ignored_unless_asked(tmp_path):
  labels = np.arange(H * W).reshape(H, W) % 15
  masks(tmp_path, ("Infrared", "Visible", "Label"), [labels])
  source = get_source("fmb", root=tmp_path)
  assert len(source.classes) == 15
  np.testing.assert_array_equal(source[0].target, np.where(labels == 0, IGNORE_LABEL, labels))
  np.testing.assert_array_equal(
    get_source("fmb", root=tmp_path, ignore_unlabelled=False)[0].target, labels
  )


def test_cache_hands_out_the_same_samples_within_its_budget(llvip_root):
  plain = get_source("llvip", root=llvip_root)
  cached = CachedSource(get_source("llvip", root=llvip_root), 2 << 30)
  assert isinstance(cached, CachedSource) and cached[0] is cached[0] and cached[-2] is cached[0]
  np.testing.assert_array_equal(cached[0].vi, plain[0].vi)
  one = H * W * 4 + 16 + 4
  assert cached.used_bytes == one  # 8 x 6 gray and RGB, one box, one class
  small = CachedSource(plain, max_bytes=one)
  assert small[0] is small[0] and small[1] is not small[1] and small.used_bytes <= one
  with pytest.raises(IndexError):
    cached[2]
  copy = pickle.loads(pickle.dumps(cached))
  assert copy.used_bytes == 0 and copy.names == cached.names and copy[0].name == "010000"
