"""SegFormer's structure, modes, task and key names; parity with the reference is in
test_goldens.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.test_util import check_grads

from tdfusion_jax.batch import SegTarget
from tdfusion_jax.convert import rules, segformer
from tdfusion_jax.networks.segformer import (
  VARIANTS,
  Block,
  Head,
  SegFormer,
  _patch_conv,
  _strided_conv,
)
from tdfusion_jax.ops.resize import resize_bilinear
from tdfusion_jax.tasks.segmentation import segmentation


def shapes(num_classes=9, in_channels=1, **options):
  net = segformer.build(num_classes, in_channels=in_channels, **options)
  return jax.eval_shape(net.init, jax.random.key(0), *segformer.sample_inputs(in_channels))


def size(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def b0():
  task = segmentation(3)
  images = jax.random.uniform(jax.random.key(1), (2, 35, 50, 1))
  params, stats = jax.jit(task.init)(jax.random.key(0), images)
  return task, params, stats, images


def test_parameter_count():
  """3,713,321 for B0, one channel, nine classes: counted in the public PyTorch code."""
  assert size(shapes()["params"]) == 3_713_321


PUBLISHED = {
  "b0": (3.4, 0.4),
  "b1": (13.1, 0.6),
  "b2": (24.2, 3.3),
  "b3": (44.0, 3.3),
  "b4": (60.8, 3.3),
}
PUBLISHED["b5"] = (81.4, 3.3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_the_published_size(variant):
  """Millions of parameters, SegFormer paper, table 1a (19 to 150 classes, rounded there)."""
  encoder, head = PUBLISHED[variant]
  params = shapes(150, 3, variant=variant)["params"]
  assert size(params["backbone"]) / 1e6 == pytest.approx(encoder, rel=0.03)
  assert size(params["decode_head"]) / 1e6 == pytest.approx(head, abs=0.15)


@pytest.mark.parametrize("height_width", [(29, 61), (33, 48)])
def test_any_size(height_width):
  images = jnp.zeros((1, *height_width, 2))
  out, _ = jax.eval_shape(SegFormer(4).init_with_output, jax.random.key(0), images)
  assert out.shape == (1, *height_width, 4)


@pytest.mark.parametrize(
  ("options", "images", "match"),
  [
    ({"variant": "b9"}, (1, 32, 32, 1), "b9"),
    ({"gelu": "exact"}, (1, 32, 32, 1), "exact"),
    ({}, (1, 28, 64, 1), "at least 29"),
  ],
)
def test_refusals(options, images, match):
  with pytest.raises(ValueError, match=match):
    jax.eval_shape(SegFormer(2, **options).init, jax.random.key(0), jnp.zeros(images))


@pytest.mark.parametrize(("kernel", "stride"), [(7, 4), (3, 2)])
@pytest.mark.parametrize("height_width", [(16, 12), (17, 13), (15, 19)])
def test_strided_convolution_is_one(kernel, stride, height_width):
  x = jax.random.normal(jax.random.key(0), (2, *height_width, 3))
  w = jax.random.normal(jax.random.key(1), (kernel, kernel, 3, 5)) / kernel
  expected = convolve(x, w, stride, kernel // 2)
  np.testing.assert_allclose(_strided_conv(x, w, stride), expected, atol=1e-5)
  assert jnp.abs(expected).max() > 1


def test_reduction_is_a_convolution_that_drops_the_rest():
  x = jax.random.normal(jax.random.key(0), (2, 9, 14, 3))
  w = jax.random.normal(jax.random.key(1), (4, 4, 3, 5)) / 4
  expected = convolve(x, w, 4, 0)
  assert expected.shape == (2, 2, 3, 5)
  np.testing.assert_allclose(_patch_conv(x, w), expected, atol=1e-5)


def convolve(x, w, stride, pad):
  return jax.lax.conv_general_dilated(
    x, w, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def test_folded_head_is_the_plain_one():
  """Against the head as published: linear, resize, concat c4..c1, 1x1, BatchNorm, ReLU,
  classifier."""
  keys = jax.random.split(jax.random.key(0), 5)
  features = [jax.random.normal(keys[i], (2, 8 >> i, 12 >> i, 4 + i)) for i in range(4)]
  head = Head(3, 6, 1e-3, 0.03, 0.1)
  variables = head.init(keys[4], features, False)
  # so that no bias or statistic is where it starts
  variables = jax.tree.map(
    lambda a: a + jnp.linspace(0.01, 0.1, a.size).reshape(a.shape), variables
  )
  p, s = variables["params"], variables["batch_stats"]["bn"]
  levels = []
  for i in (3, 2, 1, 0):
    layer = p[f"linear_c{i + 1}"]
    levels.append(
      resize_bilinear(features[i] @ layer["kernel"] + layer["bias"].reshape(1, 1, 1, -1), 8, 12)
    )
  x = jnp.concatenate(levels, axis=-1) @ p["linear_fuse"]
  norm = (s["mean"], s["var"], p["bn"]["scale"], p["bn"]["bias"])
  mean, var, scale, bias = (a.reshape(1, 1, 1, -1) for a in norm)
  x = jax.nn.relu((x - mean) / jnp.sqrt(var + 1e-3) * scale + bias)
  expected = x @ p["linear_pred"]["kernel"] + p["linear_pred"]["bias"].reshape(1, 1, 1, -1)
  np.testing.assert_allclose(head.apply(variables, features, False), expected, atol=1e-5)
  assert jnp.abs(expected).max() > 0.1


def test_what_batch_norm_takes_off_has_no_gradient():
  """A constant in front of BatchNorm: with the batch's statistics the outputs are the same (the
  expected value), and the running mean moves by momentum times it; with the running ones it counts.
  """
  features = [jax.random.normal(jax.random.key(i), (2, 8 >> i, 8 >> i, 4)) for i in range(4)]
  head = Head(3, 6, 1e-3, 0.03, 0.0)
  variables = head.init(jax.random.key(9), features, False)

  def outputs(bias, train):
    params = {**variables["params"]}
    params["linear_c2"] = {**params["linear_c2"], "bias": bias}
    made = {**variables, "params": params}
    return head.apply(made, features, train, mutable=["batch_stats"])

  def slope(train):
    return jax.grad(lambda bias: jnp.sum(outputs(bias, train)[0] ** 2))(jnp.ones(6))

  (plain, before), (moved, after) = outputs(jnp.zeros(6), True), outputs(jnp.ones(6), True)
  np.testing.assert_allclose(moved, plain, atol=1e-5)
  share = variables["params"]["linear_fuse"][12:18]  # c4, c3, then c2
  shift = after["batch_stats"]["bn"]["mean"] - before["batch_stats"]["bn"]["mean"]
  np.testing.assert_allclose(shift, 0.03 * share.sum(0), atol=1e-6)
  assert jnp.abs(slope(True)).max() == 0 and jnp.abs(slope(False)).min() > 1e-3


def test_a_block_is_twice_differentiable(x64):
  block = Block(2, 2, "erf", 1e-6, 0.1, 1e-5)
  x = jax.random.normal(jax.random.key(0), (1, 5, 4, 4))
  params = jax.jit(block.init, static_argnums=2)(jax.random.key(1), x, False)
  params = jax.tree.map(lambda a: a.astype(jnp.float64) * 5, params)
  check_grads(jax.jit(lambda x: block.apply(params, x, True)), (x,), order=2, atol=1e-3, rtol=1e-3)


def test_a_dropped_block_is_the_identity_and_only_with_a_key():
  block = Block(1, 1, "erf", 1e-6, 1.0, 1e-5)
  x = jax.random.normal(jax.random.key(0), (2, 3, 4, 4))
  params = block.init(jax.random.key(1), x, False)
  np.testing.assert_array_equal(
    block.apply(params, x, True, rngs={"dropout": jax.random.key(2)}), x
  )
  assert jnp.abs(block.apply(params, x, True) - x).max() > 0
  assert jnp.abs(block.apply(params, x, False, rngs={"dropout": jax.random.key(2)}) - x).max() > 0


def test_modes_of_the_task(b0):
  task, params, stats, images = b0
  train = jax.jit(lambda key: task.apply(params, stats, images, train=True, key=key))
  plain, moved = jax.jit(lambda: task.apply(params, stats, images, train=True))()
  one, other = train(jax.random.key(1))[0], train(jax.random.key(2))[0]
  assert jnp.abs(one - other).max() > 0 and jnp.abs(one - plain).max() > 0
  change = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), moved, stats)
  assert min(jax.tree.leaves(change)) > 0
  logits, kept = jax.jit(lambda: task.apply(params, stats, images, train=False))()
  assert jnp.abs(logits - plain).max() > 0
  jax.tree.map(np.testing.assert_array_equal, kept, stats)
  labels = jax.jit(task.predict)(params, stats, images)["labels"]
  assert labels.dtype == jnp.int32
  np.testing.assert_array_equal(labels, np.argmax(logits, axis=-1))


def test_a_fresh_network_starts_near_equal_odds(b0):
  task, params, stats, images = b0
  logits, _ = jax.jit(lambda: task.apply(params, stats, images, train=True))()
  loss, _ = task.loss(logits, SegTarget(jnp.zeros((2, 35, 50), jnp.int32)))
  assert loss == pytest.approx(np.log(3), abs=0.5)


def test_wrong_number_of_channels_raises(b0):
  task, params, stats, images = b0
  with pytest.raises(ValueError, match="1 channel"):
    task.apply(params, stats, jnp.zeros((1, 32, 32, 3)), train=False)


def numbered(variant, in_channels):
  """A state_dict in upstream's naming with every array different."""
  flat = flatten_dict(shapes(7, in_channels, variant=variant))
  arrays = {path: np.full(leaf.shape, i, np.float32) for i, (path, leaf) in enumerate(flat.items())}
  return rules.to_theirs(arrays, segformer.torch_key), flat


