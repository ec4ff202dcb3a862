"""Colour, range and gradients of images: values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.ops.image import (
  fuse_chroma,
  luminance,
  min_max_stretch,
  rgb_to_ycbcr,
  sobel,
  ycbcr_to_rgb,
)


def column(*values):
  return jnp.asarray(values)[:, None]


def test_primaries_by_hand():
  """BT.601 full range (JPEG's coefficients): the pure colours reach the end of their chroma
  axis."""
  rgb = jnp.asarray([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
  expected = [
    [0.299, 0.5 - 0.168736, 1],
    [0.587, 0.5 - 0.331264, 0.5 - 0.418688],
    [0.114, 1, 0.5 - 0.081312],
    [0.886, 0, 0.5 + 0.081312],
  ]
  np.testing.assert_allclose(rgb_to_ycbcr(rgb), expected, atol=1e-6)


def test_conversion_and_back():
  rgb = jax.random.uniform(jax.random.key(0), (2, 5, 4, 3))
  ycbcr = rgb_to_ycbcr(rgb)
  assert jnp.abs(ycbcr - rgb).max() > 0.1
  assert ycbcr.min() >= 0 and ycbcr.max() <= 1
  np.testing.assert_allclose(ycbcr_to_rgb(ycbcr), rgb, atol=1e-6)
  np.testing.assert_allclose(rgb_to_ycbcr(ycbcr_to_rgb(rgb)), rgb, atol=1e-6)


def test_gray_has_neutral_chroma():
  """Every one of the 256 gray levels keeps its value as luminance."""
  level = jnp.arange(256) / 255
  ycbcr = rgb_to_ycbcr(jnp.stack([level] * 3, axis=-1))
  neutral = jnp.full(256, 0.5)
  np.testing.assert_allclose(ycbcr, jnp.stack([level, neutral, neutral], axis=-1), atol=1e-6)
  np.testing.assert_allclose(ycbcr_to_rgb(jnp.asarray([0.25, 0.5, 0.5])), [0.25] * 3, atol=1e-6)


def test_luminance():
  """0.299, 0.587 and 0.114 of red, green and blue; an image of one channel is its own."""
  rgb = jnp.asarray([[[[0.5, 0.25, 1.0]]]])
  np.testing.assert_allclose(luminance(rgb), [[[[0.5 * 0.299 + 0.25 * 0.587 + 0.114]]]], atol=1e-7)
  np.testing.assert_array_equal(luminance(rgb[..., :1]), rgb[..., :1])


def test_colour_follows_float64(x64):
  rgb = jax.random.uniform(jax.random.key(0), (7, 3))
  assert rgb.dtype == jnp.float64
  np.testing.assert_allclose(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, atol=1e-14)


def test_chroma_by_hand():
  """0.9 and 0.7 lie 0.4 and 0.2 from gray: (0.9 * 0.4 + 0.7 * 0.2) / 0.6; gray has no say;
  opposites meet."""
  a, b = jnp.asarray([0.9, 0.5, 0.2, 0.25, 0.5]), jnp.asarray([0.7, 0.8, 0.5, 0.75, 0.5])
  np.testing.assert_allclose(fuse_chroma(a, b), [0.5 / 0.6, 0.8, 0.2, 0.5, 0.5], rtol=1e-6)
  np.testing.assert_allclose(fuse_chroma(b, a), fuse_chroma(a, b), rtol=1e-6)


def test_chroma_of_two_gray_images_has_a_finite_slope():
  gray = jnp.full((2, 3), 0.5)
  np.testing.assert_array_equal(fuse_chroma(gray, gray), gray)
  assert jnp.isfinite(jax.grad(lambda x: fuse_chroma(x, gray).sum())(gray)).all()


def test_stretch_by_hand():
  """Every image of the batch by its own extremes over all channels; a flat one stays, zero too."""
  images = jnp.asarray([[0.2, 0.3, 0.4, 0.6], [-1, 0, 2, 3], [0.7, 0.7, 0.7, 0.7], [0, 0, 0, 0]])
  expected = [[0, 0.25, 0.5, 1], [0, 0.25, 0.75, 1], [0.7] * 4, [0] * 4]
  for shape in ((4, 2, 2, 1), (4, 2, 1, 2)):
    np.testing.assert_allclose(
      min_max_stretch(images.reshape(shape)).reshape(4, 4), expected, atol=1e-6
    )


def test_stretch_of_a_flat_image_has_a_finite_slope():
  assert jnp.isfinite(
    jax.grad(lambda x: min_max_stretch(x).sum())(jnp.full((1, 2, 2, 1), 0.3))
  ).all()


def test_sobel_of_a_ramp():
  """x = 0, 1, 2, 3 in 3 rows. Inside (right - left) * (1 + 2 + 1) = 8; the middle row of each side
  is all there.

  At the left border right - 0 = 1, at the right one 0 - left = -2; the outer rows have weights 2 +
  1 of 4. Down, rows are equal, so only zeros beyond the image differ: (1, 2, 1) over 0 1 2 3 gives
  1, 4, 8, 8 (2 + 2 * 3).
  """
  ramp = jnp.broadcast_to(jnp.arange(4.0), (3, 4))[None, ..., None]
  horizontal, vertical = (image[0, ..., 0] for image in sobel(ramp))
  across = np.array([1, 2, 2, -2])
  np.testing.assert_array_equal(horizontal, [3 * across, 4 * across, 3 * across])
  np.testing.assert_array_equal(vertical, [[1, 4, 8, 8], [0, 0, 0, 0], [-1, -4, -8, -8]])


def test_sobel_turns_with_the_image():
  image = jax.random.uniform(jax.random.key(0), (2, 5, 4, 1))
  horizontal, vertical = sobel(image)
  turned = sobel(image.transpose(0, 2, 1, 3))
  np.testing.assert_allclose(turned[0].transpose(0, 2, 1, 3), vertical, atol=1e-6)
  np.testing.assert_allclose(turned[1].transpose(0, 2, 1, 3), horizontal, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (6, 5)])
def test_sobel_equals_a_convolution(size):
  """Against XLA's convolution with the kernels of the textbook."""
  image = jax.random.uniform(jax.random.key(1), (2, *size, 1))
  kernel = column(1.0, 2, 1) * jnp.asarray([[-1.0, 0, 1]])
  layout = ("NHWC", "HWIO", "NHWC")
  for ours, taps in zip(sobel(image), (kernel, kernel.T), strict=True):
    expected = jax.lax.conv_general_dilated(
      image, taps[..., None, None], (1, 1), "SAME", dimension_numbers=layout
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)
