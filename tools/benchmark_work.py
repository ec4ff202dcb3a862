"""One piece of work on one side, measured in a process that `tools/benchmark.py` starts.

Speaks lines of JSON: after preparation `{"compile_s": .., "backend": ..}`, then for every line on
standard input one run and `{"s": .., "cpu_s": .., "mb": .., "process_mb": ..}`: the seconds it took
by the clock and of the processor, the peak memory above what the prepared process had, and the peak
of the whole process (Linux); on a GPU both are the device's own peak.
"""

import ctypes
import json
import sys
import time
from pathlib import Path

from benchmark_ours import ROOT, config_step, ours
from benchmark_rivals import openvino, torch_config_step, torch_side


def _memory(what: str) -> float:
  """MiB of this process: "VmRSS" now, or "VmHWM" at its peak since `_forget_peak`."""
  for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith(what):
      return int(line.split()[1]) / 1024
  raise OSError(f"no {what} in /proc/self/status")


def _device_peak() -> float | None:
  """MiB that the accelerator held at most, None on a CPU."""
  import jax

  device = jax.devices()[0]
  return (
    None
    if device.platform == "cpu"
    else (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20
  )


def _forget_peak() -> None:
  """What imports and the compiler needed for a moment is not what the work needs."""
  ctypes.CDLL(None).malloc_trim(0)
  Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
  """Prepares what the command line names, and answers lines of standard input."""
  side, work, *size = sys.argv[1:]
  sys.path.insert(0, str(ROOT))
  talk, sys.stdout = sys.stdout, sys.stderr  # libraries print; the driver listens
  __import__({"ours": "jax", "openvino": "numpy"}.get(side, "torch"))
  began = time.perf_counter()
  if work in ("g_step", "ft_step"):
    run = config_step(work, *size) if side == "ours" else torch_config_step(size[0])
  else:
    height, width, batch = map(int, size)
    if side in ("ours", "openvino"):
      run = (ours if side == "ours" else openvino)(work, height, width, batch)
    else:
      run = torch_side(side, work, (height, width, batch))
  if side in ("compile", "ort"):
    run()  # what torch.compile and ONNX Runtime prepare at the first call
  backend = sys.modules["jax"].default_backend() if side == "ours" else "cpu"
  print(
    json.dumps({"compile_s": time.perf_counter() - began, "backend": backend}),
    file=talk,
    flush=True,
  )
  _forget_peak()
  before = _memory("VmRSS")
  for _ in sys.stdin:
    began, cpu_began = time.perf_counter(), time.process_time()
    run()
    seconds, peak = time.perf_counter() - began, _memory("VmHWM")
    cpu_seconds = time.process_time() - cpu_began
    on_device = _device_peak() if side == "ours" else None
    own = peak - before if on_device is None else on_device
    answer = {"s": seconds, "cpu_s": cpu_seconds, "mb": own, "process_mb": peak}
    print(json.dumps(answer), file=talk, flush=True)


if __name__ == "__main__":
  main()
