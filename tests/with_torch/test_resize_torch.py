"""Bilinear resize against torch.nn.functional.interpolate, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.ops.resize import resize_bilinear

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(7, 9), (14, 27), (3, 4), (1, 1), (5, 30), (23, 2)])
def test_equals_interpolate(x64, align_corners, size):
  rng = np.random.default_rng(0)
  image, weight = rng.standard_normal((2, 7, 9, 3)), rng.standard_normal((2, *size, 3))
  theirs = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
  resized = torch.nn.functional.interpolate(
    theirs, size=size, mode="bilinear", align_corners=align_corners
  )
  (resized * torch.tensor(weight.transpose(0, 3, 1, 2))).sum().backward()
  ours, back = jax.vjp(lambda x: resize_bilinear(x, *size, align_corners), jnp.asarray(image))
  np.testing.assert_allclose(ours, resized.detach().numpy().transpose(0, 2, 3, 1), atol=1e-13)
  slope = theirs.grad.numpy().transpose(0, 2, 3, 1)
  np.testing.assert_allclose(back(jnp.asarray(weight))[0], slope, atol=1e-13)
