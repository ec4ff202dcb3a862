"""The weight files of a run: F, G and T, each in one that `init.*` and `--weights` accept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdfusion_jax import weightfiles
from tdfusion_jax.config import Config
from tdfusion_jax.meta import Params
from tdfusion_jax.train.networks import Networks, notes_f, notes_g


def export_weights(
  config: Config, used: Networks, params: Params, folder: Path, about: Mapping[str, Any]
) -> None:
  """Writes F, G and T, each as one `.safetensors` file that `init.*` and `--weights` accept.

  Args:
    config: of the run.
    used: networks in the places of F and G, which the files name.
    params: of F, G and T; one that is empty has no file.
    folder: where to write.
    about: the run and its step, for the files' metadata.
  """
  task = {"arch": config.task.kind, "kind": config.task.kind, "variant": config.task.variant}
  files = {
    "f": ({"params": params.f}, notes_f(config, used)),
    "g": ({"params": params.g}, notes_g(config, used)),
    "t": ({"params": params.t, "batch_stats": params.t_stats}, task),
  }
  for letter, (variables, what) in files.items():
    if variables["params"]:
      weightfiles.save_weights(folder / f"{letter}.safetensors", variables, {**what, **about})
