"""Parity with the reference PyTorch networks: numbers made in float64, read from the folder
TDFUSION_GOLDENS names.

Sizes, values and pair names come from the files, so another set of the same form is checked as it
is.
"""

import json
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from helpers import goldens, load_rule_weights, real_weights

from tdfusion_jax import convert, fusers, meta
from tdfusion_jax.batch import DetTarget, Pair, SegTarget, Views
from tdfusion_jax.convert.pth import read_pth
from tdfusion_jax.convert.restormer import torch_key
from tdfusion_jax.convert.rules import to_theirs
from tdfusion_jax.losses.detection import yolo_loss
from tdfusion_jax.losses.fusion import fusion_loss, gradient_loss, intensity_loss
from tdfusion_jax.losses.segmentation import cross_entropy
from tdfusion_jax.meta.derivative import DERIVATIVES
from tdfusion_jax.meta.lookahead import lookahead
from tdfusion_jax.networks.segformer import SegFormer
from tdfusion_jax.networks.yolov8 import YOLOv8, decode_distances
from tdfusion_jax.tasks.detection import detection
from tdfusion_jax.tasks.segmentation import segmentation

# The reference assigns boxes in float32. XLA may contract a product and a sum into one rounding;
# unoptimised it does not, and the assignment rounds as the reference's. (Contracted, the det
# gradients are off by 3e-6.)
PLAIN_ARITHMETIC = {"xla_backend_optimization_level": 0}
UPSTREAM = {"gelu": "tanh", "head_eps": 1e-3, "align_corners": True}


def npz(name):
  path = goldens() / name
  if not path.is_file():
    pytest.skip(f"{path} is not there")
  return np.load(path)


def nhwc(array):
  return jnp.asarray(np.moveaxis(array, -3, -1))


def widen(tree, dtype=np.float64):
  return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)


def rule_weights(spec, arch, dtype=np.float64):
  return widen(convert.from_torch(load_rule_weights(goldens() / spec), arch), dtype)


def real_fusion(dtype=np.float64):
  return widen(convert.from_torch(read_pth(real_weights() / "ReFusion_IVIF.pth"), "fusion"), dtype)[
    "params"
  ]


def close(ours, theirs, tolerance):
  """Relative to the largest entry: meta-gradients are tiny, so an absolute tolerance would pass a
  zero."""
  theirs = np.asarray(theirs)
  scale = np.abs(theirs).max()
  error = np.abs(np.asarray(ours, np.float64) - theirs).max()
  assert ours.shape == theirs.shape and scale > 0
  assert error <= tolerance * scale, f"off by {error / scale:.2e} of the largest entry"


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-5), (np.float32, 2e-5)])
@pytest.mark.parametrize(
  ("arch", "spec", "file", "out", "apply"),
  [
    ("fusion", "fusion_net.spec.json", "fusion_net_rule.npz", "fused", fusers.fuse_net),
    ("lossgen", "loss_net.spec.json", "loss_net.npz", "weights", fusers.weigh_net),
  ],
)
def test_f_and_g_with_rule_weights(x64, arch, spec, file, out, apply, dtype, tolerance):
  data = npz(file)
  params = rule_weights(spec, arch, dtype)["params"]
  ours = apply(params, nhwc(data["ir"]).astype(dtype), nhwc(data["vi"]).astype(dtype))
  assert ours.dtype == dtype
  close(ours, nhwc(data[out]), tolerance if dtype == np.float32 else 1e-9)


@pytest.mark.slow  # 640x480 images through F, compiled for each file
def test_f_with_real_weights_on_real_pairs():
  files = sorted(goldens().glob("fusion_net_real_*.npz"))
  if not files:
    pytest.skip("no real pair")
  params = real_fusion(np.float32)
  for file in files:
    data = np.load(file)
    ir, vi = (jnp.asarray(data[k] / 255, jnp.float32)[None, ..., None] for k in ("ir", "vi"))
    fused = jax.jit(fusers.fuse_net)(params, ir, vi)[0, ..., 0]
    assert np.abs(fused - data["fused"]).max() < 2e-5 and data["fused"].std() > 0.01


