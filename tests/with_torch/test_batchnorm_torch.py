"""Batch normalisation against torch.nn.BatchNorm2d: values, gradients, running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tdfusion_jax.networks.batchnorm import BatchNorm

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

CHANNELS = 3


def pair(eps, momentum, rng):
  """Ours with variables, and theirs, with the same scale and bias."""
  scale, bias = rng.standard_normal((2, CHANNELS))
  theirs = torch.nn.BatchNorm2d(CHANNELS, eps=eps, momentum=momentum, dtype=torch.float64)
  with torch.no_grad():
    theirs.weight.copy_(torch.tensor(scale))
    theirs.bias.copy_(torch.tensor(bias))
  stats = {"mean": jnp.zeros(CHANNELS), "var": jnp.ones(CHANNELS)}
  ours = BatchNorm(eps=eps, momentum=momentum)
  return (
    ours,
    {"params": {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}, "batch_stats": stats},
    theirs,
  )


def to_torch(array):
  return torch.tensor(array.transpose(0, 3, 1, 2), requires_grad=True)


def to_numpy(tensor):
  return tensor.detach().numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize(("eps", "momentum"), [(1e-5, 0.1), (1e-3, 0.03)])
@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 1, 1), (1, 3, 2)])
def test_equals_batchnorm2d(x64, eps, momentum, shape):
  """Three batches in training, then one in evaluation."""
  rng = np.random.default_rng(0)
  ours, variables, theirs = pair(eps, momentum, rng)
  for train in (True, True, True, False):
    image, weight = rng.standard_normal((2, *shape, CHANNELS)) * 3 + 2
    theirs.train(train)
    theirs.zero_grad()
    x = to_torch(image)
    expected = theirs(x)
    (expected * torch.tensor(weight.transpose(0, 3, 1, 2))).sum().backward()

    def run(params, x, stats=variables["batch_stats"], train=train):
      out, moved = ours.apply(
        {"params": params, "batch_stats": stats}, x, train=train, mutable=["batch_stats"]
      )
      return out, moved["batch_stats"]

    out, back, moved = jax.vjp(run, variables["params"], jnp.asarray(image), has_aux=True)
    slope, image_slope = back(jnp.asarray(weight))
    np.testing.assert_allclose(out, to_numpy(expected), atol=1e-10)
    np.testing.assert_allclose(image_slope, to_numpy(x.grad), atol=1e-8)
    np.testing.assert_allclose(slope["scale"], theirs.weight.grad.numpy(), atol=1e-9)
    np.testing.assert_allclose(slope["bias"], theirs.bias.grad.numpy(), atol=1e-9)
    np.testing.assert_allclose(moved["mean"], theirs.running_mean.numpy(), atol=1e-13)
    np.testing.assert_allclose(moved["var"], theirs.running_var.numpy(), atol=1e-13)
    variables = {**variables, "batch_stats": moved}
  assert np.abs(np.asarray(moved["mean"])).min() > 0.01
