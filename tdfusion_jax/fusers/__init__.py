"""Networks that fuse and networks that weigh, with their functions, and the weight files of F.

Names of `ours` and `weighing` are looked up when they are asked for: those modules load JAX, which
fusing by machine code starts without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tdfusion_jax.fusers.kinds import (
  F_ARCHITECTURE,
  FAST_ARCHITECTURE,
  Fuser,
  Weigher,
  is_f,
  is_fast,
)
from tdfusion_jax.fusers.load import fusion_file, load_fusion, run_folder
from tdfusion_jax.fusers.named import NAMES, known_of, shipped_card, shipped_weights, weights_file
from tdfusion_jax.fusers.own import own_network

if TYPE_CHECKING:
  from tdfusion_jax.fusers.ours import (
    average,
    fast_network,
    from_module,
    fuse_net,
    fusion_network,
    init_variables,
    loss_network,
    require_fit,
    weigh_net,
    weigher_from_module,
  )
  from tdfusion_jax.fusers.weighing import held, strided, toned

__all__ = [
  "FAST_ARCHITECTURE",
  "F_ARCHITECTURE",
  "NAMES",
  "Fuser",
  "Weigher",
  "average",
  "fast_network",
  "from_module",
  "fuse_net",
  "fusion_file",
  "fusion_network",
  "held",
  "init_variables",
  "is_f",
  "is_fast",
  "known_of",
  "load_fusion",
  "loss_network",
  "own_network",
  "require_fit",
  "run_folder",
  "shipped_card",
  "shipped_weights",
  "strided",
  "toned",
  "weigh_net",
  "weigher_from_module",
  "weights_file",
]


def __getattr__(name: str) -> Any:
  if name in ("held", "strided", "toned"):
    return getattr(import_module("tdfusion_jax.fusers.weighing"), name)
  if name in __all__:
    return getattr(import_module("tdfusion_jax.fusers.ours"), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
