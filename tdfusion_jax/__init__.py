"""TDFusion in JAX: task-driven image fusion with a learnable fusion loss."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from tdfusion_jax.fusing.model import FusionModel

__all__ = ["FusionModel", "__version__", "fuse"]

__version__ = "0.1.0"


def fuse(
  ir: Any,
  vi: Any,
  *,
  weights: str | Path | None = None,
  run: str | Path | None = None,
  checkpoint: str | Path | None = None,
  scale: str = "linear",
  stretch: bool = False,
) -> Any:
  """Fuses one infrared and one visible image, with the shipped weights or with your own.

  The first call loads JAX and compiles; what it compiled is kept for the next ones.

  Args:
    ir: infrared, a path, a PIL image, or a NumPy array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of
      uint8, uint16 (the whole range of the type) or floats in [0, 1]. Alpha is dropped.
    vi: visible, likewise and of equal size.
    weights: a `.safetensors` file of F, or a name: "starter", "hf:OWNER/NAME" or another one that
      `tdfusion models` lists. A repository is asked at every call: `FusionModel` loads once.
    run: a training's run folder. Not both.
    checkpoint: the earlier name of `run`.
    scale: for infrared values of another range: "percentile", "percentile:LOW:HIGH", or "LOW:HIGH"
      in their own units.
    stretch: stretch the fused brightness to the full range, as published numbers are made.

  Returns:
    What `vi` is: an array for an array, of its dtype, [H, W, 3] if an input has colour, else of its
    shape; a PIL image ("L" or "RGB") for a PIL image or a path.

  Raises:
    ImageError: an image that cannot be used, and why.
    CheckpointError: weights that cannot be used.
  """
  from tdfusion_jax.fusing import single  # JAX is loaded on first use, not on import

  return single.fuse(
    ir, vi, weights=weights, run=run, checkpoint=checkpoint, scale=scale, stretch=stretch
  )


def __getattr__(name: str) -> Any:
  if name == "FusionModel":  # JAX is loaded on first use, not on import
    from tdfusion_jax.fusing.model import FusionModel

    return FusionModel
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
