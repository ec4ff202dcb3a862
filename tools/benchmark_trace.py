"""Where the time of a compiled program goes, from a trace of JAX's profiler.

The profiler names the operations that ran, and the compiler's text says what each of them holds.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOVES = {
  *("parameter", "constant", "iota", "tuple", "get-tuple-element", "copy", "transpose", "reshape"),
  *("bitcast", "broadcast", "slice", "dynamic-slice", "dynamic-update-slice", "concatenate", "pad"),
  *("reverse", "convert", "bitcast-convert", "copy-start", "copy-done"),
}
"""Opcodes that compute nothing."""
_AROUND = {"while", "conditional", "call", "async-start", "async-done", "tuple", "parameter"}
"""Opcodes whose time is that of what they call."""
KINDS = ("convolution", "matrix product", "sum", "element by element", "copy", "other")
_OF_LIBRARIES = (  # kinds of calls and kernels by words of their names
  ("convolution", ("conv", "dnn", "winograd", "dgrad", "wgrad", "fprop")),
  ("matrix product", ("gemm", "cublas", "matmul", "dot", "cutlass", "nvjet", "xmma")),
  ("copy", ("memcpy", "memset", "copy", "transpose")),
  ("sum", ("reduce",)),
)


def kinds(text: str) -> dict[str, tuple[str, str]]:
  """{operation: (its kind, what it belongs to)} of a compiled program.

  A fusion that holds a convolution is one, whatever else it holds; else a product; else a sum.

  Args:
    text: of the program, as `compiled.as_text()` has it.
  """
  bodies, lines = _computations(text)
  found = {}
  for name, (opcode, line) in lines.items():
    if opcode not in _AROUND:
      origin = re.search(r'op_name="([^"]*)"', line)
      found[name] = _kind(opcode, line, bodies), origin.group(1) if origin else ""
  return found


def _computations(text: str) -> tuple[dict[str, set[str]], dict[str, tuple[str, str]]]:
  """{computation: its opcodes}, and {operation: (opcode, line)}."""
  bodies: dict[str, set[str]] = defaultdict(set)
  lines, computation = {}, ""
  for line in text.splitlines():
    operation = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = (.*)", line)
    head = re.match(r"\s*(?:ENTRY )?%?([\w.\-]+) .*\{\s*$", line)
    if head and not operation:
      computation = head.group(1)
    if operation:
      name, rest = operation.groups()
      opcode = re.search(r"(?:^|[\s)}\]])([a-z][\w\-]*)\(", rest)
      if opcode:
        bodies[computation].add(opcode.group(1))
        lines[name] = opcode.group(1), rest
  return bodies, lines


def _kind(opcode: str, line: str, bodies: dict[str, set[str]]) -> str:
  if opcode == "custom-call":
    target = re.search(r'custom_call_target="([^"]*)"', line)
    return _by_name(target.group(1) if target else "")
  held = {opcode}
  if opcode == "fusion":
    called = re.search(r"calls=%?([\w.\-]+)", line)
    held = bodies[called.group(1)] if called else set()
  if "convolution" in held:
    return "convolution"
  if "dot" in held:
    return "matrix product"
  if held & {"reduce", "reduce-window", "scatter"}:
    return "sum"
  return "copy" if held <= MOVES else "element by element"


def _by_name(name: str) -> str:
  for kind, words in _OF_LIBRARIES:
    if any(word in name.lower() for word in words):
      return kind
  return "other"


def where_time_goes(
  run: Callable[[], Any], text: str, turns: int = 3, top: int = 5
) -> dict[str, Any] | None:
  """What the device did, in seconds a run. None if the profiler saw no operation.

  Args:
    run: does the work once and waits for it.
    text: of the compiled program.
    turns: how often it is run under the profiler.
    top: how many operations are listed.

  Returns:
    "device_s": seconds of all operations, {kind: share of it} as "shares", and "top": the dearest
    operations, each with its share, kind, and what it belongs to.
  """
  import jax

  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      for _ in range(turns):
        run()
    files = list(Path(folder).rglob("*.xplane.pb"))
    if not files:
      return None
    seconds: dict[str, float] = defaultdict(float)
    for name, nanoseconds in _operations(jax.profiler.ProfileData.from_file(str(files[0]))):
      seconds[name] += nanoseconds / 1e9 / turns
  return _summary(seconds, kinds(text), top)


def _operations(data: Any) -> Iterator[tuple[str, float]]:
  """(operation or kernel, nanoseconds) of everything that ran."""
  on_devices = [plane for plane in data.planes if plane.name.startswith("/device:")]
  for plane in on_devices or data.planes:
    # Beside the streams a device's plane may have lines that sum them up.
    streams = [line for line in plane.lines if line.name.startswith("Stream")]
    for line in streams or plane.lines:
      for event in line.events:
        operation = dict(event.stats).get("hlo_op")
        if operation and not event.name.startswith("end: "):
          yield str(operation), event.duration_ns
        elif streams:  # a kernel of a recorded graph: it has its own name only
          yield event.name, event.duration_ns


def _summary(
  seconds: dict[str, float], known: dict[str, tuple[str, str]], top: int
) -> dict[str, Any] | None:
  # Kernels are called like their operations, with other marks between the words.
  by_kernel = {re.sub(r"\W", "_", name): name for name in known}
  shares: dict[str, float] = dict.fromkeys(KINDS, 0.0)
  each = []
  for name, spent in seconds.items():
    operation = name if name in known else by_kernel.get(re.sub(r"\W", "_", name), "")
    if operation:
      kind, origin = known[operation]
    elif re.match(r"(while|conditional|call)\b", name):
      continue
    else:
      kind, origin = _by_name(name), ""
    shares[kind] += spent
    each.append((spent, name, kind, origin))
  total = sum(shares.values())
  if not total:
    return None
  each.sort(reverse=True)
  return {
    "device_s": total,
    "shares": {kind: spent / total for kind, spent in shares.items()},
    "top": [(name, spent / total, kind, origin) for spent, name, kind, origin in each[:top]],
  }
