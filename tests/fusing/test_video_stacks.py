"""Files of several images as videos: stacks page by page, animations by their own times."""

import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("av", reason="PyAV is not installed")

from films import SIZE, Film, even, flat, fused, seen, shoot  # noqa: E402

from tdfusion_jax.fusing.footage.pyav import VideoError  # noqa: E402
from tdfusion_jax.fusing.footage.sources import Footage  # noqa: E402
from tdfusion_jax.images.scaling import Scale  # noqa: E402

STACKS = {
  "8 bits": (np.uint8, {}),
  "16 bits": (np.uint16, {}),
  "16 bits, deflate": (np.uint16, {"compression": "zlib"}),
  "float": (np.float32, {}),
  "big endian": (np.uint16, {"byteorder": ">"}),
  "BigTIFF": (np.uint16, {"bigtiff": True}),
  "ImageJ": (np.uint16, {"imagej": True}),
}


@pytest.mark.parametrize("form", STACKS)
def test_stacks_are_read_page_by_page(tmp_path, form):
  """Pages of known counts between 29000 and 31500 or the like, at the times of the other video."""
  kind, how = STACKS[form]
  low, high = {np.uint8: (50, 150), np.float32: (20.0, 45.0)}.get(kind, (29000, 31500))
  steps = np.linspace(0.1, 0.9, 6)
  pages = np.stack([np.full(SIZE, low + step * (high - low)) for step in steps]).astype(kind)
  top = {key: how[key] for key in ("byteorder", "bigtiff", "imagej") if key in how}
  rest = {key: how[key] for key in how if key not in top}
  tifffile.imwrite(tmp_path / "ir.tif", pages, photometric="minisblack", **top, **rest)
  shoot(tmp_path / "vi.mp4", flat([90] * 6), Film(even(6)))
  got = []

  def look(ir, vi):
    got.append(float(ir.mean()))
    return ir

  scale = Scale("range", float(low), float(high))
  done, out = fused(tmp_path, "ir.tif", "vi.mp4", what=look, scale=scale)
  assert done.frames == 6 and len(seen(out)) == 6
  np.testing.assert_allclose(got, steps, atol=0.01)
  assert any("ir.tif has no rate" in note for note in done.notes)


def test_a_stack_whose_page_is_damaged_keeps_what_came_before(tmp_path):
  pages = np.random.default_rng(0).integers(0, 255, (6, *SIZE), np.uint8)
  tifffile.imwrite(tmp_path / "ir.tif", pages, photometric="minisblack", compression="zlib")
  with tifffile.TiffFile(tmp_path / "ir.tif") as file:
    place = file.pages[3].dataoffsets[0]
  content = bytearray((tmp_path / "ir.tif").read_bytes())
  content[place : place + 40] = bytes(40)
  (tmp_path / "ir.tif").write_bytes(content)
  shoot(tmp_path / "vi.mp4", flat([90] * 6), Film(even(6)))
  with pytest.raises(VideoError, match=r"ir\.tif, image 4.*The 3 frames before it are in"):
    fused(tmp_path, "ir.tif", "vi.mp4")
  assert len(seen(tmp_path / "out.mp4")) == 3


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_animations_are_read_by_their_own_times(tmp_path, ending):
  """Frames of 100, 200, 100 and 300 milliseconds start at 0, 0.1, 0.3 and 0.4 seconds."""
  levels = [40, 90, 140, 190]
  images = [Image.fromarray(image) for image in flat(levels)]
  images[0].save(
    tmp_path / f"vi.{ending}",
    save_all=True,
    append_images=images[1:],
    duration=[100, 200, 100, 300],
  )
  shoot(tmp_path / "ir.mp4", flat([90] * 20), Film(even(20, 20)))
  _, out = fused(tmp_path, "ir.mp4", f"vi.{ending}")
  shown = seen(out)
  np.testing.assert_allclose([seconds for seconds, _ in shown], [0, 0.1, 0.3, 0.4], atol=0.002)
  np.testing.assert_allclose([level for _, level in shown], levels, atol=3)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_single_image_is_no_video(tmp_path, ending):
  Image.fromarray(flat([40])[0]).save(tmp_path / f"a.{ending}")
  with pytest.raises(VideoError, match=rf"a\.{ending} is .*tdfusion fuse takes"):
    Footage(tmp_path / f"a.{ending}")
