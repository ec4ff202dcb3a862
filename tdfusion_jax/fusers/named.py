"""Weights of F by name: those that come with the package, converted ones, and of the hub."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.files import cache_folder
from tdfusion_jax.fusers import pretrained
from tdfusion_jax.fusers.cards import scores_of
from tdfusion_jax.remote import hub
from tdfusion_jax.weightfiles import CheckpointError

_PACKAGE = Path(__file__).parents[1]
PAIRS = "first 71"
"""Of which pairs the scores are, in the tables of the shipped model card."""


class Named(NamedTuple):
  """Weights that have a name."""

  file: Callable[[], Path]
  """Where they are, if they are there."""
  licence: str
  row: str
  """Their row in the tables of the shipped model card."""
  source_sha256: str = ""
  """Of the file that they are converted from, for which the card's scores hold."""
  missing: str = ""
  """What to do while they are not there; `{file}` is where they go."""

  @property
  def ships(self) -> bool:
    """Whether they come with the package."""
    return not self.missing


def shipped_weights() -> Path:
  """The weights of F that come with the package."""
  return _PACKAGE / "weights" / "f.safetensors"


def _fast_weights() -> Path:
  return shipped_weights().with_name("fast.safetensors")


def shipped_card() -> str:
  """The model card of the weights that come with the package, Markdown."""
  return (_PACKAGE / "weights" / "README.md").read_text(encoding="utf-8")


def _converted(name: str) -> Path:
  return cache_folder() / "weights" / f"{name}.safetensors"


NAMES: dict[str, Named] = {
  "starter": Named(shipped_weights, "Apache-2.0", "these"),
  "fast": Named(_fast_weights, "Apache-2.0", "fast"),
  "refusion": Named(
    partial(_converted, "refusion"),
    "none stated: ask the authors",
    "ReFusion",
    "1b8358d8dab5e95c9d3f668782abda85359685669444946001ac41ea96891b2c",
    "these weights have no stated licence and do not come with the package. Get ReFusion_IVIF.pth "
    "from its authors and convert it once: tdfusion convert ReFusion_IVIF.pth --out {file}",
  ),
}
"""{name: weights} that `--weights` and `FusionModel.from_pretrained` know."""


def known_of(name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
  """{"licence": ..., "scores": ...} of named weights; no scores where none were measured.

  Args:
    name: a key of `NAMES`.
    metadata: of their file.
  """
  named = NAMES[name]
  known: dict[str, Any] = {"licence": named.licence}
  measured = metadata.get("source_sha256", "") == named.source_sha256
  if measured and (scores := scores_of(shipped_card(), named.row, PAIRS)):
    known["scores"] = scores
  return known


def weights_file(weights: str | Path) -> Path:
  """The file that a name, an address of the hub, a saved folder or a path stands for.

  Args:
    weights: a key of `NAMES`, "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION" (fetched unless it is in
      the cache), a folder of `FusionModel.save_pretrained`, or a file. A file or folder that is
      called like a name is given as ./NAME, or as a `Path`.

  Raises:
    CheckpointError: the name's file is not there yet, or the folder holds something else, or what
      it holds is damaged.
    HubError: there is no such repository, revision or file, or no way to it.
  """
  text = os.fspath(weights)
  if isinstance(weights, str) and text in NAMES:
    return _file_of(text)
  if isinstance(weights, str) and text.startswith(hub.PREFIX):
    return pretrained.fetched(hub.parse(text))
  path = Path(text)
  if path.is_dir():
    return pretrained.checked(path)
  if not path.suffix and not path.exists():
    raise CheckpointError(
      f"{text}: there is no such file, nor a name of weights: {', '.join(NAMES)}, hf:OWNER/NAME."
    )
  return path


def _file_of(name: str) -> Path:
  named = NAMES[name]
  try:
    file = named.file()
  except RuntimeError as error:
    raise CheckpointError(f"{name}: {error} Set XDG_CACHE_HOME, or name the file.") from error
  if not file.is_file() and named.missing:
    raise CheckpointError(f"{name}: {named.missing.format(file=file)}")
  return file
