"""`tools/benchmark.py --gpu` without a GPU: end to end on the CPU, and programs for CUDA."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import benchmark_gpu
import benchmark_gpu_work
import benchmark_trace
import jax
import jax.numpy as jnp
import pytest
import tiny
from benchmark_gpu import Row

from tdfusion_jax.ops.platform import made_for

ROOT = Path(__file__).parents[1]
TINY = {**tiny.NETWORKS, "task.kind": "batchnorm_task:task", "data.batch_size": 2}
TINY |= {"data.task_size": (16, 32), "data.crop_size": (8, 16)}
QUICK = {"turns": 2, "least_s": 0.0}
MACHINE = Row("the card", "machine", "", (64, 64, 1), sides=(), **QUICK)


def test_without_a_gpu_it_says_so_as_an_error_of_usage():
  command = [sys.executable, str(ROOT / "tools/benchmark.py"), "--gpu"]
  env = {**os.environ, "JAX_PLATFORMS": "cpu"}
  ran = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
  assert ran.returncode == 2
  assert "JAX finds no GPU here (its devices are: cpu)" in ran.stderr
  assert not ran.stdout


def test_rows_cover_networks_numbers_and_batches():
  forward = {(row.network, row.dtype, row.size) for row in benchmark_gpu.ROWS if not row.config}
  for network in ("f", "fast"):
    for dtype in ("float32", "bfloat16"):
      for batch in (1, 4, 16, 64):
        assert (network, dtype, (480, 640, batch)) in forward
  steps = {(row.work, row.config) for row in benchmark_gpu.ROWS if row.config}
  assert {("g_step", "llvip_det"), ("ft_step", "llvip_det"), ("g_step", "msrs_seg")} <= steps


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  """Tiny networks on the CPU, by the worker that a GPU would have."""
  forward = ("forward", "bfloat16", (16, 24, 4), "tiny:fuser")
  rows = [
    Row("F", *forward, sides=(), **QUICK),
    Row("step", "ft_step", "float32", config="msrs_seg", changes=TINY, sides=(), **QUICK),
    Row("broken", "forward", "float32", (16, 24, 1), "tiny:nothing", sides=(), **QUICK),
  ]
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    patch.setenv("JAX_PLATFORMS", "cpu")
    kept = []
    found = benchmark_gpu.measure(rows, "cpu", MACHINE, lambda m: kept.append(len(m.rows)))
  assert kept == [1, 2, 3]
  return found


def test_it_measures_end_to_end(measured):
  """Expected sizes: two images in and one out, 16x24x4 of two bytes, are all of 9 KiB."""
  row, step, broken = (row["ours"] for row in measured.rows)
  assert row["s"] > 0 and row["compile_s"] > 0 and row["mb"] is None  # a CPU has no own memory
  images = 3 * 16 * 24 * 4 * 2 / 2**20
  assert images < row["compiler_mb"] < 10 * images
  # 2 x 9 x 2 operations of the one convolution at each pixel, but for the border; and the sigmoid.
  assert 0.8 * 36 < row["flop"] / (16 * 24 * 4) < 2 * 36
  for each in (row, step):
    assert each["profile"]["device_s"] > 0
    assert sum(each["profile"]["shares"].values()) == pytest.approx(1)
    assert each["profile"]["top"] and each["unwanted"] == []
  assert row["profile"]["shares"]["convolution"] > 0
  assert "tiny" in broken["failed"]
  assert measured.machine["tflops"]["bfloat16"] > 0 and measured.machine["copy_gbytes"] > 0


def test_the_report_has_a_line_for_each_row(measured):
  text = benchmark_gpu.report(measured)
  lines = [line for line in text.splitlines() if line.startswith("| F |")]
  times, shares = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
  row = measured.rows[0]["ours"]
  assert times[1] == f"{1e3 * row['s']:.3f}" and times[4] == f"{4 / row['s']:.1f}"
  assert len(shares) == 2 + len(benchmark_trace.KINDS)
  assert any(line.startswith("| broken |") and "tiny" in line for line in text.splitlines())
  assert json.loads(json.dumps(measured._asdict()))


def test_columns_of_a_pytorch_without_the_gpu_stay_empty(monkeypatch):
  monkeypatch.setattr(benchmark_gpu.importlib.util, "find_spec", lambda name: None)
  assert benchmark_gpu.torch_of("gpu") == (
    False,
    "PyTorch is not installed: its columns are empty",
  )


@pytest.mark.torch
@pytest.mark.parametrize("work", ["forward", "meta_small"])
def test_pytorch_s_side_computes_on_the_device_that_it_is_given(work, request):
  torch = pytest.importorskip("torch")
  request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
  torch.set_num_threads(1)  # several wait for each other for long where other programs run
  row = Row("F", work, "float32", (16, 16, 1), sides=("eager",), **QUICK)
  found = benchmark_gpu_work.torch_measured({**row._asdict(), "side": "eager", "device": "cpu"})
  assert found["s"] > 0 and found["mb"] is None


def test_what_a_fusion_is_depends_on_what_it_holds():
  """Expected: read off a program that was written by hand after XLA's."""
  text = """HloModule m

%sums (a: f32[]) -> f32[] {
  ROOT %add.9 = f32[] add(%a, %a)
}

%fused_computation.1 (p: f32[4,4]) -> f32[4] {
  %p = f32[4,4]{1,0} parameter(0)
  ROOT %reduce.2 = f32[4]{0} reduce(%p, %p), dimensions={1}, to_apply=%sums
}

%fused_computation.2 (p: f32[4]) -> (f32[4], /*index=1*/f32[4]) {
  %multiply.1 = f32[4]{0} multiply(%p, %p)
  ROOT %tuple.1 = (f32[4]{0}, /*index=1*/f32[4]{0}) tuple(%multiply.1, %multiply.1)
}

ENTRY %main (x: f32[4,4]) -> f32[4] {
  %sum = f32[4]{0} fusion(%x), calls=%fused_computation.1, metadata={op_name="jit(f)/norm"}
  %loop = (f32[4]{0}, /*index=1*/f32[4]{0}) fusion(%x), kind=kLoop, calls=%fused_computation.2
  %turned = f32[4,4]{0,1} transpose(%x), dimensions={1,0}
  %cudnn-conv.3 = (f32[4]{0}, u8[0]{0}) custom-call(%x), custom_call_target="__cudnn$convForward"
  %gemm = f32[4]{0} custom-call(%x), custom_call_target="__cublas$gemm"
  %around = f32[4]{0} while(%x), condition=%sums, body=%sums
}
"""
  found = benchmark_trace.kinds(text)
  assert found["sum"] == ("sum", "jit(f)/norm")
  assert {name: kind for name, (kind, _) in found.items() if name in KINDS_BY_HAND} == KINDS_BY_HAND
  assert "around" not in found  # its body's operations are counted
  # A kernel of a recorded graph has its own name only, which is its operation's but for the dots.
  spent = {"cudnn_conv_3": 3.0, "sm90_xmma_gemm_bf16": 1.0, "while.2": 9.0}
  shares = benchmark_trace._summary(spent, found, 1)
  assert shares["device_s"] == 4 and shares["shares"]["convolution"] == 0.75
  assert shares["shares"]["matrix product"] == 0.25
  assert shares["top"] == [("cudnn_conv_3", 0.75, "convolution", "")]


