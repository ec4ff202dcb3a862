"""Networks that fuse and networks that weigh, with their functions, and the weight files of F."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from tdfusion_jax.files import UsageError, is_plugin, made_by, plugin
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.ops.strips import Tiling
from tdfusion_jax.weightfiles import CheckpointError, load_weights, match

F_ARCHITECTURE = "fusion"
"""The architecture that all engines know: machine code, one program for all sizes, tiles, ONNX."""

_TILING = Tiling()
_WEIGHTS = Path("weights") / "f.safetensors"
_FUSION_FIELDS = ("fusion", "network", "options")  # of a config
_Kind = TypeVar("_Kind", "Fuser", "Weigher")


# Not a named tuple: `jax.jit` compiles only what can be held by weak reference, which no tuple can.
# Equal to itself only, since a network of the user's may not be hashable.
@dataclasses.dataclass(frozen=True, eq=False)
class Fuser:
  """A network in the place of F, called as its `fuse`; parameters travel beside it."""

  name: str
  """What a weight file says it holds."""
  network: Any
  """Has `init(key, ir, vi)` -> {"params": tree} for images [B, H, W, 1], such as a Flax module."""
  fuse: Callable[..., Any]
  """(params, ir, vi) -> fused [B, H, W, 1] in [0, 1]; ir, vi [B, H, W, 1] in [0, 1]."""
  architecture: str = ""
  """`F_ARCHITECTURE` if `fuse` returns what F returns for F's parameters: engines may then compute
  it their own way. Empty for any other network, which runs in JAX as it is."""

  def __call__(self, params: Any, ir: Any, vi: Any) -> Any:
    """See `fuse`."""
    return self.fuse(params, ir, vi)


@dataclasses.dataclass(frozen=True, eq=False)
class Weigher:
  """A network in the place of G, called as its `weigh`."""

  name: str
  """What a weight file says it holds."""
  network: Any
  """As of a `Fuser`."""
  weigh: Callable[..., Any]
  """(params, ir, vi) -> (w_a, w_b) [B, H, W, 2], positive with w_a + w_b = 1."""

  def __call__(self, params: Any, ir: Any, vi: Any) -> Any:
    """See `weigh`."""
    return self.weigh(params, ir, vi)


def fuse_net(f_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """F: [B, H, W, 1] twice -> fused [B, H, W, 1]."""
  return FusionNet(tiling).apply({"params": f_params}, ir, vi)


def weigh_net(g_params, ir: jax.Array, vi: jax.Array, *, tiling: Tiling = _TILING) -> Any:
  """G: [B, H, W, 1] twice -> (w_a, w_b) [B, H, W, 2]."""
  return LossNet(tiling).apply({"params": g_params}, ir, vi)


def fusion_network(tiling: Tiling = _TILING) -> Fuser:
  """F of the paper."""
  return Fuser("fusion", FusionNet(tiling), partial(fuse_net, tiling=tiling), F_ARCHITECTURE)


def loss_network(tiling: Tiling = _TILING) -> Weigher:
  """G of the paper."""
  return Weigher("lossgen", LossNet(tiling), partial(weigh_net, tiling=tiling))


def average(weigher: Weigher) -> Fuser:
  """Ablation V: `I_f = w_a a + w_b b`; F is the network of `weigher` with parameters of its own."""

  def fuse(f_params, ir: jax.Array, vi: jax.Array) -> jax.Array:
    weights = weigher.weigh(f_params, ir, vi)
    return jnp.sum(weights * jnp.concatenate([ir, vi], axis=-1), axis=-1, keepdims=True)

  return Fuser("average", weigher.network, fuse)


def is_f(fuse_fn: Callable) -> bool:
  """Whether `fuse_fn` is a `Fuser` that computes F; a plain function says nothing about itself."""
  return getattr(fuse_fn, "architecture", "") == F_ARCHITECTURE


def from_module(name: str, module: Any) -> Fuser:
  """A `Fuser` of a Flax module that is called with (ir, vi), [B, H, W, 1] each, and returns one.

  Args:
    name: what weight files shall say they hold.
    module: with parameters only; no running statistics, no dropout.
  """
  return Fuser(name, module, _applied(module))


def weigher_from_module(name: str, module: Any) -> Weigher:
  """A `Weigher` of a Flax module that is called with (ir, vi) and returns [B, H, W, 2].

  Args:
    name: what weight files shall say they hold.
    module: with parameters only; its two channels are positive and add up to 1.
  """
  return Weigher(name, module, _applied(module))


def _applied(module: Any) -> Callable[..., Any]:
  def apply(params, ir: jax.Array, vi: jax.Array) -> Any:
    return module.apply({"params": params}, ir, vi)

  return apply


def own_network(kind: type[_Kind], name: str, options: Mapping[str, Any], field: str) -> _Kind:
  """The network of the user's factory, called as `factory(**options)`.

  The factory must be annotated with what it returns, `def factory(width=8) -> fusers.Fuser`, see
  `files.plugin`.

  Args:
    kind: `Fuser` or `Weigher`.
    name: `package.module:factory`.
    options: of the factory.
    field: what named it, for messages.

  Raises:
    UsageError: there is no such function, it is not annotated, does not accept the options, or
      returns something else.
  """
  plugin(name, field, kind)
  made = made_by(name, field, **options)
  if not isinstance(made, kind):
    found = type(made).__name__
    raise UsageError(f"{field}={name!r}: a fusers.{kind.__name__} is needed, not {found}.")
  return made


def init_variables(network: Any, key) -> dict:
  """{"params": fresh ones} of a network that takes two images.

  Raises:
    UsageError: it has other variables too, such as running statistics, which nothing would keep.
  """
  image = jnp.zeros((1, 16, 16, 1))
  variables = jax.jit(network.init)(key, image, image)
  others = sorted(set(variables) - {"params"})
  if others:
    raise UsageError(
      f"{type(network).__name__} has {', '.join(others)} beside its parameters; a network in the "
      "place of F or G has parameters only (normalise by the image itself, not by statistics)."
    )
  return {"params": variables["params"]}


def shipped_weights() -> Path:
  """The weights of F that come with the package."""
  return Path(__file__).with_name("weights") / "f.safetensors"


def fusion_file(
  *,
  run: str | Path | None = None,
  weights: str | Path | None = None,
  checkpoint_dir: str | Path | None = None,
) -> Path:
  """The weight file that `load_fusion` reads.

  Args:
    run: a run folder.
    weights: a weight file. Neither: the shipped weights.
    checkpoint_dir: the earlier name of `run`.

  Raises:
    CheckpointError: no such run, or a run and a file.
  """
  run = run_folder(run, checkpoint_dir)
  if run is None:
    return shipped_weights() if weights is None else Path(weights)
  if weights is not None:
    raise CheckpointError("give a run or a weight file, not both.")
  if not (run / _WEIGHTS).is_file():
    raise CheckpointError(f"{run} is not a run folder with {_WEIGHTS}.")
  return run / _WEIGHTS


def run_folder(run: str | Path | None, checkpoint_dir: str | Path | None = None) -> Path | None:
  """The run folder by either of its names; CheckpointError if both are given."""
  if run is not None and checkpoint_dir is not None:
    raise CheckpointError("give run or checkpoint_dir, which is its earlier name, not both.")
  found = checkpoint_dir if run is None else run
  return None if found is None else Path(found)


def load_fusion(
  *,
  run: str | Path | None = None,
  weights: str | Path | None = None,
  network: str | Fuser = "",
  checkpoint_dir: str | Path | None = None,
) -> tuple[Fuser, Any]:
  """The fusion network of a run folder, of a weight file, or of the shipped weights.

  Whose network it is: `network` if given, else the one that the run's `config.json` names, else F
  or ablation V's average by what the weight file says. A weight file alone never has code imported.

  Args:
    run: a run's workdir; its newest exported weights are read.
    weights: a `.safetensors` file of F.
    network: for weights of a network of your own: the `Fuser`, or its `package.module:factory`,
      which is called with the options that the weight file notes.
    checkpoint_dir: the earlier name of `run`.

  Returns:
    (fuser, params), made to be passed on as they are: `make_fuse_fn(*load_fusion())`. The fuser is
    called as `fuser(params, ir, vi)` on [B, H, W, 1] in [0, 1].

  Raises:
    CheckpointError: no such run or file, it holds something else, or it needs `network`.
    UsageError: `network`, or the one that the run names, cannot be made.
  """
  run = run_folder(run, checkpoint_dir)
  file = fusion_file(run=run, weights=weights)
  loaded, metadata = load_weights(file)
  fuser = network if isinstance(network, Fuser) else _fuser_of(file, metadata, run, network)
  shapes = jax.eval_shape(lambda: init_variables(fuser.network, jax.random.key(0)))
  return fuser, match(loaded, shapes, str(file))["params"]


def _fuser_of(file: Path, metadata: dict[str, Any], run: Path | None, network: str) -> Fuser:
  """The network that `file` belongs to, by name."""
  arch = metadata.get("arch", "fusion")
  averages = arch == "average"
  options = metadata.get("network_options", {})
  field = "network"
  if not network and run is not None:
    network, options, field = _named_by(run, averages)
  if network and averages:
    return average(own_network(Weigher, network, options, field))
  if network:
    return own_network(Fuser, network, options, field)
  if named := metadata.get("network"):
    raise CheckpointError(
      f"{file} holds weights of {arch!r}, a network from {named}. A weight file alone has no code "
      f"imported: give the run folder (--run RUN), or name the network: --network {named}, in "
      f"Python load_fusion(weights=..., network={named!r})."
    )
  known = {"fusion": fusion_network, "average": lambda: average(loss_network())}
  if arch not in known:
    raise CheckpointError(
      f"{file} holds {arch!r}, not a fusion network. If it is one of your own, name it: --network "
      "package.module:factory, in Python load_fusion(weights=..., network=...)."
    )
  return known[arch]()


def _named_by(run: Path, averages: bool) -> tuple[str, dict[str, Any], str]:
  """(factory, options, field) that the config of a run names; an empty factory for our networks."""
  file = run / "config.json"
  section, name, options = ("loss", "network", "network_options") if averages else _FUSION_FIELDS
  try:
    said = json.loads(file.read_text()).get(section, {})
  except FileNotFoundError:  # a folder of weights alone
    return "", {}, ""
  except (OSError, ValueError, AttributeError) as error:
    raise CheckpointError(f"{file} cannot be read: {error}") from error
  network = said.get(name, "")
  if network and not is_plugin(network):
    raise CheckpointError(
      f"{run} was trained with the network {network!r}, given to train() in Python; give it again, "
      "load_fusion(run=..., network=my_fuser), or name its factory: --network my_module:factory."
    )
  return network, said.get(options, {}), f"{file}: {section}.{name}"
