"""F as a file that runs without this package: StableHLO for JAX, ONNX for everything else."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

import tdfusion_jax
from tdfusion_jax import fusers
from tdfusion_jax.engines.anysize import Room, fuse_flat, ground_of
from tdfusion_jax.engines.onnx import EngineError, fusion_model, onnx_session
from tdfusion_jax.engines.onnx_fast import fast_model
from tdfusion_jax.files import atomic_write, first_line

FORMATS = ("stablehlo", "onnx")
TOLERANCE = 1e-5
PLATFORMS = ("cpu", "cuda")
_CHECKED = ((1, 33, 47), (2, 61, 29))  # batch, height, width
_GRAPHS = {fusers.F_ARCHITECTURE: fusion_model, fusers.FAST_ARCHITECTURE: fast_model}


class ExportError(EngineError):
  """A file that could not be made, or whose numbers differ."""


class Artifact(NamedTuple):
  """A file that was written."""

  path: Path
  card: Path
  difference: float
  """The largest to the Flax model, over the sizes that were checked."""


def export_fusion(
  fuse_fn: Callable,
  params: Any,
  out_dir: str | Path,
  *,
  weights_file: str | Path,
  formats: tuple[str, ...] = FORMATS,
) -> list[Artifact]:
  """Writes `fusion.stablehlo`, `fusion.onnx` and a JSON card beside each.

  All accept `ir`, `vi` [batch, height, width, 1] float32 in [0, 1], any sizes, and return `fused`,
  equally shaped. Their numbers are compared with the network's before anything is written.

  Args:
    fuse_fn: from `fusers.load_fusion`.
    params: of `fuse_fn`.
    out_dir: made if needed.
    weights_file: where `params` come from; its hash goes into the cards.
    formats: of those that `formats_of` gives.

  Raises:
    ExportError: a network that has no such form, a missing package, or a difference above 1e-5;
      nothing of that format is left then.
  """
  if "onnx" in formats and "onnx" not in formats_of(fuse_fn):
    raise ExportError(
      f"ONNX is for F and the fast network alone, and {weights_file} holds {_called(fuse_fn)}: "
      "--format stablehlo."
    )
  references = _references(fuse_fn, params)
  artifacts = []
  for name in formats:
    data = _onnx(fuse_fn, params) if name == "onnx" else _stablehlo(fuse_fn, params)
    run = _run_onnx(data) if name == "onnx" else _run_stablehlo(data)
    difference = max(float(np.abs(run(ir, vi) - fused).max()) for ir, vi, fused in references)
    if not difference <= TOLERANCE:
      raise ExportError(
        f"{name}: differs from {_called(fuse_fn)} by {difference:.1e}, more than {TOLERANCE:g}; "
        "nothing was written."
      )
    path = Path(out_dir) / f"fusion.{name}"
    card = path.with_name(path.name + ".json")
    about = _card(name, data, Path(weights_file), difference, fuse_fn)
    _write(path, data)
    _write(card, (json.dumps(about, indent=2) + "\n").encode())
    artifacts.append(Artifact(path, card, difference))
  return artifacts


def formats_of(fuse_fn: Callable) -> tuple[str, ...]:
  """The formats that there are for a network from `fusers.load_fusion`."""
  return FORMATS if _architecture(fuse_fn) in _GRAPHS else ("stablehlo",)


def _architecture(fuse_fn: Callable) -> str:
  return getattr(fuse_fn, "architecture", "")


def _references(fuse_fn: Callable, params: Any) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  rng, fuse = np.random.default_rng(0), jax.jit(fuse_fn)
  pairs = [rng.random((2, *shape, 1), np.float32) for shape in _CHECKED]
  return [(ir, vi, np.asarray(fuse(params, ir, vi))) for ir, vi in pairs]


def _called(fuse_fn: Callable) -> str:
  return "F" if fusers.is_f(fuse_fn) else getattr(fuse_fn, "name", "the network")


def _stablehlo(fuse_fn: Callable, params: Any) -> bytes:
  shape = jax.ShapeDtypeStruct((*export.symbolic_shape("batch, height, width"), 1), jnp.float32)
  params = jax.tree.map(jnp.asarray, params)

  def whole(ir, vi):
    return fuse_fn(params, ir, vi)

  def in_steps(ir, vi):
    return jax.lax.map(lambda pair: _any_size(params, *pair), (ir, vi))

  def fuse(ir, vi):
    """F in steps that stay in cache on a CPU, and in one piece on a GPU."""
    return jax.lax.platform_dependent(ir, vi, cpu=in_steps, default=whole)

  chosen = jax.jit(fuse if fusers.is_f(fuse_fn) else whole)
  try:
    return bytes(export.export(chosen, platforms=PLATFORMS)(shape, shape).serialize())
  except Exception as error:  # whatever a network may do with a size that is a symbol
    if fusers.is_f(fuse_fn):
      raise
    raise ExportError(
      f"stablehlo: {_called(fuse_fn)} cannot be lowered for all sizes in one program: "
      f"{first_line(error)} "
      "Have it compute sizes by shapes and slices alone, or export it for one size with jax.export."
    ) from error


def _any_size(params: Any, ir: jax.Array, vi: jax.Array) -> jax.Array:
  """F of [H, W, 1] by `engines.anysize`, H and W known or symbolic."""
  height, width, _ = ir.shape
  cells = height * (width + 1)
  room = Room(cells, width + 1)
  ground = ground_of(room, jnp.asarray(height, jnp.int32), jnp.asarray(width, jnp.int32))
  rows = [jnp.pad(image, ((0, 0), (0, 1), (0, 0))).reshape(cells, 1) for image in (ir, vi)]
  a, b = (jnp.pad(image, ((room.margin, room.margin + room.step), (0, 0))) for image in rows)
  fused = fuse_flat(params, a, b, ground)[room.margin : room.margin + cells]
  return fused.reshape(height, width + 1, 1)[:, :width]


def _run_stablehlo(data: bytes) -> Callable:
  program = jax.jit(export.deserialize(bytearray(data)).call)
  return lambda ir, vi: np.asarray(program(ir, vi))


def _onnx(fuse_fn: Callable, params: Mapping[str, Any]) -> bytes:
  graph = _GRAPHS[_architecture(fuse_fn)]
  try:
    return graph(jax.tree.map(np.asarray, params)).SerializeToString()
  except ImportError:
    raise ExportError(
      "exporting ONNX needs the onnx package: pip install 'tdfusion-jax[onnx]'"
    ) from None


def _run_onnx(data: bytes) -> Callable:
  try:
    session = onnx_session(data)
  except EngineError as error:
    raise ExportError(str(error)) from error
  return lambda ir, vi: session.run(["fused"], {"ir": ir, "vi": vi})[0]


def _card(
  name: str, data: bytes, weights_file: Path, difference: float, fuse_fn: Callable
) -> dict[str, Any]:
  image = {"shape": ["batch", "height", "width", 1], "dtype": "float32", "range": [0, 1]}
  whose, against = "F of TDFusion (arXiv 2412.03240)", "networks.fusion.FusionNet in float32"
  sizes = "any batch, height and width; never pad: every pixel depends on all pixels"
  if not fusers.is_f(fuse_fn):
    whose = f"{_called(fuse_fn)}, in the place of F of TDFusion (arXiv 2412.03240)"
    against, sizes = f"{_called(fuse_fn)} in JAX, float32", "any batch, height and width"
  packages = {"stablehlo": ("jax", "jaxlib", "flax"), "onnx": ("onnx", "onnxruntime", "flax")}[name]
  return {
    "model": f"{whose}: fuses one infrared and one visible luminance",
    "format": name,
    "sha256": hashlib.sha256(data).hexdigest(),
    "weights": {
      "file": weights_file.name,
      "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest(),
    },
    "inputs": {
      "ir": {**image, "meaning": "infrared"},
      "vi": {**image, "meaning": "visible luminance"},
    },
    "outputs": {"fused": {**image, "meaning": "fused luminance, not stretched"}},
    "sizes": sizes,
    "colour": {
      "luminance": "Y = 0.299 R + 0.587 G + 0.114 B (BT.601, full range)",
      "result": "the visible image's Cb and Cr with the fused Y: RGB + (fused - Y), clipped to "
      "[0, 1]",
      "loader": f"tools/load_{name}.py",
    },
    **({"platforms": list(PLATFORMS)} if name == "stablehlo" else {"opset": 20}),
    "check": {
      "against": against,
      "batch, height, width": [list(shape) for shape in _CHECKED],
      "largest difference": difference,
      "tolerance": TOLERANCE,
    },
    "versions": {
      "tdfusion_jax": tdfusion_jax.__version__,
      **{package: importlib.metadata.version(package) for package in packages},
    },
  }


def _write(path: Path, data: bytes) -> None:
  """Whole or not at all."""
  with atomic_write(path) as temporary:
    temporary.write_bytes(data)
