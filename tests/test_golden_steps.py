"""The meta-gradient and whole steps beside the reference PyTorch networks, in float64.

The numbers are read from the folder TDFUSION_GOLDENS names.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from reference import (
  PLAIN_ARITHMETIC,
  UPSTREAM,
  boxes_of,
  close,
  nhwc,
  npz,
  real_fusion,
  rule_weights,
)

from tdfusion_jax import convert, fusers, meta
from tdfusion_jax.batch import Pair, SegTarget, Views
from tdfusion_jax.convert.restormer import torch_key
from tdfusion_jax.convert.rules import to_theirs
from tdfusion_jax.losses.fusion import fusion_loss
from tdfusion_jax.meta.derivative import DERIVATIVES
from tdfusion_jax.meta.lookahead import lookahead
from tdfusion_jax.tasks.detection import detection
from tdfusion_jax.tasks.segmentation import segmentation


def task_of(kind, data):
  """The task network with rule weights, and a reader of its targets: (task, params, stats, target
  of rows y)."""
  if kind == "seg":
    variables = rule_weights("segformer_b0_1ch.spec.json", "segformer")
    task = segmentation(
      variables["params"]["decode_head"]["linear_pred"]["bias"].shape[0], **UPSTREAM
    )
    target = lambda y, shape: SegTarget(jnp.asarray(y, jnp.int32))  # noqa: E731
  else:
    variables = rule_weights("yolov8n_1ch_nc1.spec.json", "yolov8")
    task = detection(1)
    target = lambda y, shape: boxes_of(y, shape[0], shape[-2], shape[-1])  # noqa: E731
  return task, variables["params"], variables["batch_stats"], target


def views(data, which, target, index=()):
  ir, vi = data[f"ir_{which}"][index], data[f"vi_{which}"][index]
  images = nhwc(ir), nhwc(vi)
  return Views(Pair(*images), Pair(*images, target=target(data[f"y_{which}"][index], ir.shape)))


def start(kind, data, optimisers=None):
  task, t_params, t_stats, target = task_of(kind, data)
  f_params, g_params = real_fusion(), rule_weights("loss_net.spec.json", "lossgen")["params"]
  optimisers = optimisers or meta.Optimisers(*[optax.sgd(0.0)] * 3)
  params = meta.Params(f_params, g_params, t_params, t_stats)
  return task, meta.init_state(params, optimisers, jax.random.key(0)), target


def method_of(task, loss):
  return meta.Method(fusers.fuse_net, fusers.weigh_net, loss, task, dropout=False)


@cache
def gradient_of(kind, derivative):
  """The compiled meta-gradient; whether the loss has the paper's form is an argument, so that one
  program serves both."""
  task, _, _, _ = task_of(kind, npz(f"meta_gradient_{kind}.npz"))

  def gradient(paper, eta, state, mtr, mts):
    def loss(*arguments):
      forms = [fusion_loss(*arguments, intensity=form) for form in ("paper", "upstream")]
      return jax.tree.map(partial(jnp.where, paper), *forms)

    rates = meta.Rates(eta, eta)
    return meta.meta_gradient(method_of(task, loss), state, mtr, mts, rates, derivative=derivative)

  return jax.jit(gradient, static_argnums=1, compiler_options=PLAIN_ARITHMETIC)


@pytest.mark.slow  # compiles the whole meta-gradient with a real task network, four times in all
@pytest.mark.parametrize("derivative", DERIVATIVES)
@pytest.mark.parametrize("form", ["paper", "upstream"])
@pytest.mark.parametrize("kind", ["seg", "det"])
def test_meta_gradient(x64, kind, form, derivative):
  data = npz(f"meta_gradient_{kind}.npz")
  _, state, target = start(kind, data)
  batches = (views(data, which, target) for which in ("mtr", "mts"))
  gradient = gradient_of(kind, derivative)
  grads, outer = gradient(form == "paper", float(data["eta"]), state, *batches)
  measured = outer.measured
  for ours, theirs in {
    "fusion_loss": "fusion_loss",
    "task_loss_inner": "task_loss_inner",
    "task_loss_outer": "task_loss_outer",
  }.items():
    close(measured[ours], data[f"{form}/{theirs}"], 1e-7)
  close(optax.tree.norm(grads), data[f"{form}/grad_norm"], 1e-6)
  ours = to_theirs(flatten_dict({"params": grads}), torch_key)
  wanted = [k for k in data.files if k.startswith(f"{form}/dG/")]
  assert len(wanted) == len(ours) > 50
  for key in wanted:
    close(ours[key.removeprefix(f"{form}/dG/")], data[key], 1e-6)


@pytest.mark.slow  # compiles a G-step and an F/T-step with SegFormer-B0
def test_three_g_steps_and_three_ft_steps(x64):
  data = npz("train_steps_seg.npz")
  rate, eta = float(data["learning_rate"]), float(data["eta"])
  optimisers = meta.Optimisers(*[optax.adam(rate)] * 3)
  task, state, target = start("seg", data, optimisers)
  before = state
  teacher = lookahead(meta.Rates(eta, eta))
  method = method_of(task, partial(fusion_loss, intensity="paper"))
  steps = meta.make_steps(method, teacher, optimisers)
  g_step, ft_step = (jax.jit(step, compiler_options=PLAIN_ARITHMETIC) for step in steps)
  for i in range(len(data["g_fusion_loss"])):
    state, seen = g_step(state, {k: views(data, k, target, i) for k in ("mtr", "mts")})
    for name in ("fusion_loss", "task_loss_inner", "task_loss_outer"):
      close(seen[name], data[f"g_{name}"][i], 1e-6)
  for i in range(len(data["ft_fusion_loss"])):
    state, seen = ft_step(state, {"ftr": views(data, "ftr", target, i)})
    for name in ("fusion_loss", "task_loss"):
      close(seen[name], data[f"ft_{name}"][i], 1e-6)
  for letter, now, then in (
    ("F", state.params.f, before.params.f),
    ("G", state.params.g, before.params.g),
  ):
    change = to_theirs(flatten_dict({"params": jax.tree.map(jnp.subtract, now, then)}), torch_key)
    for key, ours in change.items():
      check_change(ours, data[f"d{letter}/{key}"], rate)
  check_task(data, before, state, rate)


def check_change(ours, theirs, rate):
  """Adam's first steps are nearly signs: an entry whose gradient is below 1e-10 may go either
  way."""
  wrong = np.abs(ours - theirs) > 1e-3 * rate
  assert wrong.mean() < 0.01 and np.abs(theirs).max() > 0.1 * rate


def check_task(data, before, after, rate):
  change = {
    "params": jax.tree.map(jnp.subtract, after.params.t, before.params.t),
    "batch_stats": after.params.t_stats,
  }
  change = convert.to_torch(change, "segformer")
  keys = [k for k in data.files if k.startswith("dT_norm/")]
  assert len(keys) > 50
  for key in keys:
    ours = np.linalg.norm(change[key.removeprefix("dT_norm/")])
    assert abs(ours - data[key]) <= 0.01 * data[key] + 1e-3 * rate, key
  for key in (k for k in data.files if k.startswith("T_running/")):
    name = key.removeprefix("T_running/")
    if not name.endswith("num_batches_tracked"):
      close(change[name], data[key], 1e-6)
