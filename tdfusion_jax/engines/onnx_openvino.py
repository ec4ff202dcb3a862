"""F by OpenVINO, which reads the ONNX graph: float32, or bfloat16 where the processor has it."""

import sys
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from tdfusion_jax.engines.onnx import EngineError, fusion_model
from tdfusion_jax.files import first_line

_SIZES = 4


def openvino_infer(params: Mapping[str, Any], *, half: bool = False) -> Callable:
  """F by OpenVINO on the CPU: two luminances [B, H, W, 1] float32 -> the fused one.

  Each size is compiled when it first comes, in half a second; the last few are kept.

  Args:
    params: of F.
    half: in bfloat16, by OpenVINO's hint: a processor without it computes in float32. Sums are
      rounded to bfloat16 as well, so it differs from float32 more than machine code does.

  Raises:
    EngineError: the onnx or openvino package is missing, or cannot be used here.
  """
  try:
    openvino = openvino_package()
    graph = fusion_model(params).SerializeToString()
  except ImportError:
    raise EngineError(
      "this backend needs OpenVINO and ONNX: pip install 'tdfusion-jax[openvino]'"
    ) from None
  # Its own choice on a processor with bfloat16 is that: float32 has to be asked for.
  how = {"INFERENCE_PRECISION_HINT": "bf16" if half else "f32", "PERFORMANCE_HINT": "LATENCY"}
  core = openvino.Core()
  one_at_a_time = threading.Lock()

  # One program for all sizes takes a third longer in bfloat16.
  @lru_cache(maxsize=_SIZES)
  def compiled(shape: tuple[int, ...]) -> Callable:
    model = core.read_model(graph, b"")
    model.reshape(dict.fromkeys(("ir", "vi"), list(shape)))
    return core.compile_model(model, "CPU", how)

  def infer(ir, vi):
    try:
      with one_at_a_time:  # a run uses all cores; two at once use up each other's cache
        return compiled(ir.shape)({"ir": ir, "vi": vi})["fused"].copy()
    except RuntimeError as error:
      raise EngineError(f"OpenVINO cannot compute F here: {first_line(error)}") from error

  return infer


def openvino_package() -> Any:
  """The package, without what reports to its makers that it was imported.

  It does so at once, from a forked process, beside which JAX's threads hang. Without the package
  that reports it takes a stand-in of its own that does nothing.
  """
  if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
    try:
      import openvino  # pyright: ignore[reportMissingImports]
    finally:
      del sys.modules["openvino_telemetry"]
    return openvino
  import openvino  # pyright: ignore[reportMissingImports]

  return openvino
