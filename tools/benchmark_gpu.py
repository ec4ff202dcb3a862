"""The rows of `tools/benchmark.py --gpu`: F, the fast F and the learning steps on a GPU.

Each side of each row runs in a process of its own, one after the other, so that each has the whole
card. PyTorch's side is the counterpart in `tests/oracles`; without a PyTorch that finds the card
its columns stay empty, and a line says so.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmark_trace import KINDS

WORKER = Path(__file__).with_name("benchmark_gpu_work.py")
BATCHES = (1, 4, 16, 64)
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "OutOfMemoryError", "out of memory")


class Row(NamedTuple):
  """A piece of work, and how it is measured."""

  name: str
  work: str
  """"forward", "f_step", "meta_small", "g_step" or "ft_step"."""
  dtype: str
  size: tuple[int, int, int] = (0, 0, 0)
  """Height, width, batch; those of `config` if there is one."""
  network: str = "f"
  """What fuses in "forward": "f", "fast", or the `module:function` of your own."""
  config: str = ""
  """File in `configs` whose step this is."""
  changes: Mapping[str, Any] = MappingProxyType({})
  """{field: value} of the config."""
  sides: tuple[str, ...] = ("eager", "compile")
  """Of PyTorch."""
  turns: int = 7
  least_s: float = 0.3
  """Seconds that a turn lasts at least."""


def _forward(name: str, network: str, sides: tuple[str, ...]) -> list[Row]:
  return [
    Row(
      f"{name}, batch {batch}, {dtype}", "forward", dtype, (480, 640, batch), network, sides=sides
    )
    for dtype in ("float32", "bfloat16")
    for batch in BATCHES
  ]


def _steps(config: str) -> list[Row]:
  return [
    # PyTorch's is the gradient for G alone, with a T of two convolutions: less work.
    Row(f"{name} of {config}, {dtype}", work, dtype, config=config, sides=sides)
    for name, work, sides in (("G-step", "g_step", ("eager",)), ("F/T-step", "ft_step", ()))
    for dtype in ("float32", "bfloat16")
  ]


ROWS = [
  *_forward("F 480x640", "f", ("eager", "compile")),
  *_forward("fast F 480x640", "fast", ()),
  Row("F step 256x256, batch 2", "f_step", "float32", (256, 256, 2)),
  Row("meta-gradient 256x256, batch 2, small T", "meta_small", "float32", (256, 256, 2)),
  *_steps("llvip_det"),
  *_steps("msrs_seg"),
]
_MACHINE = Row("the card", "machine", "", (8192, 8192, 1), sides=())


class Measured(NamedTuple):
  """What a run of the tool found."""

  machine: dict[str, Any]
  torch: str
  """Its version, or why its columns are empty."""
  rows: list[dict[str, Any]]
  """A row's name, and what each side measured or {"failed": why}."""


def measure(
  rows: Sequence[Row],
  device: str = "gpu",
  machine: Row = _MACHINE,
  tell: Callable[[Measured], None] = lambda measured: None,
) -> Measured:
  """Measures all rows.

  Args:
    rows: of `ROWS`, or others.
    device: "gpu"; "cpu" checks this tool where there is none.
    machine: how large the products are that show what the card can do.
    tell: is called after each row with all that is known by then.
  """
  has_torch, torch = torch_of(device)
  measured = Measured(_side("ours", machine, device, worker_side="machine"), torch, [])
  for row in rows:
    print(f"{row.name} ...", file=sys.stderr, flush=True)
    sides = ("ours", *(row.sides if has_torch else ()))
    each = {side: _side(side, row, device) for side in sides}
    measured.rows.append({"work": row.name, "batch": row.size[2], **each})
    tell(measured)
  return measured


def _side(side: str, row: Row, device: str, worker_side: str = "") -> dict[str, Any]:
  """What a worker process measured, or {"failed": why}."""
  told = {**row._asdict(), "side": worker_side or side, "device": device}
  told["changes"] = dict(row.changes)
  command = [sys.executable, str(WORKER), json.dumps(told)]
  ended = subprocess.run(command, capture_output=True, text=True, check=False)
  if ended.returncode == 0:
    return json.loads(ended.stdout.splitlines()[-1])
  if any(words in ended.stderr for words in _NO_MEMORY):
    return {"failed": "out of memory"}
  lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
  print(f"  {row.name}, {side}: {lines[-1]}", file=sys.stderr)
  return {"failed": lines[-1]}


