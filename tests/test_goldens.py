"""Parity with the reference PyTorch networks: numbers made in float64, read from the folder
TDFUSION_GOLDENS names.

Sizes, values and pair names come from the files, so another set of the same form is checked as it
is.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import goldens
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

from tdfusion_jax import fusers
from tdfusion_jax.batch import SegTarget
from tdfusion_jax.losses.detection import yolo_loss
from tdfusion_jax.losses.fusion import gradient_loss, intensity_loss
from tdfusion_jax.losses.segmentation import cross_entropy
from tdfusion_jax.networks.segformer import SegFormer
from tdfusion_jax.networks.yolov8 import YOLOv8, decode_distances


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


def test_the_goldens_name_the_six_metrics():
  """The values are checked with the metrics; here only that the file is what the tests will
  read."""
  path = goldens() / "metrics.json"
  if not path.is_file():
    pytest.skip("no metrics")
  values = json.loads(path.read_text())
  assert all({"EN", "SF", "SCD", "VIF", "Qabf", "SSIM"} <= v.keys() for v in values.values())