KINDS_BY_HAND = {
  "loop": "element by element",
  "turned": "copy",
  "cudnn-conv.3": "convolution",
  "gemm": "matrix product",
}


def test_what_should_not_be_in_a_program_is_found():
  looped = jax.jit(lambda x: jax.lax.fori_loop(0, x[0].astype(int), lambda i, y: y + i, x))
  assert benchmark_gpu_work.unwanted(looped.lower(jnp.ones(3)).as_text()) == ["1 loops"]
  with jax.enable_x64(True):
    doubled = jax.jit(lambda x: x + 1).lower(jnp.ones(3)).as_text()
  assert benchmark_gpu_work.unwanted(doubled) == ["float64"]


IMAGES = (480, 640, 4)
STEP = {"task.kind": "batchnorm_task:task", "data.task_size": (128, 96), "data.batch_size": 3}
FOR_CUDA = [
  *(Row("", "forward", dtype, IMAGES, "f") for dtype in ("float32", "bfloat16")),
  *(Row("", "forward", dtype, IMAGES, "fast") for dtype in ("float32", "bfloat16")),
  Row("", "ft_step", "bfloat16", config="msrs_seg", changes=STEP),
]


@pytest.mark.parametrize("row", FOR_CUDA, ids=lambda row: f"{row.work} {row.network} {row.dtype}")
def test_programs_for_cuda_hold_nothing_that_slows_them(row):
  """No loops over strips or images, no float64, no machine code, no picking of a batch's rows."""
  with made_for("gpu"):
    made = benchmark_gpu_work.made(row._asdict())
    lowered = made.function.trace(*made.arguments).lower(lowering_platforms=("cuda",))
  text = lowered.as_text()
  assert benchmark_gpu_work.unwanted(text) == []
  assert "tdfusion_" not in text
  assert ("xbf16" in text) == (row.dtype == "bfloat16")
  batch = 3 if row.config else 4
  gathered = re.findall(rf"stablehlo\.gather.*: \(tensor<{batch}x\d+x\d+x[^>]*>", text)
  assert not gathered
