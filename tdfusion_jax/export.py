"""F as a file that runs without this package: StableHLO for JAX, ONNX for everything else, each with a JSON card."""

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
from tdfusion_jax.files import atomic_write

FORMATS = ("stablehlo", "onnx")
TOLERANCE = 1e-5
PLATFORMS = ("cpu", "cuda")
_CHECKED = ((1, 33, 47), (2, 61, 29))  # batch, height, width


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
  """Writes `fusion.stablehlo`, `fusion.onnx` and a card beside each, after comparing their numbers with F's.

  All take `ir`, `vi` [batch, height, width, 1] float32 in [0, 1], any sizes, and return `fused`,
  equally shaped.

  Args:
    fuse_fn, params: from `fusers.load_fusion`.
    out_dir: made if needed.
    weights_file: where `params` come from; its hash goes into the cards.
    formats: of `FORMATS`.

  Raises:
    ExportError: not F, a missing package, or a difference above 1e-5; nothing of that format is
      left then.
  """
  if not fusers.is_f(fuse_fn):
    raise ExportError(f"{weights_file} does not hold F; only F can be exported.")
  makers = {"stablehlo": (_stablehlo, _run_stablehlo), "onnx": (_onnx, _run_onnx)}
  references = _references(fuse_fn, params)
  artifacts = []
  for name in formats:
    make, runner = makers[name]
    data = make(params)
    run = runner(data)
    difference = max(float(np.abs(run(ir, vi) - fused).max()) for ir, vi, fused in references)
    if not difference <= TOLERANCE:
      raise ExportError(
        f"{name}: differs from F by {difference:.1e}, more than {TOLERANCE:g}; nothing was written."
      )
    path = Path(out_dir) / f"fusion.{name}"
    card = path.with_name(path.name + ".json")
    about = _card(name, data, Path(weights_file), difference)
    _write(path, data)
    _write(card, (json.dumps(about, indent=2) + "\n").encode())
    artifacts.append(Artifact(path, card, difference))
  return artifacts


def _references(fuse_fn: Callable, params: Any) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  rng, fuse = np.random.default_rng(0), jax.jit(fuse_fn)
  pairs = [rng.random((2, *shape, 1), np.float32) for shape in _CHECKED]
  return [(ir, vi, np.asarray(fuse(params, ir, vi))) for ir, vi in pairs]


def _stablehlo(params: Any) -> bytes:
  shape = jax.ShapeDtypeStruct((*export.symbolic_shape("batch, height, width"), 1), jnp.float32)
  params = jax.tree.map(jnp.asarray, params)

  def fuse(ir, vi):
    """In steps that stay in cache on a CPU; in one piece on a GPU."""
    whole = lambda ir, vi: fusers.fuse_net(params, ir, vi)  # noqa: E731
    in_steps = lambda ir, vi: jax.lax.map(lambda pair: _any_size(params, *pair), (ir, vi))  # noqa: E731
    return jax.lax.platform_dependent(ir, vi, cpu=in_steps, default=whole)

  return bytes(export.export(jax.jit(fuse), platforms=PLATFORMS)(shape, shape).serialize())


def _any_size(params: Any, ir: jax.Array, vi: jax.Array) -> jax.Array:
  """F of [H, W, 1] by `networks.anysize`, H and W known or symbolic."""
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


def _onnx(params: Mapping[str, Any]) -> bytes:
  try:
    return fusion_model(jax.tree.map(np.asarray, params)).SerializeToString()
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


def _card(name: str, data: bytes, weights_file: Path, difference: float) -> dict[str, Any]:
  image = {"shape": ["batch", "height", "width", 1], "dtype": "float32", "range": [0, 1]}
  packages = {"stablehlo": ("jax", "jaxlib", "flax"), "onnx": ("onnx", "onnxruntime", "flax")}[name]
  return {
    "model": "F of TDFusion (arXiv 2412.03240): fuses one infrared and one visible luminance",
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
    "sizes": "any batch, height and width; never pad: every pixel depends on all pixels",
    "colour": {
      "luminance": "Y = 0.299 R + 0.587 G + 0.114 B (BT.601, full range)",
      "result": "the visible image's Cb and Cr with the fused Y: RGB + (fused - Y), clipped to [0, 1]",
      "loader": f"tools/load_{name}.py",
    },
    **({"platforms": list(PLATFORMS)} if name == "stablehlo" else {"opset": 20}),
    "check": {
      "against": "networks.fusion.FusionNet in float32",
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
