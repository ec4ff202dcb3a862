"""Bilinear resizing with PyTorch's conventions."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def resize_bilinear(
  x: Float[Array, "b h w c"], height: int, width: int, align_corners: bool = False
) -> Float[Array, "b height width c"]:
  """Equals `torch.nn.functional.interpolate(mode="bilinear", antialias=False)`, up and down.

  Interpolation weights sum to one: a constant image stays constant. The own size returns the image
  itself.

  Args:
    x: [B, H, W, C], floating point.
    height: new, in pixels.
    width: new, in pixels.
    align_corners: True maps the centres of the corner pixels onto each other; False maps the image
      borders onto each other and repeats the border pixels.

  Returns:
    [B, height, width, C], the dtype of `x`.

  Raises:
    ValueError: a size below one pixel.
  """
  if min(height, width, *x.shape[1:3]) < 1:
    raise ValueError(
      f"cannot resize {x.shape[1]}x{x.shape[2]} to {height}x{width}: one pixel is the least."
    )
  # Two small matrices instead of gathers: slower forward, but the gradient is again a product and
  # not a scatter, which takes two to three times as long on CPU. TF32 would round the weights on a
  # GPU.
  exact = jax.lax.Precision.HIGHEST
  if width != x.shape[2]:
    columns = jnp.asarray(_interpolation_matrix(x.shape[2], width, align_corners), x.dtype)
    x = jnp.einsum("pw,bhwc->bhpc", columns, x, precision=exact)
  if height != x.shape[1]:
    rows = jnp.asarray(_interpolation_matrix(x.shape[1], height, align_corners), x.dtype)
    x = jnp.einsum("oh,bhpc->bopc", rows, x, precision=exact)
  return x


def _interpolation_matrix(old: int, new: int, align_corners: bool) -> np.ndarray:
  """[new, old] float64; every row holds the weights of at most two neighbours."""
  if align_corners:
    position = np.arange(new) * ((old - 1) / max(new - 1, 1))
  else:
    position = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
  # Rounding must not push the last position below or beyond the last pixel.
  lower = np.minimum(np.floor(position).astype(int), old - 1)
  upper = np.minimum(lower + 1, old - 1)
  weight = position - lower
  matrix = np.zeros((new, old))
  np.add.at(matrix, (np.arange(new), lower), 1 - weight)
  np.add.at(matrix, (np.arange(new), upper), weight)
  return matrix
