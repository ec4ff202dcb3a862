"""What a video's pictures are: upright, of their own depth, shape and colours, in any container."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed")

from films import SIZE, Film, even, flat, fused, shoot  # noqa: E402

from tdfusion_jax.images.reading import Scale  # noqa: E402

COUNT = 5
# Row by row, the colours of four corners.
CORNERS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]], np.uint8)


def corners(size=SIZE):
  return np.kron(CORNERS, np.ones((size[0] // 2, size[1] // 2, 1), np.uint8))


def frames_of(path, matrix=None, form="rgb24"):
  with av.open(str(path)) as file:
    return [frame.to_ndarray(format=form, src_colorspace=matrix) for frame in file.decode(video=0)]


# Shown as EXIF's numbers have it; `turn` is what PyAV is told, and NumPy does the same by hand.
TURNS = {
  "90 to the left": ((90, False, False), lambda x: np.rot90(x, 1)),
  "90 to the right": ((-90, False, False), lambda x: np.rot90(x, -1)),
  "upside down": ((180, False, False), lambda x: np.rot90(x, 2)),
  "mirrored": ((0, True, False), lambda x: x[:, ::-1]),
  "mirrored down": ((0, False, True), lambda x: x[::-1]),
}


# Matroska states angles only.
@pytest.mark.parametrize(
  ("turn", "ending"),
  [*((turn, "mp4") for turn in TURNS), *((turn, "mkv") for turn in [*TURNS][:3])],
)
def test_pictures_stand_as_players_show_them(tmp_path, turn, ending):
  (degrees, across, down), by_hand = TURNS[turn]
  film = Film(even(COUNT))
  shoot(
    tmp_path / f"vi.{ending}",
    [corners()] * COUNT,
    film,
    lambda stream: stream.set_display_rotation(degrees, hflip=across, vflip=down),
  )
  expected = by_hand(corners())
  shoot(tmp_path / "ir.mp4", flat([90] * COUNT, expected.shape[:2]), film)
  _, out = fused(tmp_path, "ir.mp4", f"vi.{ending}")
  frame = frames_of(out)[0]
  assert frame.shape == expected.shape
  at = [(4, 4), (4, -4), (-4, 4), (-4, -4)]
  for row, column in at:
    np.testing.assert_allclose(
      frame[row, column].astype(int), expected[row, column].astype(int), atol=14
    )


def test_a_turned_picture_turns_the_shape_of_its_pixels(tmp_path):
  def setup(stream):
    stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
    stream.set_display_rotation(90)

  shoot(tmp_path / "vi.mp4", [corners()] * COUNT, Film(even(COUNT)), setup)
  shoot(tmp_path / "ir.mp4", flat([90] * COUNT, SIZE[::-1]), Film(even(COUNT)))
  _, out = fused(tmp_path, "ir.mp4", "vi.mp4")
  with av.open(str(out)) as file:
    assert file.streams.video[0].sample_aspect_ratio == Fraction(15, 16)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi", "ts"])
def test_pixels_keep_their_shape(tmp_path, ending):
  def setup(stream):
    stream.codec_context.sample_aspect_ratio = Fraction(16, 15)

  shoot(tmp_path / "vi.mp4", flat([90] * COUNT), Film(even(COUNT)), setup)
  shoot(tmp_path / "ir.mp4", flat([90] * COUNT), Film(even(COUNT)))
  _, out = fused(tmp_path, "ir.mp4", "vi.mp4", f"out.{ending}")
  with av.open(str(out)) as file:
    frame = next(file.decode(video=0))
    del frame
    assert file.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def ycbcr(red, green, blue, kr, kb):
  """8-bit limited range, by the definition of ITU-R BT.601, BT.709 and BT.2020."""
  luma = kr * red + (1 - kr - kb) * green + kb * blue
  cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
  return 16 + 219 * luma / 255, 128 + 224 * cb / 255, 128 + 224 * cr / 255


COLOUR = (200, 60, 40)
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
HD = (720, 1280)
COLOURS = {  # size, stated matrix, full range, container -> matrix stated and used
  "HD that says nothing": (HD, 2, False, "mp4", 1),
  "HD by BT.709": (HD, 1, False, "mp4", 1),
  "HD by BT.601": (HD, 6, False, "mkv", 6),
  "small, says nothing": (SIZE, 2, False, "mp4", 6),
  "small, BT.709": (SIZE, 1, False, "webm", 1),
  "small, PAL": (SIZE, 5, False, "mov", 5),
  "small, BT.2020": (SIZE, 9, False, "mp4", 9),
  "small, full range": (SIZE, 6, True, "mp4", 6),
  "HD to avi": (HD, 1, False, "avi", 1),
  "small, BT.709, to avi": (SIZE, 1, False, "avi", 6),
}


@pytest.mark.parametrize("case", COLOURS)
def test_colours_are_coded_by_the_matrix_that_is_stated(tmp_path, case):
  """A film of one colour, its Y'CbCr written by the definition, fused, and read by it again."""
  size, stated, full, ending, expected = COLOURS[case]
  used = stated if stated != 2 else 1 if size == HD else 6
  y, cb, cr = ycbcr(*COLOUR, *WEIGHTS[used])
  if full:
    y, cb, cr = (y - 16) * 255 / 219, 128 + (cb - 128) * 255 / 224, 128 + (cr - 128) * 255 / 224
  height, width = size
  planes = np.full((height * 3 // 2, width), round(y), np.uint8)
  planes[height : height * 5 // 4], planes[height * 5 // 4 :] = round(cb), round(cr)

  def setup(stream):
    context = stream.codec_context
    context.colorspace, context.color_primaries, context.color_trc = stated, stated, 2
    context.color_range = 2 if full else 1

  shoot(tmp_path / "vi.mp4", [planes] * 2, Film(even(2)), setup)
  shoot(tmp_path / "ir.mp4", flat([90] * 2, size), Film(even(2)))
  _, out = fused(tmp_path, "ir.mp4", "vi.mp4", f"out.{ending}")
  with av.open(str(out)) as file:
    frame = next(file.decode(video=0))
    context = file.streams.video[0].codec_context
  found = [np.frombuffer(plane, np.uint8)[plane.line_size * 9 + 9] for plane in frame.planes]
  np.testing.assert_allclose(np.array(found, float), ycbcr(*COLOUR, *WEIGHTS[expected]), atol=2.5)
  if ending != "avi":  # which states nothing; players take what the size suggests
    assert frame.colorspace == expected and frame.color_range == 1
    assert context.color_primaries == (stated if stated != 2 else 2)


RAMP = np.tile(np.linspace(0, 1, SIZE[0])[:, None], (1, SIZE[1]))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
  ("bits", "codec", "ending"),
  [
    (8, "ffv1", "mkv"),
    (10, "ffv1", "mkv"),
    (12, "ffv1", "mkv"),
    (16, "ffv1", "mkv"),
    (16, "png", "mov"),
    (16, "rawvideo", "nut"),
    (8, "rawvideo", "avi"),
  ],
)
def test_gray_of_any_depth_is_scaled_by_its_own_numbers(tmp_path, bits, codec, ending, scaled):
  """A ramp over a third of what the bits can say, or over all; expected is the ramp."""
  most = 2**bits - 1
  low, high = (most // 3, 2 * most // 3) if scaled else (0, most)
  form = "gray" if bits == 8 else "gray16be" if codec == "png" else f"gray{bits}le"
  kind = np.uint8 if bits == 8 else np.uint16
  ramp = (low + RAMP * (high - low)).round().astype(kind)
  film = Film(even(3), codec=codec, pixels=form, options={}, base=Fraction(1, 10))
  shoot(tmp_path / f"ir.{ending}", [ramp] * 3, film)
  shoot(tmp_path / "vi.mp4", flat([90] * 3), Film(even(3)))
  got = []

  def look(ir, vi):
    got.append(ir[0, ..., 0])
    return ir

  scale = Scale("range", low, high) if scaled else Scale()
  fused(tmp_path, f"ir.{ending}", "vi.mp4", what=look, scale=scale)
  np.testing.assert_allclose(got[0], RAMP, atol=1.5 / (high - low))


@pytest.mark.parametrize(
  ("codec", "form", "ending"),
  [
    ("prores", "yuv422p10le", "mov"),
    ("ffv1", "yuv444p12le", "mkv"),
    ("ffv1", "gbrp10le", "mkv"),
    ("libx264", "yuv420p10le", "mp4"),
    ("mjpeg", "yuvj420p", "avi"),
    ("rawvideo", "bgr24", "avi"),
    ("huffyuv", "yuv422p", "avi"),
    ("mpeg2video", "yuv420p", "ts"),
  ],
)
def test_deep_and_usual_kinds_of_colour(tmp_path, codec, form, ending):
  """Expected: the picture that was given to the coder, to its accuracy."""
  film = Film(even(12, 25), codec=codec, pixels=form, options={}, base=Fraction(1, 25))
  shoot(tmp_path / f"vi.{ending}", [corners()] * 12, film)
  shoot(tmp_path / "ir.mp4", flat([90] * 12), Film(even(12, 25)))
  got = []

  def look(ir, vi):
    got.append(vi[0])
    return vi

  fused(tmp_path, "ir.mp4", f"vi.{ending}", what=look)
  inner = got[0][[6, 6, -6, -6], [6, -6, 6, -6]]
  np.testing.assert_allclose(inner, CORNERS.reshape(4, 3) / 255, atol=0.05)


def test_infrared_in_false_colours_is_named(tmp_path):
  shoot(tmp_path / "ir.mp4", [corners()] * 3, Film(even(3)))
  shoot(tmp_path / "vi.mp4", [corners()] * 3, Film(even(3)))
  done, _ = fused(tmp_path, "ir.mp4", "vi.mp4")
  assert len(done.notes) == 1 and "ir.mp4: in colours (mean spread" in done.notes[0]


def test_interlaced_pictures_are_named(tmp_path):
  film = Film(even(12, 25), codec="mpeg2video", options={"flags": "+ildct+ilme"})
  shoot(tmp_path / "vi.ts", [corners()] * 12, film._replace(base=Fraction(1, 25)))
  shoot(tmp_path / "ir.mp4", flat([90] * 12), Film(even(12, 25)))
  done, _ = fused(tmp_path, "ir.mp4", "vi.ts")
  assert any("vi.ts is interlaced" in note for note in done.notes), done.notes
