"""What `tests/train/test_devices.py` lets run in a process of its own, which has four devices.

many_devices.py FOLDER 1,4    prints one JSON object
"""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import spreading

from tdfusion_jax.networks.restormer import RestormerBlock
from tdfusion_jax.ops import compiling, native
from tdfusion_jax.train import devices
from tdfusion_jax.train.checkpoints import Checkpoints

compiling.settings = lambda: {"xla_backend_optimization_level": 0}


def equality(folder):
  """Two epochs of 10 steps of each kind on each number of devices; less go on with what 4 saved.

  In float64, where all that is left are faults. {devices: largest differences from one device} and
  {devices: differences after such a change}.
  """
  runs = {
    n: spreading.Run(spreading.config(**{"train.devices": n}), np.float64)
    for n in sys.argv[2].split(",")
  }
  half, whole = range(20), range(20, 40)
  first = {n: run.take(half) for n, run in runs.items()}
  saved = Checkpoints(folder)
  saved.save(runs["4"].own)
  ends = {n: (first[n] + run.take(whole), run.own.params) for n, run in runs.items()}
  apart = {n: spreading.difference(ends["1"], ends[n]) for n in runs if n != "1"}
  changed = {}
  for n in (n for n in runs if n != "4"):
    runs[n].go_on_from(saved.restore(jax.eval_shape(runs[n].start)))
    changed[n] = spreading.difference(
      ends["4"], (first["4"] + runs[n].take(whole), runs[n].own.params)
    )
  saved.close()
  return apart, changed


def calls():
  """Of a Restormer block and its gradient on four devices: images that machine code is given."""
  mesh = devices.mesh_of(spreading.config(**{"train.devices": "4"}))
  block, x = RestormerBlock(), np.random.default_rng(0).random((4, 8, 8, 16), np.float32)
  params = block.init(jax.random.key(0), x[:1])

  def apply(params, x, _):
    return block.apply(params, x)

  def loss(function, params, x):
    return jnp.sum(function(params, x, x) ** 2)

  spread = jax.value_and_grad(lambda *a: loss(devices.by_rows(apply, mesh), *a))
  whole = jax.value_and_grad(lambda *a: loss(apply, *a))(params, x)
  placed = devices.place_state(params, mesh), devices.place_batch(x, mesh)
  compiled = jax.jit(spread).lower(*placed).compile({"xla_backend_optimization_level": 0})
  apart = jax.tree.map(
    lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(a) + 1e-6)), whole, compiled(*placed)
  )
  lines = [line for line in compiled.as_text().splitlines() if "tdfusion_block" in line]
  images = re.findall(r"f32\[(\d+),8,8,16\]", " ".join(lines))
  return {
    "native": native.ready(),
    "images": sorted({int(n) for n in images}),
    "calls": len(lines),
    "apart": max(jax.tree.leaves(apart)),
  }


found = {"calls": calls()}
jax.config.update("jax_enable_x64", True)
found["equality"], found["changed"] = equality(sys.argv[1])
print(json.dumps(found))