@pytest.mark.parametrize("variant", VARIANTS)
def test_options_are_read_from_names_and_shapes(variant):
  state_dict, flat = numbered(variant, 3)
  assert len(state_dict) == len(flat)  # no two paths share a key
  expected = {"num_classes": 7, "in_channels": 3, "variant": variant}
  options = segformer.options_from(state_dict)
  assert (
    options == expected
  )  # eps, GELU and resize are not in names or shapes: the naming decides them
  assert segformer.build(**options).variant == variant


def test_key_names_and_round_trip():
  state_dict, flat = numbered("b0", 1)
  assert state_dict["backbone.patch_embed1.proj.weight"].shape == (32, 1, 7, 7)
  assert state_dict["backbone.block1.1.attn.sr.weight"].shape == (32, 32, 8, 8)
  assert state_dict["backbone.block4.0.mlp.dwconv.dwconv.weight"].shape == (1024, 1, 3, 3)
  assert state_dict["decode_head.linear_c3.proj.weight"].shape == (256, 160)
  assert state_dict["decode_head.linear_fuse.conv.weight"].shape == (256, 1024, 1, 1)
  fixed = segformer.fixed(state_dict)
  assert fixed == {"decode_head.linear_fuse.bn.num_batches_tracked": 0}
  ours = rules.to_ours(
    state_dict, {path: leaf.shape for path, leaf in flat.items()}, segformer.torch_key
  )
  back = rules.to_theirs(ours, segformer.torch_key)
  assert back.keys() == state_dict.keys()
  for key, value in state_dict.items():
    np.testing.assert_array_equal(back[key], value)


def test_foreign_weights_are_refused():
  with pytest.raises(ValueError, match="not a SegFormer|upstream"):
    segformer.options_from({"encoder.weight": np.zeros(3)})
  state_dict, _ = numbered("b0", 1)
  state_dict = {key: value for key, value in state_dict.items() if ".block3.1." not in key}
  with pytest.raises(ValueError, match="no SegFormer variant"):
    segformer.options_from(state_dict)