def test_fusion_loss_and_its_gradients(x64):
  data = npz("fusion_loss.npz")
  fused, ir, vi, weights = (nhwc(data[k]) for k in ("fused", "ir", "vi", "weights"))
  for form in ("paper", "upstream"):
    value, grads = jax.value_and_grad(intensity_loss, (0, 3))(fused, ir, vi, weights, form)
    close(value, data[f"int_{form}"], 1e-12)
    close(grads[0], nhwc(data[f"int_{form}_d_fused"]), 1e-12)
    close(grads[1], nhwc(data[f"int_{form}_d_weights"]), 1e-12)
  value, grad = jax.value_and_grad(gradient_loss)(fused, ir, vi)
  close(value, data["grad"], 1e-12)
  close(grad, nhwc(data["grad_d_fused"]), 1e-12)


@pytest.mark.slow  # two derivatives of SegFormer-B0 to compile
def test_segformer(x64):
  data = npz("segformer_b0_1ch.npz")
  variables = rule_weights("segformer_b0_1ch.spec.json", "segformer")
  network = SegFormer(num_classes=data["logits_eval"].shape[1], **UPSTREAM)
  images, target = nhwc(data["fused"]), SegTarget(jnp.asarray(data["labels"], jnp.int32))
  close(network.apply(variables, images), nhwc(data["logits_eval"]), 1e-5)

  def loss(images):
    logits, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
    return cross_entropy(logits, target)[0], logits

  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=PLAIN_ARITHMETIC)
  (value, logits), grad = gradient(images)
  close(logits, nhwc(data["logits_batchstats"]), 1e-5)
  close(value, data["ce"], 1e-9)
  close(grad, nhwc(data["d_ce_d_fused"]), 1e-6)


def boxes_of(rows, batch, height, width):
  """Rows (image, class, cx, cy, w, h in [0, 1]) -> padded DetTarget in pixels, float32 as the
  reference holds it."""
  rows = rows.astype(np.float32)
  count = max((rows[:, 0] == i).sum() for i in range(batch)) + 2
  boxes, classes = np.zeros((batch, count, 4), np.float32), np.zeros((batch, count), np.int32)
  valid = np.zeros((batch, count), bool)
  for i in range(batch):
    mine = rows[rows[:, 0] == i]
    centre, half = (side * np.float32([width, height]) for side in (mine[:, 2:4], mine[:, 4:6] / 2))
    boxes[i, : len(mine)] = np.concatenate([centre - half, centre + half], axis=1)
    classes[i, : len(mine)], valid[i, : len(mine)] = mine[:, 1], True
  return DetTarget(jnp.asarray(boxes), jnp.asarray(classes), jnp.asarray(valid))


@pytest.mark.slow  # two derivatives of YOLOv8n to compile
@pytest.mark.parametrize("classes", [1, 6])
def test_yolov8(x64, classes):
  data = npz(f"yolov8n_1ch_nc{classes}.npz")
  variables = rule_weights(f"yolov8n_1ch_nc{classes}.spec.json", "yolov8")
  network, images = YOLOv8(num_classes=classes), nhwc(data["fused"])
  batch, height, width, _ = images.shape
  outputs = network.apply(variables, images)
  close(decode_distances(outputs.box_logits).transpose(0, 2, 1), data["box_ltrb_eval"], 1e-6)
  close(outputs.class_logits.transpose(0, 2, 1), data["class_logits_eval"], 1e-6)
  target = boxes_of(data["targets"], batch, height, width)

  def loss(images):
    outputs, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
    return yolo_loss(outputs, target)

  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=PLAIN_ARITHMETIC)
  (_, parts), grad = gradient(images)
  close(
    jnp.stack([parts[k] for k in ("box", "class", "dfl")]),
    data["loss_box_cls_dfl_batchstats"],
    1e-6,
  )
  close(grad, nhwc(data["d_loss_d_fused"]), 1e-6)


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


def test_the_goldens_name_the_six_metrics():
  """The values are checked with the metrics; here only that the file is what the tests will
  read."""
  path = goldens() / "metrics.json"
  if not path.is_file():
    pytest.skip("no metrics")
  values = json.loads(path.read_text())
  assert all({"EN", "SF", "SCD", "VIF", "Qabf", "SSIM"} <= v.keys() for v in values.values())
