"""Every test runs with checked array shapes, without silent rank promotion, and on the CPU unless told otherwise."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook(["tdfusion_jax"], "beartype.beartype")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
  """float64 for one test."""
  with jax.enable_x64(True):
    yield
