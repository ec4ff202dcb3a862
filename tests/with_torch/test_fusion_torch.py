"""F, G, L_f and Eq. 7 against the PyTorch counterpart that the benchmark measures, in float64."""

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tdfusion_jax import fusers, meta
from tdfusion_jax.batch import Pair, Views
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.tasks import Task

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
import torch_fusion  # noqa: E402

pytestmark = pytest.mark.torch
SIZE = (2, 20, 14)
# As one program: one by one, each operation of each shape would be compiled by itself.
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def to_torch(x):
  return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


@pytest.fixture
def nets(x64):
  """Our parameters, PyTorch's networks with the same ones, and two pairs of images."""
  rng = np.random.default_rng(0)
  images = [jnp.asarray(rng.random((*SIZE, 1))) for _ in range(4)]
  params = {}
  modules = {}
  for name, net, theirs in (
    ("f", FusionNet(), torch_fusion.TorchFusionNet()),
    ("g", LossNet(), torch_fusion.TorchLossNet()),
  ):
    drawn = compiled(net.init)(jax.random.key(len(params)), images[0], images[1])["params"]
    params[name] = jax.tree.map(
      lambda x: x + 0.1 * jnp.asarray(rng.standard_normal(x.shape)), drawn
    )
    modules[name] = theirs.double()
    torch_fusion.load(modules[name], params[name])
  return params, modules, images


def test_networks_and_loss(nets):
  params, modules, (ir, vi, *_) = nets
  fused = compiled(fusers.fuse_net)(params["f"], ir, vi)
  weights = compiled(fusers.weigh_net)(params["g"], ir, vi)
  with torch.no_grad():
    expected = modules["f"](to_torch(ir), to_torch(vi))
    their_weights = modules["g"](to_torch(ir), to_torch(vi))
    their_loss = torch_fusion.fusion_loss(expected, to_torch(ir), to_torch(vi), their_weights)
  assert float(expected.std()) > 1e-3 and float(their_weights.std()) > 1e-3
  np.testing.assert_allclose(to_torch(fused), expected, atol=1e-10)
  np.testing.assert_allclose(to_torch(weights), their_weights, atol=1e-10)
  np.testing.assert_allclose(fusion_loss(fused, ir, vi, weights)[0], float(their_loss), rtol=1e-10)


def test_meta_gradient_equals_double_backward(nets):
  params, modules, images = nets
  t_params, loss = torch_fusion.small_task()
  t_params = [p.detach().double().requires_grad_() for p in t_params]
  target = np.random.default_rng(1).random((*SIZE, 1))
  crop, whole = tuple(images[:2]), tuple(images[2:])
  views = tuple(tuple(map(to_torch, pair)) for pair in (crop, whole))
  theirs = torch_fusion.meta_gradient(
    modules["f"],
    modules["g"],
    loss,
    t_params,
    (*views, to_torch(target)),
    (*views, to_torch(target)),
    (0.1, 0.1),
  )

  def conv(x, kernel):
    kernel = kernel.transpose(2, 3, 1, 0)
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  task = Task(
    init=lambda key, images: ([jnp.asarray(p.detach().numpy()) for p in t_params], {}),
    apply=lambda p, stats, x, *, train, key=None: (conv(jax.nn.relu(conv(x, p[0])), p[1]), stats),
    loss=lambda out, target: (jnp.mean((out - target) ** 2), {}),
    predict=lambda p, stats, x: x,
  )
  t, stats = task.init(None, None)
  method = meta.Method(fusers.fuse_net, fusers.weigh_net, fusion_loss, task, dropout=False)
  state = meta.init_state(
    meta.Params(params["f"], params["g"], t, stats),
    meta.Optimisers(*[optax.sgd(0.1)] * 3),
    jax.random.key(0),
  )
  both = Views(Pair(*crop), Pair(*whole, jnp.asarray(target)))

  def gradient(state, mtr, mts):
    return meta.meta_gradient(method, state, mtr, mts, meta.Rates(0.1, 0.1))

  ours, _ = compiled(gradient)(state, both, both)
  torch_fusion.load(modules["g"], ours)  # PyTorch's order and layout of the same numbers
  for got, expected in zip(modules["g"].parameters(), theirs, strict=True):
    scale = float(expected.abs().max())
    assert scale > 0
    np.testing.assert_allclose(got.detach(), expected, atol=1e-6 * scale)
