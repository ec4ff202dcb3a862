"""Training on several devices: the same numbers, each device at work on its own rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spreading
import tiny

from tdfusion_jax.config import ConfigError
from tdfusion_jax.files import UsageError
from tdfusion_jax.tasks import Task
from tdfusion_jax.train import build, checks, devices, initial, networks, parts

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "many_devices.py"


@pytest.fixture(scope="module")
def four(tmp_path_factory):
  """What `many_devices.py` found on four devices, which are set before JAX starts."""
  folder = str(tmp_path_factory.mktemp("four"))
  done = subprocess.run(
    [sys.executable, str(SCRIPT), folder, "1,4"],
    env={
      **os.environ,
      "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
      "PYTHONPATH": os.pathsep.join(str(path) for path in (ROOT, ROOT / "tests")),
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return json.loads(done.stdout.splitlines()[-1])


def test_several_devices_compute_what_one_does(four):
  """20 G-steps and 20 F/T-steps: F', batch norm and the losses' normalisers are global."""
  (apart,) = four["equality"].values()
  # Float64 has 1e-16; sums of another order are a few hundred of them apart after 40 steps.
  assert max(apart) < 1e-12


def test_machine_code_sees_a_devices_own_rows(four):
  """A batch of 4 on 4 devices: every image in a call of the compiled program is one of one."""
  found = four["calls"]
  assert found["apart"] < 1e-4  # float32 sums of random pixels, in another order
  if not found["native"]:
    pytest.skip("no compiler, no machine code")
  assert found["calls"] > 3 and found["images"] == [1]


def test_a_checkpoint_of_four_devices_goes_on_with_fewer(four):
  assert max(four["changed"]["1"]) < 1e-12


@pytest.mark.parametrize(
  ("field", "value", "text"),
  [
    ("train.devices", "7", "train.devices='7': JAX sees 1"),
    ("train.devices", "0", "train.devices='0': a number from 1, or all"),
    ("train.devices", "many", "train.devices='many': a number from 1, or all"),
    ("train.accumulate", 3, "data.batch_size=4 cannot be split evenly.*train.accumulate=3"),
    ("train.accumulate", 0, "train.accumulate=0: at least 1"),
    ("train.dtype", "float16", "train.dtype='float16': one of float32, bfloat16"),
  ],
)
def test_errors_name_the_field(field, value, text):
  with pytest.raises(ConfigError, match=text):
    build.experiment(spreading.config(**{field: value}))


@pytest.fixture(scope="module")
def eight():
  """Three G-steps and two F/T-steps on batches of 8 with T's statistics kept, of three kinds.

  The first image of each batch has no labels: parts differ in what their loss would divide by.
  """
  with pytest.MonkeyPatch.context() as patch:
    tiny.compile_quickly(patch)
    # `init.t="given"`: fresh weights in the place of a file's.
    patch.setattr(initial.weightfiles, "load_weights", lambda path: ({}, {}))
    patch.setattr(initial.weightfiles, "match", lambda loaded, like, name: _ones(like))
    kinds = {}
    for name, changes in (
      ("whole", {}),
      ("parts", {"train.accumulate": 4}),
      ("short", {"train.dtype": "bfloat16"}),
    ):
      settings = {"data.batch_size": 8, "task.statistics": "frozen", "init.t": "given"}
      run = spreading.Run(spreading.config(**settings, **changes))
      kinds[name] = run.take([0, 1, 2, 10, 11], unknown=True), run.own.params
    return kinds


def _ones(like):
  """Weights of T that are neither zero nor all the same."""
  return jax.tree.map(
    lambda x: np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape) ** 2, like
  )


def test_parts_of_a_batch_make_the_whole_batch_s_step(eight):
  """4 parts of 2 as a batch of 8, with T's statistics kept: the same sums, added in parts."""
  losses, params = spreading.difference(eight["whole"], eight["parts"])
  assert losses < 1e-6 and params < 1e-6


def test_bfloat16_computes_and_float32_remembers(eight):
  """Weights, statistics and losses stay float32, and losses are what 8 bits make of them."""
  full, short = eight["whole"], eight["short"]
  assert {x.dtype for x in jax.tree.leaves(short[1])} == {np.dtype(np.float32)}
  assert full[0][0].keys() == short[0][0].keys()
  for name, value in full[0][0].items():
    if "loss" in name:  # of the first step: bfloat16 has 4e-3, and so has each layer
      assert 0 < abs(value - short[0][0][name]) / abs(value) < 0.03, name


def test_row_r_belongs_to_part_r_modulo_the_parts():
  seen = []

  def note(params, x):
    jax.debug.callback(lambda rows: seen.append(rows.tolist()), x[:, 0], ordered=True)
    return params * x

  x = jnp.arange(6.0)[:, None]
  out = parts.in_parts(note, 3)(2.0, x)
  jax.effects_barrier()
  assert seen == [[0, 3], [1, 4], [2, 5]]
  np.testing.assert_array_equal(out, 2 * x)


def test_outputs_without_a_batch_axis_are_the_same_of_every_part():
  task = parts.task_in_parts(_task(lambda x: (x, jnp.arange(5.0))), 2)
  (rows, points), stats = task.apply({}, jnp.zeros(()), jnp.ones((4, 2, 2, 1)), train=True)
  assert rows.shape == (4, 2, 2, 1) and points.shape == (5,)
  assert stats == 2  # moved by each part


def test_outputs_that_cannot_be_put_together_are_an_error():
  task = parts.task_in_parts(_task(lambda x: x.reshape(-1)), 2)
  with pytest.raises(UsageError, match=r"train\.accumulate needs a task .* \(16,\)"):
    task.apply({}, jnp.zeros(()), jnp.ones((4, 2, 2, 1)), train=True)


def _task(outputs):
  def apply(params, stats, images, *, train, key=None):
    del params, train, key
    return outputs(images), stats + 1

  return Task(None, apply, None, None)


def test_the_networks_of_bfloat16_sum_over_whole_images():
  made = spreading.config(**{"train.dtype": "bfloat16", "fusion.network": ""})
  checks.check(made)
  assert networks.networks(made).fuser.network.tiling.strip_bytes > 1 << 50


def test_one_device_needs_no_mesh():
  assert devices.mesh_of(spreading.config()) is None
  assert devices.rows_of_process(spreading.config(), None) is None
