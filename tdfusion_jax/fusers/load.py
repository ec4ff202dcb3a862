"""The weights of F: those that ship, of a file, of a run, and whose network they are."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.engines.weights import shapes
from tdfusion_jax.files import is_plugin, read_json
from tdfusion_jax.fusers.kinds import Fuser, Weigher, is_f, is_fast, late_f, late_fast
from tdfusion_jax.fusers.named import shipped_weights, weights_file
from tdfusion_jax.fusers.own import own_network
from tdfusion_jax.networks import fast_layers
from tdfusion_jax.tensorfiles import shown
from tdfusion_jax.weightfiles import CheckpointError, load_weights, match

_WEIGHTS = Path("weights") / "f.safetensors"
_FUSION_FIELDS = ("fusion", "network", "options")  # of a config


def fusion_file(
  *,
  run: str | Path | None = None,
  weights: str | Path | None = None,
  checkpoint_dir: str | Path | None = None,
) -> Path:
  """The weight file that `load_fusion` reads.

  Args:
    run: a run folder.
    weights: a weight file, or a name of one, see `weights_file`. Neither: the shipped weights.
    checkpoint_dir: the earlier name of `run`.

  Raises:
    CheckpointError: no such run, a run and a file, or a name that stands for nothing.
    HubError: a repository that cannot be used.
  """
  run = run_folder(run, checkpoint_dir)
  if run is None:
    return shipped_weights() if weights is None else weights_file(weights)
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
  or ablation V's average as the weight file notes. A weight file alone never has code imported.

  Args:
    run: a run's workdir; its newest exported weights are read.
    weights: a `.safetensors` file of F, or a name of one, see `weights_file`.
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
  return fuser, match(loaded, _fitting(fuser), str(file))["params"]


class _Leaf(NamedTuple):
  """What a parameter has to be."""

  shape: tuple[int, ...]
  dtype: Any = np.float32


def _fitting(fuser: Fuser) -> dict[str, Any]:
  """{"params": tree of shapes and dtypes} that a network needs."""
  if is_f(fuser) and fuser.name == "fusion":
    return {"params": _leaves(shapes())}
  if is_fast(fuser) and fuser.name == "fast":
    return {"params": _leaves(fast_layers.shapes())}
  import jax

  from tdfusion_jax.fusers.ours import init_variables

  return jax.eval_shape(lambda: init_variables(fuser.network, jax.random.key(0)))


def _leaves(tree: dict[str, Any]) -> dict[str, Any]:
  return {
    name: _leaves(part) if isinstance(part, dict) else _Leaf(part) for name, part in tree.items()
  }


def _fuser_of(file: Path, metadata: dict[str, Any], run: Path | None, network: str) -> Fuser:
  """The network that `file` belongs to, by name."""
  arch = metadata.get("arch", "fusion")
  averages = arch == "average"
  options = metadata.get("network_options", {})
  field = "network"
  if not network and run is not None:
    network, options, field = _named_by(run, averages)
  if network and averages:
    from tdfusion_jax.fusers.ours import average

    return average(own_network(Weigher, network, options, field))
  if network:
    return own_network(Fuser, network, options, field)
  arch = shown(arch)
  if metadata.get("network"):
    named = shown(metadata["network"])
    raise CheckpointError(
      f"{file} holds weights of {arch!r}, a network from {named}. A weight file alone has no code "
      f"imported: give the run folder (--run RUN), or name the network: --network {named}, in "
      f"Python load_fusion(weights=..., network={named!r})."
    )
  if arch == "fusion":
    return late_f()
  if arch == "fast":
    return late_fast()
  if arch != "average":
    raise CheckpointError(
      f"{file} holds {arch!r}, not a fusion network. If it is one of your own, name it: --network "
      "package.module:factory, in Python load_fusion(weights=..., network=...)."
    )
  from tdfusion_jax.fusers import ours

  return ours.average(ours.loss_network())


def _named_by(run: Path, averages: bool) -> tuple[str, dict[str, Any], str]:
  """(factory, options, field) that the config of a run names; an empty factory for our networks."""
  file = run / "config.json"
  section, name, options = ("loss", "network", "network_options") if averages else _FUSION_FIELDS
  if not file.exists():  # a folder of weights alone
    return "", {}, ""
  noted = read_json(file, CheckpointError).get(section, {})
  fits = isinstance(noted, dict)
  network, arguments = (noted.get(name, ""), noted.get(options, {})) if fits else ("", {})
  if not (fits and isinstance(network, str) and isinstance(arguments, dict)):
    raise CheckpointError(f"{file} cannot be read: {section} is no table of a run's config.")
  if network and not is_plugin(network):
    raise CheckpointError(
      f"{run} was trained with the network {network!r}, given to train() in Python; give it again, "
      "load_fusion(run=..., network=my_fuser), or name its factory: --network my_module:factory."
    )
  return network, arguments, f"{file}: {section}.{name}"
