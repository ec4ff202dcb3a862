"""Fusing images: arrays, pairs, folders, huge images, videos."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from tdfusion_jax.fusing.arrays import make_fuse_fn

__all__ = ["make_fuse_fn"]


def __getattr__(name: str) -> Any:
  if name == "make_fuse_fn":  # JAX is loaded on first use, not on import
    from tdfusion_jax.fusing.arrays import make_fuse_fn

    return make_fuse_fn
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
