"""Networks that fuse and networks that weigh, with their functions, and the weight files of F."""

from tdfusion_jax.fusers.kinds import F_ARCHITECTURE, FAST_ARCHITECTURE, Fuser, Weigher, is_f
from tdfusion_jax.fusers.load import fusion_file, load_fusion, run_folder
from tdfusion_jax.fusers.named import NAMES, known_of, shipped_card, shipped_weights, weights_file
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
from tdfusion_jax.fusers.own import own_network
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
