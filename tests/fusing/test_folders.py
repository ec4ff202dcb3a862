"""Fusing arrays and folders: colour, sizes, broken files."""

import numpy as np
import pytest
from mean_pairs import folders, images, mean_fuse
from PIL import Image

from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.fusing.compiled import AnySizeFuser
from tdfusion_jax.fusing.folders import FolderOptions, fuse_folder
from tdfusion_jax.fusing.huge import HugePairs
from tdfusion_jax.fusing.pairs import EngineFuser, make_pair_fuser
from tdfusion_jax.fusing.reading import Reading, read_as_stored, remarks_of
from tdfusion_jax.images.listing import list_pairs
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.registration import aligner
from tdfusion_jax.images.scaling import Scale
from tdfusion_jax.images.writing import write_image


@pytest.fixture
def fuse():
  return make_fuse_fn(mean_fuse, {})


def test_gray_stays_gray_and_colour_keeps_its_chroma(fuse):
  ir, gray, colour = images(2, 5, 7, 1), images(2, 5, 7, 1), 0.3 + 0.4 * images(2, 5, 7, 3)
  np.testing.assert_allclose(fuse(ir, gray), (ir + gray) / 2, atol=1e-6)
  fused = np.asarray(fuse(np.full_like(ir, 0.5), colour))
  y = colour @ np.array([0.299, 0.587, 0.114], np.float32)
  # Where only luminance moves, R - Y and B - Y stay as they were (BT.601).
  moved = fused @ np.array([0.299, 0.587, 0.114], np.float32)
  np.testing.assert_allclose(moved, (0.5 + y) / 2, atol=1e-5)
  np.testing.assert_allclose(fused[..., 0] - moved, colour[..., 0] - y, atol=1e-5)
  assert fused.shape == (2, 5, 7, 3) and np.abs(colour[..., 0] - y).max() > 0.1


def test_two_gray_images_in_colour_files_stay_gray(fuse):
  ir, vi = (np.repeat(images(1, 4, 4, 1), 3, axis=-1) for _ in range(2))
  fused = np.asarray(fuse(ir, vi))
  np.testing.assert_allclose(fused, (ir + vi) / 2, atol=1e-5)


def test_stretching_fills_the_range_and_leaves_a_flat_image():
  stretch = make_fuse_fn(mean_fuse, {}, stretch=True)
  fused = np.asarray(stretch(0.2 * images(1, 6, 6, 1), 0.2 * images(1, 6, 6, 1)))
  # XLA may divide by way of the reciprocal: one unit in the last place below 1.
  assert fused.min() == 0 and fused.max() == pytest.approx(1, abs=1e-7)
  flat = np.full((1, 4, 4, 1), 0.25, np.float32)
  np.testing.assert_array_equal(stretch(flat, flat), flat)


@pytest.mark.parametrize(
  ("a", "b"), [((1, 4, 4, 1), (1, 4, 5, 1)), ((4, 4, 1), (4, 4, 1)), ((1, 4, 4, 2), (1, 4, 4, 1))]
)
def test_wrong_shapes_are_errors(fuse, a, b):
  with pytest.raises(ValueError, match="not"):
    fuse(images(*a), images(*b))


def test_whole_numbers_are_an_error(fuse):
  """They would be taken for [0, 255] where [0, 1] is meant."""
  whole = np.full((1, 4, 4, 1), 200, np.uint8)
  with pytest.raises(ValueError, match="floats in .0, 1., not uint8"):
    fuse(whole, whole)


def test_a_folder_of_many_sizes_with_broken_files(tmp_path):
  fuse = make_pair_fuser(mean_fuse, {})
  ir, vi, out = folders(tmp_path, {"a": (6, 8), "b": (5, 7), "c": (6, 8), "d": (4, 4)})
  (ir / "c.png").write_bytes((ir / "c.png").read_bytes()[:40])
  write_image(vi / "d.png", images(4, 6, 3))
  report = fuse_folder(fuse, ir, vi, out)
  assert (
    [p.name for p in report.written] == ["a.png", "b.png"] == sorted(p.name for p in out.iterdir())
  )
  assert (
    len(report.failed) == 2
    and "c.png: cannot be read" in report.failed[0]
    and "(4x4 and 6x4)" in report.failed[1]
  )
  expected = (
    read_image(ir / "b.png")[..., 0] + read_image(vi / "b.png") @ [0.299, 0.587, 0.114]
  ) / 2
  fused = read_image(out / "b.png") @ [0.299, 0.587, 0.114]
  assert (
    np.median(np.abs(fused - expected)) < 0.01
  )  # clipping of strong colours may move single pixels
  again = fuse_folder(fuse, ir, vi, out, FolderOptions(skip_existing=True))
  assert len(again.skipped) == 2 and not again.written


