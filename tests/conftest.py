"""Every test runs on the CPU unless told otherwise, with checked shapes and no rank promotion."""

import os
import shutil
import tempfile
from collections import Counter

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one test has compiled serves the others of a session, in all its processes. Reading a program
# takes about as long as compiling one in a tenth of a second.
_COMPILED = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _COMPILED = tempfile.mkdtemp(prefix="tdfusion_compiled_")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED
  os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

from jaxtyping import install_import_hook

install_import_hook(["tdfusion_jax"], "beartype.beartype")

import jax
import pytest
from made_data import picture, save, voc

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
  if hasattr(config.option, "loadscopereorder"):
    config.option.loadscopereorder = False  # of pytest-xdist: files with many tests first


def pytest_unconfigure():
  if _COMPILED:
    shutil.rmtree(_COMPILED, ignore_errors=True)


def pytest_collection_modifyitems(config, items):
  """Of several processes none shall begin a file of minutes when the others have ended."""
  if hasattr(config, "workerinput"):
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


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
