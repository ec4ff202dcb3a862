"""One side of one row of `tools/benchmark.py --gpu`, in a process of its own.

Its argument is the row as JSON, see `benchmark_gpu.Row`; its last line is what it measured. The
`device` is "gpu"; "cpu" checks these tools where there is no GPU.
"""

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmark_ours import ROOT, Program, forward, program, step
from benchmark_rivals import torch_config_step, torch_side
from benchmark_trace import where_time_goes

_MIB = 2**20


def made(row: dict[str, Any]) -> Program:
  """This package's program for a row."""
  if row["config"]:
    return step(row["work"], row["config"], {"train.dtype": row["dtype"], **row["changes"]})
  if row["work"] == "forward":
    return forward(row["network"], row["dtype"], *row["size"])
  return program(row["work"], *row["size"])


def unwanted(text: str) -> list[str]:
  """What slows a program for GPUs, and should not be in it.

  Args:
    text: of the program as it was lowered, StableHLO.
  """
  loops, doubles = len(re.findall(r"stablehlo\.while", text)), re.search(r"\bf64\b", text)
  return [*([f"{loops} loops"] if loops else []), *(["float64"] if doubles else [])]


def ours(row: dict[str, Any]) -> dict[str, Any]:
  """Time, memory, and where the time goes, of this package's side."""
  import jax

  made_program = made(row)
  began = time.perf_counter()
  lowered = made_program.function.lower(*made_program.arguments)
  compiled = lowered.compile()
  compile_s = time.perf_counter() - began

  def once() -> Any:
    return compiled(*made_program.arguments)

  def run() -> None:
    jax.block_until_ready(once())

  run()
  peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
  measured = {
    "compile_s": compile_s,
    "mb": None if peak is None else peak / _MIB,
    "compiler_mb": _compiler_mb(compiled),
    "unwanted": unwanted(lowered.as_text()),
    **_cost(compiled),
    **clock(once, jax.block_until_ready, row),
  }
  return {**measured, "profile": where_time_goes(run, compiled.as_text())}


def _compiler_mb(compiled: Any) -> float | None:
  """MiB of arguments, results and what lies between, by the compiler's own analysis."""
  found = compiled.memory_analysis()
  if found is None:
    return None
  held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
  return (held + found.temp_size_in_bytes) / _MIB


def _cost(compiled: Any) -> dict[str, float | None]:
  """Operations and bytes read and written in a run, by the compiler's own analysis."""
  found = compiled.cost_analysis() or {}
  return {"flop": found.get("flops"), "bytes": found.get("bytes accessed")}


def clock(once: Callable[[], Any], wait: Callable, row: dict[str, Any]) -> dict[str, float]:
  """Seconds of a run: the median of turns, each of as many runs as make it long enough.

  Args:
    once: begins the work.
    wait: waits for what `once` returned.
    row: its `turns`, and `least_s`, the seconds that a turn lasts at least.
  """
  began = time.perf_counter()
  wait(once())
  runs = max(1, round(row["least_s"] / (time.perf_counter() - began)))
  turns = []
  for _ in range(row["turns"]):
    began = time.perf_counter()
    for _ in range(runs - 1):
      once()
    wait(once())
    turns.append((time.perf_counter() - began) / runs)
  middle = statistics.median(turns)
  return {"s": middle, "spread": (max(turns) - min(turns)) / middle}


def torch_measured(row: dict[str, Any]) -> dict[str, Any]:
  """Time and memory of PyTorch's side."""
  import torch  # pyright: ignore[reportMissingImports]

  on_gpu = row["device"] == "gpu"
  device, began = "cuda" if on_gpu else "cpu", time.perf_counter()
  if row["config"]:
    run = torch_config_step(row["config"], device, row["dtype"])
  else:
    run = torch_side(row["side"], row["work"], tuple(row["size"]), device, row["dtype"])

  def wait(_: Any) -> None:
    if on_gpu:
      torch.cuda.synchronize()

  wait(run())  # what torch.compile and cuDNN's search prepare at the first call
  compile_s = time.perf_counter() - began
  mb = None
  if on_gpu:
    torch.cuda.reset_peak_memory_stats()
    wait(run())
    mb = torch.cuda.max_memory_allocated() / _MIB
  return {"compile_s": compile_s, "mb": mb, **clock(run, wait, row)}


def machine(row: dict[str, Any]) -> dict[str, Any]:
  """The card, and what it can do at best: products of large matrices, and a copy."""
  import jax
  import jax.numpy as jnp

  device, (side, _, _) = jax.devices()[0], row["size"]
  best = {}
  for dtype in ("float32", "bfloat16"):
    a = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul)
    spent = clock(lambda a=a, product=product: product(a, a), jax.block_until_ready, row)["s"]
    best[dtype] = 2 * side**3 / spent / 1e12
  big = jnp.ones((4 * side, side))
  more = jax.jit(lambda x: x + 1)
  copy = 2 * big.nbytes / clock(lambda: more(big), jax.block_until_ready, row)["s"] / 1e9
  about = {"device": device.device_kind, "platform": device.client.platform_version.split("\n")[0]}
  return {**about, "tflops": best, "copy_gbytes": copy}


def main() -> None:
  """Measures the row that the command line holds."""
  row = json.loads(sys.argv[1])
  sys.path.insert(0, str(ROOT))
  talk, sys.stdout = sys.stdout, sys.stderr  # libraries print; the driver listens
  measure = {"ours": ours, "machine": machine}.get(row["side"], torch_measured)
  print(json.dumps(measure(row)), file=talk, flush=True)


if __name__ == "__main__":
  main()