def test_results_that_cannot_be_written_are_listed(tmp_path):
  """A name of 254 bytes is allowed, and so is its result; a file in the folder's place is not."""
  long = "x" * 250
  ir, vi, out = folders(tmp_path, {"a": (4, 4), long: (4, 4)})
  report = fuse_folder(make_pair_fuser(mean_fuse, {}), ir, vi, out)
  assert [p.stem for p in report.written] == ["a", long] and not report.failed
  (tmp_path / "file").write_text("")
  with pytest.raises(ImageError, match="file cannot be made"):
    fuse_folder(make_pair_fuser(mean_fuse, {}), ir, vi, tmp_path / "file")
  with pytest.raises(ImageError, match=r"cannot be written: (Not a directory|File exists)\."):
    write_image(tmp_path / "file" / "a.png", images(4, 4, 1))


class Recorder:
  """A fuser whose answer is the visible image, and which remembers what it was given."""

  def __init__(self):
    self.compiled, self.planned, self.started = [], [], []

  def plan(self, sizes):
    self.planned = sizes

  def start(self, ir, vi):
    self.started.append(ir.shape[:2])
    return lambda: vi


def test_batches_are_of_one_size_and_the_rest_goes_alone(tmp_path):
  sizes = {
    "a": (6, 8),
    "b": (5, 7),
    "c": (6, 8),
    "d": (6, 8),
    "e": (6, 8),
    "f": (6, 8),
    "g": (4, 4),
  }
  ir, vi, out = folders(tmp_path, sizes)
  (vi / "e.png").write_bytes(b"broken")
  batches, fuser = [], Recorder()

  def fuse_batch(ir, vi):
    batches.append(ir.shape)
    return vi

  report = fuse_folder(fuser, ir, vi, out, FolderOptions(fuse_batch=fuse_batch, batch=2))
  assert sorted(path.stem for path in report.written) == ["a", "b", "c", "d", "f", "g"]
  assert batches == [(2, 6, 8, 1)] * 2 and sorted(fuser.started) == [(4, 4), (5, 7)]
  assert len(report.failed) == 1 and "e.png" in report.failed[0]
  for path in report.written:
    np.testing.assert_array_equal(read_image(path), read_image(vi / path.name))


def test_sizes_are_known_beforehand_upright(tmp_path):
  """The fuser chooses its programs by them."""
  ir, vi, out = folders(tmp_path, {"a": (6, 8), "b": (5, 7)})
  turned = Image.open(vi / "b.png").rotate(90, expand=True)
  exif = turned.getexif()
  exif[0x0112] = 6
  turned.save(vi / "b.png", exif=exif)
  (vi / "a.png").write_bytes(b"broken")
  fuser = Recorder()
  fuse_folder(fuser, ir, vi, out)
  assert fuser.planned == [(5, 7)] == fuser.started


def test_pairs_that_look_wrong_are_fused_and_named(tmp_path):
  ir, vi, out = folders(tmp_path, {"a": (6, 8), "b": (5, 7)})
  reading = Reading(check=lambda ir, vi: "looks odd" if ir.shape[0] == 5 else "")
  report = fuse_folder(Recorder(), ir, vi, out, FolderOptions(reading=reading))
  assert report.warnings == ["b: looks odd"] and len(report.written) == 2


def test_unequal_sizes_can_be_made_equal(tmp_path):
  ir, vi, out = folders(tmp_path, {"a": (6, 8)})
  write_image(ir / "a.png", images(3, 4, 1))
  fuser = Recorder()
  report = fuse_folder(fuser, ir, vi, out)
  assert "(4x3 and 8x6)" in report.failed[0] and "--align" in report.failed[0]
  options = FolderOptions(reading=Reading(align=aligner("resize")))
  assert not fuse_folder(fuser, ir, vi, out, options).failed
  assert fuser.started == [(6, 8)]


