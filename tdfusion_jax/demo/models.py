"""What the page fuses with: F of some weights, and the maps of the G that belongs to them."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tdfusion_jax import fusers, weightfiles
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusers.listing import entries
from tdfusion_jax.fusing.pairs import PairFuser, make_pair_fuser
from tdfusion_jax.ops import compiling
from tdfusion_jax.report.collect import open_run
from tdfusion_jax.train.networks import networks

_MOST = 1 << 20  # pixels that G looks at: 3 s on two cores, where F needs less than one
_G = "g.safetensors"

Weigh = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, int]]
"""(infrared, visible) luminances [H, W] in [0, 1] -> w_a [H, W] in [0, 1], and the stride of G."""


class Model(NamedTuple):
  """An F, and what its G says."""

  title: str
  fuser: PairFuser
  weigh: Weigh | None
  why_no_maps: str = ""
  """Where `weigh` is None: the reason, a sentence."""


def make_model(
  title: str,
  loaded: tuple[Callable, Any],
  *,
  run: str | Path | None = None,
  weights: str | Path | None = None,
) -> Model:
  """The model of weights that are loaded.

  Args:
    title: what the page calls it.
    loaded: (fuser, params), from `fusers.load_fusion`.
    run: the run folder that they are of, whose G is shown.
    weights: the weight file that they are of. Neither: the weights that ship, and their G.

  Raises:
    UsageError: the run's config or its G cannot be read.
  """
  fuser = make_pair_fuser(*loaded)
  file = fusers.fusion_file(run=run, weights=weights)
  if run is None and file != fusers.shipped_weights():
    return Model(title, fuser, None, "A weight file holds F alone; a run folder has its G too.")
  of_g = file.with_name(_G)
  if not of_g.is_file():
    return Model(title, fuser, None, "This run has no G: its loss had fixed weights.")
  return Model(title, fuser, _weigh(*_load_g(of_g, run)))


def starter() -> Model:
  """F and G with the weights that ship."""
  return make_model("starter", fusers.load_fusion())


def named(*, but: Path | None = None) -> list[Model]:
  """The models that `tdfusion models` lists and that are there; those that cannot be used are not.

  Args:
    but: the weight file of one that is left out, since it is there already.
  """
  found = []
  for entry in entries():
    if entry.file is None or entry.file == but:
      continue
    with suppress(UsageError):
      # By the file: a name of the hub would have it ask for something newer.
      loaded = fusers.load_fusion(weights=entry.file)
      found.append(make_model(entry.name, loaded, weights=entry.file))
  return found


def _load_g(file: Path, run: str | Path | None) -> tuple[fusers.Weigher, Any]:
  """(weigher, params); the network is the one that the run's config names, else G of the paper."""
  weigher = fusers.loss_network()
  if run is not None and (Path(run) / "config.json").is_file():
    weigher = networks(open_run(str(run), Path(run)).config).weigher
  loaded, _ = weightfiles.load_weights(file)
  shapes = jax.eval_shape(lambda: fusers.init_variables(weigher.network, jax.random.key(0)))
  return weigher, weightfiles.match(loaded, shapes, str(file))["params"]


def _weigh(weigher: fusers.Weigher, params: Any) -> Weigh:
  programs: dict[int, Callable] = {}

  def weigh(ir: np.ndarray, vi: np.ndarray) -> tuple[np.ndarray, int]:
    stride = math.ceil(math.sqrt(ir.size / _MOST))
    if stride not in programs:
      strided = fusers.strided(weigher, stride) if stride > 1 else weigher
      programs[stride] = compiling.jit(strided.weigh)
    a, b = (np.asarray(image, np.float32)[None, ..., None] for image in (ir, vi))
    return np.asarray(programs[stride](params, a, b))[0, ..., 0], stride

  return weigh
