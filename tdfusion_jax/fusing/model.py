"""F as one object: loaded by a name, called on pairs, saved and pushed."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tdfusion_jax import fusers
from tdfusion_jax.files import UsageError, write_text
from tdfusion_jax.fusers import cards, pretrained
from tdfusion_jax.fusing import single
from tdfusion_jax.fusing.pairs import PairFuser, make_pair_fuser
from tdfusion_jax.remote import hub
from tdfusion_jax.weightfiles import load_weights

_LARGEST_CARD = 1 << 20
_UNSTATED = re.compile("(no|none).* stated")


class FusionModel:
  """A fusion network with its weights: `model(ir, vi)` fuses a pair.

  It does what `tdfusion_jax.fuse` does, and is loaded once. It is no subclass of huggingface_hub's
  `ModelHubMixin`, which would have to be installed to fuse at all, but has its methods.

  Args:
    fuser: the network.
    params: its parameters.
    metadata: what a weight file notes, such as "arch" and "licence".
    card: the model card, Markdown.
  """

  fuser: fusers.Fuser
  """The network; `make_fuse_fn(model.fuser, model.params)` fuses batches."""
  params: Any
  """Its parameters, a tree of arrays."""
  metadata: dict[str, Any]
  """What is known about them: "arch", "licence", what they were trained or converted from."""
  card: str
  """The model card that `save_pretrained` writes; empty for one made of `metadata`."""

  def __init__(
    self,
    fuser: fusers.Fuser,
    params: Any,
    metadata: Mapping[str, Any] | None = None,
    card: str = "",
  ):
    self.fuser, self.params, self.card = fuser, params, card
    self.metadata = {"arch": fuser.name, **(metadata or {})}
    self._made: dict[bool, PairFuser] = {}

  @classmethod
  def from_pretrained(
    cls,
    source: str | Path = "starter",
    *,
    revision: str = "",
    network: str | fusers.Fuser = "",
  ) -> "FusionModel":
    """The model of a name, a folder, a file or a repository of the Hugging Face Hub.

    Args:
      source: a name (`tdfusion models` lists them), a folder of `save_pretrained`, a run folder, a
        weight file, or OWNER/NAME of a repository, with or without "hf:". What exists on this
        machine is not looked for on the hub.
      revision: of a repository: a branch, a tag or a commit; empty for the newest.
      network: for weights of a network of your own, as for `fusers.load_fusion`.

    Raises:
      CheckpointError: there is no such name or file, it holds something else, or it is damaged.
      HubError: no such repository, revision or file, or no way to it.
    """
    found = _repository(source, revision)
    if found is not None:
      return cls._of_file(_fetched(found, source), network, card=True)
    path = Path(source)
    if (path / "weights" / "f.safetensors").is_file():
      fuser, params = fusers.load_fusion(run=path, network=network)
      return cls(fuser, params, load_weights(fusers.fusion_file(run=path))[1])
    file = fusers.weights_file(source)
    if not (isinstance(source, str) and source in fusers.NAMES):
      return cls._of_file(file, network, card=path.is_dir())
    model = cls._of_file(file, network)
    model.metadata |= fusers.known_of(source, model.metadata)
    if fusers.NAMES[source].ships:
      notes = {**model.metadata, "parameters": model.parameters}
      model.card = cards.card_of(source, notes, fusers.shipped_card())
    return model

  @classmethod
  def _of_file(
    cls, file: Path, network: str | fusers.Fuser, *, card: bool = False
  ) -> "FusionModel":
    """The model of a weight file; with `card`, of the saved folder that it is in."""
    fuser, params = fusers.load_fusion(weights=file, network=network)
    metadata, text = load_weights(file)[1], ""
    if card:
      fields = pretrained.described(file.with_name(pretrained.CONFIG)) or {}
      metadata |= {key: fields[key] for key in ("licence", "scores") if fields.get(key)}
      text = _text(file.with_name(pretrained.CARD))
    return cls(fuser, params, metadata, text)

  @property
  def parameters(self) -> int:
    """How many numbers `params` has."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(self.params))

  def __call__(self, ir: Any, vi: Any, *, scale: str = "linear", stretch: bool = False) -> Any:
    """Fuses one pair: `ir` and `vi`, paths, PIL images or arrays, as `tdfusion_jax.fuse`.

    Args:
      ir: infrared, [H, W] or [H, W, 1, 3 or 4] of uint8, uint16, or floats in [0, 1].
      vi: visible, likewise and of equal size.
      scale: of infrared values, such as "percentile".
      stretch: stretch the fused brightness to the full range.

    Returns:
      What `vi` is; a PIL image for a path.

    Raises:
      ImageError: an image that cannot be used, and why.
    """
    return single.fuse_by(lambda: self._pair_fuser(stretch), ir, vi, scale)

  def _pair_fuser(self, stretch: bool) -> PairFuser:
    if stretch not in self._made:
      self._made[stretch] = make_pair_fuser(self.fuser, self.params, stretch=stretch)
    return self._made[stretch]

  def __repr__(self) -> str:
    licence = self.metadata.get("licence") or "licence not stated"
    return f"FusionModel({self.fuser.name}, {self.parameters} parameters, {licence})"

  def save_pretrained(self, folder: str | Path, *, licence: str = "") -> Path:
    """Writes `model.safetensors`, `config.json` with its sha256, and the model card `README.md`.

    A README.md that is there already is kept.

    Args:
      folder: made if needed.
      licence: such as "Apache-2.0"; empty for the one in `metadata`.

    Returns:
      The folder.

    Raises:
      CheckpointError: the files cannot be written, or a `config.json` of another kind is there.
    """
    folder = Path(folder)
    metadata = self.metadata | ({"licence": licence} if licence else {})
    card = self.card
    if not card:
      card = cards.card_of(folder.name, {**metadata, "parameters": self.parameters})
    pretrained.save(folder, {"params": self.params}, metadata, cards.with_licence(card, licence))
    return folder

  def push_to_hub(
    self,
    repository: str,
    *,
    licence: str = "",
    private: bool | None = None,
    message: str = "FusionModel.push_to_hub",
  ) -> str:
    """Makes the files of `save_pretrained` a commit of a repository, which is made if needed.

    Args:
      repository: OWNER/NAME. You are logged in by `hf auth login`, or by HF_TOKEN.
      licence: as for `save_pretrained`. Weights have the terms of the data that they were trained
        on, and of the weights that they started from; without a licence they go only into a
        private repository.
      private: whether a new repository shall be private; None is the owner's default.
      message: of the commit.

    Returns:
      The address of the commit.

    Raises:
      UsageError: no licence is stated.
      HubError: it is not allowed, or there is no way to the hub.
    """
    name = hub.parse(repository).name
    if not private and not (licence or self._stated_licence()):
      raise UsageError(
        f"{repository}: nothing states the terms of these weights. Give licence=..., such as "
        "'Apache-2.0', if they are yours to choose, or private=True."
      )
    with tempfile.TemporaryDirectory() as scratch:
      folder = self.save_pretrained(Path(scratch) / name.rpartition("/")[2], licence=licence)
      card = folder / pretrained.CARD
      write_text(card, card.read_text(encoding="utf-8").replace("OWNER/NAME", name))
      return hub.push(name, folder, private=private, message=message)

  def _stated_licence(self) -> str:
    licence = str(self.metadata.get("licence", ""))
    return "" if _UNSTATED.match(licence) else licence


def _repository(source: str | Path, revision: str) -> hub.Repository | None:
  """The repository that `source` names, unless it is a name or something on this machine."""
  text = os.fspath(source)
  if isinstance(source, str) and text not in fusers.NAMES:
    form = hub.is_repository(text.partition("@")[0]) and not text.endswith(".safetensors")
    if text.startswith(hub.PREFIX) or (form and not Path(text).exists()):
      return hub.parse(text, revision)
  if revision:
    raise UsageError(f"{text} is no repository of the hub, and has no revision {revision!r}.")
  return None


def _fetched(repository: hub.Repository, source: str | Path) -> Path:
  try:
    file = pretrained.fetched(repository)
  except hub.NowhereError as error:
    if str(source).startswith(hub.PREFIX):
      raise
    raise hub.NowhereError(f"{error} There is no folder {source} here either.") from error
  hub.has(repository._replace(revision=file.parent.name), pretrained.CARD)
  return file


def _text(file: Path) -> str:
  if not file.is_file() or file.stat().st_size > _LARGEST_CARD:
    return ""
  return file.read_text(encoding="utf-8", errors="replace")