def platform() -> str:
  """Where JAX computes, such as "gpu"; asked in another process, which leaves the card again."""
  ask = "import jax; print(jax.default_backend())"
  answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
  return answer.stdout.strip() or "none: " + (answer.stderr.strip().splitlines() or [""])[-1]


def torch_of(device: str) -> tuple[bool, str]:
  """(whether PyTorch can be measured on the device, its version or why not)."""
  if not importlib.util.find_spec("torch"):
    return False, "PyTorch is not installed: its columns are empty"
  if device == "cpu":
    return True, f"torch {version('torch')}"
  ask = "import torch; print(torch.cuda.is_available())"
  answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
  if answer.stdout.strip() != "True":
    return False, f"torch {version('torch')} finds no GPU: PyTorch's columns are empty"
  return True, f"torch {version('torch')}"


def report(measured: Measured) -> str:
  """Markdown: the card, time and memory, where the time goes, and what should not be so."""
  parts = [_about(measured), _times(measured.rows), _shares(measured.rows), _dearest(measured.rows)]
  strange = [
    f"- {row['work']}: its program holds {', '.join(row['ours']['unwanted'])}."
    for row in measured.rows
    if row["ours"].get("unwanted")
  ]
  if strange:
    parts.append("Programs that hold what slows them on a GPU:\n\n" + "\n".join(strange))
  return "\n\n".join(parts)


def _about(measured: Measured) -> str:
  found = measured.machine
  if "failed" in found:
    return f"What this machine can do could not be measured ({found['failed']}); {measured.torch}."
  return (
    f"{found['device']} ({found['platform']}); jax {version('jax')}, {measured.torch}. At best it "
    f"multiplies matrices at {_number(found['tflops']['bfloat16'], 1)} TFLOP/s in bfloat16 and "
    f"{_number(found['tflops']['float32'], 1)} in float32, and copies "
    f"{_number(found['copy_gbytes'], 0)} GB/s. float32 products may be TF32, on both sides."
  )


def _times(rows: list[dict[str, Any]]) -> str:
  header = (
    *("work", "ours ms", "eager ms", "compile ms", "images/s", "eager/ours", "compile/ours"),
    *("ours MiB", "compiler's MiB", "eager MiB", "compile MiB", "TFLOP/s", "GB/s", "start s"),
  )
  return _table(header, [_time_cells(row) for row in rows])


def _time_cells(row: dict[str, Any]) -> list[str]:
  ours, eager, compiled = (row.get(side, {}) for side in ("ours", "eager", "compile"))
  own, per_image = ours.get("s"), row["batch"]

  def rate(amount: str, scale: float) -> float | None:
    return ours[amount] / own / scale if own and ours.get(amount) else None

  def ratio(side: dict[str, Any]) -> float | None:
    return side["s"] / own if own and side.get("s") else None

  return [
    row["work"],
    *(side.get("failed") or _number(side.get("s"), 3, 1e3) for side in (ours, eager, compiled)),
    _number(per_image / own if own and per_image else None, 1),
    _number(ratio(eager), 2),
    _number(ratio(compiled), 2),
    _number(ours.get("mb"), 0),
    _number(ours.get("compiler_mb"), 0),
    _number(eager.get("mb"), 0),
    _number(compiled.get("mb"), 0),
    _number(rate("flop", 1e12), 2),
    _number(rate("bytes", 1e9), 0),
    _number(ours.get("compile_s"), 0),
  ]


def _shares(rows: list[dict[str, Any]]) -> str:
  """Where the time goes, by kinds of operations."""
  cells = []
  for row in rows:
    profile, own = row["ours"].get("profile"), row["ours"].get("s")
    if profile:
      each = [_number(profile["shares"][kind], 0, 100) for kind in KINDS]
      cells.append([row["work"], _number(profile["device_s"] / own, 0, 100), *each])
    elif own:
      cells.append([row["work"], "the profiler saw no operation", *[""] * len(KINDS)])
  return _table(("% of the time", "device at work", *KINDS), cells)


def _dearest(rows: list[dict[str, Any]]) -> str:
  lines = ["The dearest operations of each row:", ""]
  for row in rows:
    for name, share, kind, origin in (row["ours"].get("profile") or {}).get("top", ()):
      whose = f", of `{origin}`" if origin else ""
      lines.append(f"- {row['work']}: {_number(share, 0, 100)} % `{name}` ({kind}){whose}")
  return "\n".join(lines)


def _table(header: Sequence[str], cells: list[list[str]]) -> str:
  lines = [header, ["---"] * len(header), *cells]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None, digits: int, times: float = 1.0) -> str:
  return "" if value is None else f"{value * times:.{digits}f}"
