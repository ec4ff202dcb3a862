"""The PyTorch-free reader against PyTorch itself, on awkward tensors."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tdfusion_jax.convert.pth import read_pth  # noqa: E402

pytestmark = pytest.mark.torch


def tensors():
  base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
  return {
    "plain": base,
    "transposed": base.transpose(0, 2),
    "sliced": base[:, 1:, ::2],
    "expanded": torch.ones(1, 3).expand(4, 3),
    "half": base.half(),
    "double": base.double(),
    "count": torch.tensor(5),
    "flags": base > 7,
    "empty": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(base + 1),
  }


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_equal_to_torch_load(tmp_path, wrapper):
  expected = tensors()
  torch.save(expected if wrapper is None else {wrapper: expected, "epoch": 3}, tmp_path / "w.pth")
  ours = read_pth(tmp_path / "w.pth")
  assert list(ours) == list(expected)
  for key, tensor in expected.items():
    array = tensor.detach().numpy()
    np.testing.assert_array_equal(ours[key], array, err_msg=key)
    assert ours[key].dtype == array.dtype


def test_a_saved_module_gives_its_state_dict(tmp_path):
  """Its classes are not imported: stubs stand for them."""
  module = torch.nn.Sequential(
    torch.nn.Conv2d(1, 2, 3), torch.nn.ModuleList([torch.nn.BatchNorm2d(2)])
  ).half()
  torch.save({"model": module, "epoch": 3}, tmp_path / "m.pth")
  ours, expected = read_pth(tmp_path / "m.pth"), module.state_dict()
  assert list(ours) == list(expected)
  for key, tensor in expected.items():
    np.testing.assert_array_equal(ours[key], tensor.numpy(), err_msg=key)
