"""Every test runs on the CPU unless told otherwise, with checked shapes and no rank promotion."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook(["tdfusion_jax"], "beartype.beartype")

import jax
import pytest
from made_data import picture, save, voc

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
  """float64 for one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def boxed(tmp_path):
  """LLVIP's layout: three training and two test pairs, all annotated."""
  for i, (split, name) in enumerate(
    (("train", "a"), ("train", "b"), ("train", "c"), ("test", "d"), ("test", "e"))
  ):
    save(tmp_path / f"infrared/{split}/{name}.png", picture(i, 1))
    save(tmp_path / f"visible/{split}/{name}.png", picture(100 + i))
    voc(tmp_path / f"Annotations/{name}.xml", ("person", 3, 4, 20, 30))
  return tmp_path


@pytest.fixture
def masked(tmp_path):
  """MSRS's layout: two training pairs and one test pair."""
  for i, (split, name) in enumerate((("train", "a"), ("train", "b"), ("test", "c"))):
    save(tmp_path / f"{split}/ir/{name}.png", picture(i, 1))
    save(tmp_path / f"{split}/vi/{name}.png", picture(100 + i))
    save(tmp_path / f"{split}/Segmentation_labels/{name}.png", picture(200 + i, 1) % 9)
  return tmp_path
