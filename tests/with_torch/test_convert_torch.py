"""Converted files against PyTorch and the real libraries."""

import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[1]))
import published  # noqa: E402
from flax.traverse_util import flatten_dict  # noqa: E402

from tdfusion_jax import weightfiles  # noqa: E402
from tdfusion_jax.convert.files import convert  # noqa: E402
from tdfusion_jax.convert.pth import read_pth  # noqa: E402
from tdfusion_jax.convert.pth_write import write_pth  # noqa: E402
from tdfusion_jax.networks.segformer import SegFormer  # noqa: E402

pytestmark = pytest.mark.torch


def test_a_written_file_is_what_torch_saves(tmp_path):
  rng = np.random.default_rng(0)
  arrays = {
    "a.weight": rng.standard_normal((3, 2, 1, 5)).astype(np.float32),
    "transposed": rng.standard_normal((4, 3)).T,
    "half": rng.standard_normal(70_000).astype(np.float16),
    "count": np.asarray(2**40, np.int64),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
  }
  write_pth(tmp_path / "w.pth", arrays)
  loaded = torch.load(tmp_path / "w.pth", weights_only=True)
  assert list(loaded) == list(arrays)
  for key, array in arrays.items():
    assert loaded[key].numpy().dtype == array.dtype and loaded[key].shape == array.shape
    np.testing.assert_array_equal(loaded[key].numpy(), array)


def test_files_of_old_pytorch_are_read(tmp_path):
  """Before 1.6 there was no zip archive."""
  base = torch.arange(12.0).reshape(3, 4)
  state_dict = {"a": base.T, "b": base[1:, 2], "c": torch.tensor(3), "h": base.half()}
  torch.save(
    {"state_dict": state_dict, "epoch": 1}, tmp_path / "w.pth", _use_new_zipfile_serialization=False
  )
  ours = read_pth(tmp_path / "w.pth")
  for key, tensor in state_dict.items():
    np.testing.assert_array_equal(ours[key], tensor.numpy())


class Holder(torch.nn.Module):
  """Stands for any class of Ultralytics: the file names it, and a reader without it has to do."""


def holder(tensors):
  """A module whose state_dict has the given dotted names."""
  root = Holder()
  for key, tensor in tensors.items():
    *parts, leaf = key.split(".")
    node = root
    for part in parts:
      if part not in node._modules:
        node.add_module(part, Holder())
      node = node._modules[part]
    if "running" in leaf or "tracked" in leaf:
      node.register_buffer(leaf, tensor)
    else:
      node.register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
  return root


@pytest.mark.parametrize("where", ["model", "ema"])
def test_a_pickled_ultralytics_model_in_half_precision(tmp_path, monkeypatch, where):
  """`model` is None while training, `ema` later; beside them are paths, dates and arguments."""
  arrays = published.random(published.yolov8(classes=3), dtype=np.float16)
  foreign = types.ModuleType("ultralytics.nn.tasks")
  for name in ("ultralytics", "ultralytics.nn", "ultralytics.nn.tasks"):
    monkeypatch.setitem(sys.modules, name, foreign)
  foreign.Holder = Holder  # pyright: ignore
  monkeypatch.setattr(Holder, "__module__", "ultralytics.nn.tasks")
  model = holder({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})
  assert list(model.state_dict()) and len(model.state_dict()) == len(arrays)
  about = {
    "epoch": -1,
    "best_fitness": np.float64(0.3),
    "save_dir": Path("runs"),
    "device": torch.device("cpu"),
  }
  other = {"model": "ema", "ema": "model"}[where]
  torch.save(
    {where: model, other: None, "optimizer": None, "date": "2023", **about}, tmp_path / "yolov8n.pt"
  )
  monkeypatch.delitem(sys.modules, "ultralytics.nn.tasks")
  convert(tmp_path / "yolov8n.pt", tmp_path / "t.safetensors", dtype="source")
  convert(tmp_path / "t.safetensors", tmp_path / "back.pt", to="ultralytics", dtype="source")
  back = torch.load(tmp_path / "back.pt", weights_only=True)
  assert back.keys() == arrays.keys()
  for key, array in arrays.items():
    assert back[key].numpy().dtype == array.dtype
    np.testing.assert_array_equal(back[key].numpy(), array, err_msg=key)


SIZES = {
  "b0": {},
  "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
}


@pytest.mark.parametrize("variant", SIZES)
def test_segformer_gives_the_logits_of_transformers(tmp_path, variant):
  """Random weights, 3 channels, 150 classes; Hugging Face's logits are at a quarter of the size."""
  transformers = pytest.importorskip("transformers")
  torch.manual_seed(0)
  theirs = transformers.SegformerForSemanticSegmentation(
    transformers.SegformerConfig(num_labels=150, **SIZES[variant])
  ).eval()
  with torch.no_grad():  # their initial values leave every norm and bias idle
    for name, value in theirs.named_parameters():
      value.copy_(
        0.05 * torch.randn_like(value) + (1.0 if "norm" in name and "weight" in name else 0.0)
      )
    for name, value in theirs.named_buffers():
      if "running" in name:
        value.copy_(torch.rand_like(value) + 0.5)
  theirs.save_pretrained(tmp_path)
  convert(tmp_path / "model.safetensors", tmp_path / "t.safetensors")
  variables, metadata = weightfiles.load_weights(tmp_path / "t.safetensors")
  options = metadata["options"]
  assert options["variant"] == variant and options.pop("in_channels") == 3
  image = np.random.default_rng(0).random((1, 96, 128, 3), np.float32)
  with torch.no_grad():
    small = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2))).logits
    logits = torch.nn.functional.interpolate(
      small, image.shape[1:3], mode="bilinear", align_corners=False
    )
  expected = logits.numpy().transpose(0, 2, 3, 1)
  assert np.ptp(expected) > 1
  ours = SegFormer(**options).apply(jax.tree.map(jnp.asarray, variables), jnp.asarray(image))
  np.testing.assert_allclose(np.asarray(ours), expected, atol=1e-4)
  # What a user saves from memory has other names from version 5 on; and back, loaded strictly.
  torch.save(theirs.state_dict(), tmp_path / "memory.bin")
  said = convert(tmp_path / "memory.bin", tmp_path / "m.safetensors")[0]
  style = "transformers5" if "transformers5" in said else "huggingface"
  again, expected_again = (
    flatten_dict(v) for v in (weightfiles.load_weights(tmp_path / "m.safetensors")[0], variables)
  )
  assert again.keys() == expected_again.keys()
  for path, value in expected_again.items():
    np.testing.assert_array_equal(again[path], value, err_msg=str(path))
  convert(tmp_path / "m.safetensors", tmp_path / "back.bin", to=style)
  state_dict = {key: value.clone() for key, value in theirs.state_dict().items()}
  theirs.load_state_dict(torch.load(tmp_path / "back.bin", weights_only=True), strict=True)
  assert all(torch.equal(value, state_dict[key]) for key, value in theirs.state_dict().items())
