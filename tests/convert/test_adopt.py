"""PyTorch names and layouts: strict matching, and back again bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conversions import CASES, variables_of
from flax.traverse_util import flatten_dict

from tdfusion_jax import convert
from tdfusion_jax.convert import rules, yolov8


@pytest.mark.parametrize("arch", CASES)
def test_to_torch_and_back_is_bit_exact(arch):
  """Counts of spec section 2 and of the reference state_dicts (YOLOv8 without its fixed kernel)."""
  network, inputs, count, keys = CASES[arch]
  variables = variables_of(network, inputs)
  assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count
  state_dict = convert.to_torch(variables, arch)
  assert len(state_dict) == keys
  back = convert.from_torch({f"module.{k}": v for k, v in state_dict.items()}, arch)
  ours, theirs = flatten_dict(variables), flatten_dict(back)
  assert ours.keys() == theirs.keys()
  for path in ours:
    np.testing.assert_array_equal(ours[path], theirs[path], err_msg="/".join(path))


def test_a_convolution_keeps_its_meaning_not_only_its_numbers():
  """One 3x3 tap: PyTorch's [out, in, row, column] against ours [row, column, in, out]."""
  state_dict = convert.to_torch(variables_of(*CASES["fusion"][:2]), "fusion")
  state_dict = {k: np.zeros_like(v) for k, v in state_dict.items()}
  for key in ("project_out_0.weight", "project_out_0.conv.weight"):
    state_dict[key][3, 5, 0, 2] = 7.0
  kernel = convert.from_torch(state_dict, "fusion")["params"]["project_out_0"]["kernel"]
  assert kernel[0, 2, 5, 3] == 7.0 and np.count_nonzero(kernel) == 1


def test_misfits_are_listed_together():
  state_dict = convert.to_torch(variables_of(*CASES["lossgen"][:2]), "lossgen")
  del state_dict["out1.weight"], state_dict["out1.conv.weight"]
  state_dict["extra.weight"] = np.zeros(3)
  state_dict["out2.weight"] = np.zeros(2)
  with pytest.raises(ValueError, match="do not fit") as error:
    convert.from_torch(state_dict, "lossgen")
  for line in ("missing: out1.weight", "left over: extra.weight", "shape: out2.weight is (2,)"):
    assert line in str(error.value)


@pytest.mark.parametrize("tail", [(3, 3), (1, 0)])
def test_a_kernel_of_another_size_is_no_1x1(tail):
  """A 3x3 would lose all but a corner; of one without values there is no corner."""
  state_dict = convert.to_torch(variables_of(*CASES["fusion"][:2]), "fusion")
  key = "encoder1.0.attn.qkv.weight"
  for name in (key, key.replace(".weight", ".conv.weight")):
    state_dict[name] = np.zeros((*state_dict[key].shape[:2], *tail), np.float32)
  with pytest.raises(ValueError, match=rf"shape: {key} is \(\d+, \d+, {tail[0]}, {tail[1]}\), not"):
    convert.from_torch(state_dict, "fusion")


def test_two_copies_of_a_convolution_that_differ_are_an_error():
  state_dict = convert.to_torch(variables_of(*CASES["fusion"][:2]), "fusion")
  state_dict["project_in_1.conv.weight"] = state_dict["project_in_1.conv.weight"] + 1
  with pytest.raises(ValueError, match="two copies of one convolution"):
    convert.from_torch(state_dict, "fusion")


@pytest.mark.parametrize(
  ("arch", "message"), [("vgg", "'vgg' is not known"), ("segformer", "belong to no segformer")]
)
def test_unknown_and_wrong_architectures_are_errors(arch, message):
  with pytest.raises(ValueError, match=message):
    convert.from_torch({"w": np.zeros(1)}, arch)


@pytest.mark.parametrize(("variant", "classes", "channels"), [("s", 4, 3), ("m", 1, 1)])
def test_the_yolo_variant_is_recognised(variant, classes, channels):
  network = yolov8.build(classes, variant)
  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, channels))))
  named = {yolov8.torch_key(p): s.shape for p, s in flatten_dict(shapes).items()}
  state_dict = {
    key: rules.LAYOUTS[kind][1](np.zeros(shape)) for (key, kind), shape in named.items()
  }
  assert yolov8.options_from(state_dict) == {
    "num_classes": classes,
    "in_channels": channels,
    "variant": variant,
  }