@pytest.mark.parametrize("late", [False, True])
def test_a_pair_too_large_for_the_memory_does_not_stop_the_rest(tmp_path, late):
  class Full(Recorder):
    def start(self, ir, vi):
      def fail():
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand a long dump")

      if ir.shape[0] == 5:
        return fail if late else fail()
      return super().start(ir, vi)

  ir, vi, out = folders(tmp_path, {"a": (6, 8), "b": (5, 7), "c": (6, 8)})
  report = fuse_folder(Full(), ir, vi, out)
  assert [path.stem for path in report.written] == ["a", "c"]
  assert len(report.failed) == 1 and report.failed[0].endswith(
    "could not be fused: RESOURCE_EXHAUSTED: out of memory"
  )


def test_few_rooms_serve_many_sizes():
  """Plans without computing: the smallest, of 65536 cells at least, fill a quarter of a room."""
  fuser = AnySizeFuser({})
  fuser.plan([(300 + i, 500 + i) for i in range(0, 100, 7)] + [(40, 40), (1000, 1200)])
  assert len(fuser._rooms) == 2 and all(room.stride == 1536 for room in fuser._rooms)


@pytest.mark.parametrize("stretch", [False, True])
def test_any_size_and_colour_by_an_engine(stretch):
  """`make_fuse_fn` of the same luminance, which compiles for each size and kind."""
  fuser = EngineFuser(lambda ir, vi: 0.5 * ir + 0.25 * vi, stretch=stretch)
  exact = make_fuse_fn(lambda params, ir, vi: 0.5 * ir + 0.25 * vi, {}, stretch=stretch)
  for height, width, *kinds in ((5, 7, 1, 3), (9, 4, 3, 3), (1, 6, 1, 1), (6, 5, 3, 1)):
    ir, vi = (images(height, width, channels) for channels in kinds)
    np.testing.assert_allclose(fuser.start(ir, vi)(), exact(ir[None], vi[None])[0], atol=2e-6)
  assert fuser.compiled == []


def test_missing_partners_are_listed(tmp_path):
  ir, vi, _ = folders(tmp_path, {"a": (4, 4), "b": (4, 4)})
  (vi / "b.png").unlink()
  with pytest.raises(ImageError, match=r"b\.png has no partner in"):
    list_pairs(ir, vi)
  with pytest.raises(ImageError, match="is not a folder"):
    list_pairs(tmp_path / "none", vi)


def test_each_size_compiles_once():
  traced = []

  def count(params, ir, vi):
    traced.append(ir.shape)
    return mean_fuse(params, ir, vi)

  counted = make_fuse_fn(count, {})
  for height in (4, 5, 4, 5, 4):
    counted(images(1, height, 6, 1), images(1, height, 6, 3))
  assert traced == [(1, 4, 6, 1), (1, 5, 6, 1)]


def test_what_is_left_out_of_files_or_wrong_with_them_is_a_warning(tmp_path):
  """Small pairs and huge ones by one mechanism."""
  rng = np.random.default_rng(0)
  rgbt = rng.integers(90, 160, (40, 48, 4), dtype=np.uint8)  # no colour is clipped
  for side in ("ir", "vi"):
    (tmp_path / side).mkdir()
    Image.fromarray(rgbt).save(tmp_path / side / "a.png")
  fuser = make_pair_fuser(mean_fuse, {})
  report = fuse_folder(fuser, tmp_path / "ir", tmp_path / "vi", tmp_path / "o")
  (warning,) = report.warnings
  assert "ir/a.png: channel 4 (alpha" in warning and "vi/a.png: channel 4" in warning
  assert "ir/a.png: in colours" in warning and "vi/a.png: in colours" not in warning

  # The fourth channel of the same files as the infrared image.
  reading = Reading(Scale(channels=(4,)), Scale(channels=(1, 2, 3)))
  report = fuse_folder(
    fuser, tmp_path / "ir", tmp_path / "ir", tmp_path / "o", FolderOptions(reading=reading)
  )
  assert not report.warnings
  thermal, visible = rgbt[..., 3] / 255, rgbt[..., :3] @ (0.299, 0.587, 0.114) / 255
  fused = np.asarray(Image.open(tmp_path / "o/a.png").convert("L")) / 255
  assert np.abs(fused - (thermal + visible) / 2).max() < 0.01

  def whole(ir, vi, reading, dtype_of, remarks):
    a, b = read_as_stored(ir, vi, reading)
    remarks += remarks_of(ir, a, b)
    return a.array

  report = fuse_folder(
    fuser,
    tmp_path / "ir",
    tmp_path / "vi",
    tmp_path / "o",
    FolderOptions(huge=HugePairs(1, whole)),
  )
  assert "channel 4 (alpha" in report.warnings[0] and "in colours" in report.warnings[0]
