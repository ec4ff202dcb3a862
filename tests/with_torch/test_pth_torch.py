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


def test_a_saved_module_is_refused_by_name(tmp_path):
  torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pth")
  with pytest.raises(ValueError, match="refused: the file asks for torch.nn.modules.linear.Linear"):
    read_pth(tmp_path / "m.pth")
