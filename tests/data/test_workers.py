"""Processes that load: the same batches, and no JAX."""

import os
import subprocess
import sys

WORKERS = """
import numpy as np
from tdfusion_jax.data import StepOptions, StepSource, get_source, make_dataset
from tdfusion_jax.fusing import make_fuse_fn

def total(views):
  boxes = views.whole.target.boxes
  return float(views.crop.ir.sum() + 3 * views.whole.vi.sum() + boxes.sum())

def half(params, ir, vi):
  return (ir + vi) / 2

def main():
  image = np.zeros((1, 8, 8, 1), np.float32)
  np.asarray(make_fuse_fn(half, {})(image, image))  # JAX's threads run: a fork would hang
  source = get_source("synthetic_det", size=(32, 40), count=6)
  options = StepOptions(
    epochs=1, g_steps=2, batch_size=2, meta_pairs=3, crop_size=(16, 16), task_size=(32, 40)
  )
  steps = StepSource(source, options)
  for workers in (0, 2):
    rows = [
      [total(views) for views in batch.values()]
      for batch in make_dataset(steps, start_step=1, num_workers=workers)
    ]
    print(workers, rows)

if __name__ == "__main__":
  main()
"""


def test_workers_do_not_change_batches(tmp_path):
  script = tmp_path / "run.py"
  script.write_text(WORKERS)
  root = __file__.rsplit("tests", 1)[0]
  done = subprocess.run(
    [sys.executable, str(script)],
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
    env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
  )
  assert done.returncode == 0, done.stderr[-2000:]
  lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line[:2] in ("0 ", "2 ")]
  assert (
    [line[0] for line in lines] == ["0", "2"]
    and lines[0][1] == lines[1][1]
    and len(lines[0][1]) > 20
  )


def test_data_needs_no_jax(tmp_path):
  code = (
    "import sys, tdfusion_jax.data; "
    "sys.exit(any(m == 'jax' or m.startswith('jax.') for m in sys.modules))"
  )
  root = __file__.rsplit("tests", 1)[0]
  assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
