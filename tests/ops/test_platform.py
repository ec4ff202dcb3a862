"""Programs that are lowered for CUDA where there is no GPU: what a GPU would be given."""

import importlib.metadata
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
import spreading

from tdfusion_jax import fusers
from tdfusion_jax.ops import platform as where
from tdfusion_jax.ops.platform import made_for, platform
from tdfusion_jax.train import build


def test_the_platform_is_this_machine_s_but_within():
  here = jax.default_backend()
  with made_for("gpu"):
    assert platform() == "gpu"
  assert platform() == here


@pytest.mark.parametrize(
  ("settings", "found", "only"),
  [
    ({}, (), True),
    ({}, ("jax_plugins",), False),
    ({}, ("libtpu",), False),
    ({"JAX_PLATFORMS": "cpu"}, ("jax_plugins",), True),
    ({"JAX_PLATFORMS": "cuda,cpu"}, (), False),
    ({"JAX_PLATFORM_NAME": "cpu"}, (), True),
    ({"TPU_LIBRARY_PATH": "libtpu.so"}, (), False),
  ],
)
def test_jax_is_asked_where_it_could_have_another_device(settings, found, only, monkeypatch):
  """Expected: where JAX looks for devices, by its documentation of plugins and of its settings."""
  for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "TPU_LIBRARY_PATH"):
    monkeypatch.delenv(name, raising=False)
  for name, value in settings.items():
    monkeypatch.setenv(name, value)
  monkeypatch.setattr(where, "find_spec", lambda name: name in found)
  monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: ())
  where._has_plugins.cache_clear()
  try:
    assert where._only_cpu() is only
  finally:
    where._has_plugins.cache_clear()


def test_the_cache_of_programs_is_set_before_jax_is_loaded(tmp_path):
  code = (
    "import sys; from tdfusion_jax.ops import compiling, platform; "
    "compiling.use_cache(sys.argv[1]); assert platform.backend() == 'cpu'; "
    "assert 'jax' not in sys.modules; import jax; print(jax.config.jax_compilation_cache_dir)"
  )
  command = [sys.executable, "-c", code, str(tmp_path)]
  ran = subprocess.run(command, capture_output=True, text=True, check=True)
  assert ran.stdout.strip() == str(tmp_path)


def lowered(function, *args, where=("cuda",)):
  return jax.jit(function).trace(*args).lower(lowering_platforms=where).as_text()


def loops(text):
  return len(re.findall(r"stablehlo\.while", text))


@pytest.fixture(scope="module")
def fuse():
  network, params = fusers.load_fusion()
  params = jax.tree.map(jnp.asarray, params)
  return lambda: lambda ir, vi: network(params, ir, vi)  # a new one each time: see `made_for`


@pytest.mark.parametrize("height_width", [(480, 640), (1024, 1280)])
def test_f_for_a_gpu_works_on_whole_images(fuse, height_width):
  """On a CPU it works through strips by machine code, which a GPU does not have."""
  image = jax.ShapeDtypeStruct((1, *height_width, 1), jnp.float32)
  with made_for("gpu"):
    text = lowered(fuse(), image, image)
  assert loops(text) == 0
  assert "custom_call" not in text and "f64" not in text
  assert text.count("stablehlo.convolution") + text.count("stablehlo.dot_general") > 20


def test_a_g_step_for_a_gpu_has_no_loops_of_strips():
  """A step of real F and G; 256x256 would be cut into strips on a CPU."""
  size = {"data.task_size": (256, 256), "data.crop_size": (256, 256)}
  size |= {"data.train_options.size": (256, 256), "data.val_options.size": (256, 256)}
  made = build.experiment(
    spreading.config(**size, **{"fusion.network": "", "loss.network": "", "data.batch_size": 2})
  )
  state = jax.eval_shape(made.init)
  batch = jax.eval_shape(lambda: build.to_device(made.steps[0]))
  with made_for("gpu"):
    text = made.g_step.trace(state, batch).lower(lowering_platforms=("cuda",)).as_text()
  assert loops(text) == 0
  assert "tdfusion_" not in text and "f64" not in text
