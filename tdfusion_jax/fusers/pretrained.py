"""A folder with weights of F, as repositories of models have it, checked by its sha256."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.files import read_json, write_json, write_text
from tdfusion_jax.remote import hub
from tdfusion_jax.weightfiles import CheckpointError, save_weights

MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
KIND = "tdfusion_jax"
"""What `config.json` says the model is."""


class DamagedError(CheckpointError):
  """Weights that are not those that their `config.json` describes."""


def described(file: Path) -> dict[str, Any] | None:
  """What a `config.json` says of weights of F; None if it is some other program's or a run's.

  Returns:
    With "weights" {"sha256": text, ...}, "licence", a text, and "scores", {metric: number}.

  Raises:
    CheckpointError: it cannot be read.
  """
  fields = {"weights": {}, "licence": "", "scores": {}, **read_json(file, CheckpointError)}
  weights, licence, scores = (fields[key] for key in ("weights", "licence", "scores"))
  ours = fields.get("model_type") == KIND and isinstance(licence, str)
  ours = ours and isinstance(weights, dict) and isinstance(weights.get("sha256"), str)
  numbers = isinstance(scores, dict) and all(isinstance(s, int | float) for s in scores.values())
  return fields if ours and numbers else None


def checked(folder: Path) -> Path:
  """The weight file of a folder that `save` has written, if it is whole.

  Raises:
    CheckpointError: the folder holds something else.
    DamagedError: the weights are not the ones that were saved.
  """
  file, config = folder / MODEL, folder / CONFIG
  fields = described(config) if config.is_file() else None
  if fields is None or not file.is_file():
    run = (folder / "weights" / "f.safetensors").is_file()
    remedy = "it is a run folder: --run" if run else "write it by FusionModel.save_pretrained"
    raise CheckpointError(f"{folder} has no {MODEL} with its {CONFIG}; {remedy}.")
  found, noted = hashlib.sha256(file.read_bytes()).hexdigest(), fields["weights"]["sha256"]
  if found != noted:
    raise DamagedError(
      f"{file} is damaged: its sha256 is {found[:12]}..., its {CONFIG} says {noted[:12]}...."
    )
  return file


def fetched(repository: hub.Repository) -> Path:
  """The weight file of a repository, in the cache of huggingface_hub.

  What came or was kept damaged is fetched once more.

  Raises:
    HubError: no such repository, revision or file, or no way to it.
    CheckpointError: it holds something else, or the weights are damaged.
  """
  try:
    return checked(_folder(repository))
  except DamagedError as error:
    damage = error
  try:
    return checked(_folder(repository, anew=True))
  except hub.HubError as error:
    raise DamagedError(f"{damage} {error}") from error
  except DamagedError as error:
    raise DamagedError(
      f"{repository}: fetched twice, {error} The repository itself is wrong, or the way to it: "
      "name another revision, or tell its owner."
    ) from error


def _folder(repository: hub.Repository, *, anew: bool = False) -> Path:
  return hub.fetch(repository, (CONFIG, MODEL), anew=anew)[0].parent


def save(folder: Path, variables: Mapping, metadata: Mapping[str, Any], card: str) -> None:
  """Writes weights, `config.json` with their sha256, and a card unless there is one.

  Args:
    folder: made if needed.
    variables: {"params": ...} of F.
    metadata: of the weight file; `scores`, if there are any, go into `config.json` alone.
    card: Markdown.

  Raises:
    CheckpointError: a `config.json` of another kind is there, or the files cannot be written.
  """
  config = folder / CONFIG
  if config.exists() and described(config) is None:
    raise CheckpointError(f"{config} is not of a saved model: choose a folder of its own.")
  folder.mkdir(parents=True, exist_ok=True)
  file = folder / MODEL
  notes = {key: value for key, value in metadata.items() if key != "scores"}
  import jax

  save_weights(file, variables, notes)
  fields: dict[str, Any] = {
    "model_type": KIND,
    "arch": metadata.get("arch", "fusion"),
    "parameters": sum(np.size(leaf) for leaf in jax.tree.leaves(variables)),
    "licence": metadata.get("licence", ""),
    "weights": {
      "file": MODEL,
      "bytes": file.stat().st_size,
      "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    },
  }
  if scores := metadata.get("scores"):
    fields["scores"] = dict(scores)
  write_json(config, fields)
  if not (folder / CARD).exists():
    write_text(folder / CARD, card)
