"""Repositories of the Hugging Face Hub: named, fetched into its cache, pushed.

All of the transport is huggingface_hub's, with its cache and its settings: HF_HOME, HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE.
"""

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.files import first_line
from tdfusion_jax.remote.addresses import RemoteError

PREFIX = "hf:"
_MAIN = "main"
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_LOG_IN = "log in (hf auth login, or HF_TOKEN)"


class HubError(RemoteError):
  """A repository that cannot be used, and the remedy."""


class NowhereError(HubError):
  """There is no such repository, as far as can be seen from here."""


class Repository(NamedTuple):
  """A repository of models, and what of it."""

  name: str
  """OWNER/NAME."""
  revision: str = ""
  """A branch, a tag or a commit; empty for the newest of `main`."""

  def __str__(self) -> str:
    return f"{PREFIX}{self.name}" + (f"@{self.revision}" if self.revision else "")


def is_repository(text: str) -> bool:
  """Whether `text` has the form OWNER/NAME."""
  return _NAME.fullmatch(text) is not None


def parse(text: str, revision: str = "") -> Repository:
  """The repository that "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION" names; "hf:" may be missing.

  Args:
    text: the name.
    revision: the revision, in place of one behind "@".

  Raises:
    HubError: it is no such name, or has two revisions.
  """
  name, at, behind = text.removeprefix(PREFIX).partition("@")
  if not is_repository(name) or (at and not behind):
    raise HubError(f"{text}: write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION.")
  if behind and revision:
    raise HubError(f"{text}: name the revision once, not {revision} beside it.")
  return Repository(name, behind or revision)


def fetch(repository: Repository, names: Sequence[str], *, anew: bool = False) -> list[Path]:
  """Files of one commit in the cache of huggingface_hub, fetched unless they are there.

  Without a connection, or with HF_HUB_OFFLINE, they are what was fetched before.

  Args:
    repository: and its revision.
    names: of the files.
    anew: fetch them again, in the place of those in the cache.

  Raises:
    HubError: there is no such repository, revision or file, or no way to it.
  """
  hub = _library()
  found: list[Path] = []
  revision = repository.revision or _MAIN
  for name in names:
    try:
      file = hub.hf_hub_download(
        repository.name, name, revision=revision, force_download=anew, endpoint=_endpoint()
      )
    except Exception as error:  # what its HTTP library raises has no root in common with the rest
      missing = f"{name} cannot be fetched anew" if anew else f"{name} is not in the cache"
      raise _in_our_words(error, repository, missing, name) from error
    found.append(Path(file))
    revision = found[0].parent.name  # of the folder of a commit: the branch may move meanwhile
  return found


def has(repository: Repository, name: str) -> bool:
  """Whether the repository has a file of that name; as `fetch`, which then finds it in the cache.

  Raises:
    HubError: as `fetch`, except for the file.
  """
  try:
    fetch(repository, [name])
  except HubError as error:
    if isinstance(error.__cause__, _errors().EntryNotFoundError):
      return False
    raise
  return True


def push(name: str, folder: Path, *, private: bool | None = None, message: str = "") -> str:
  """Makes the files of `folder` a commit of a repository, which is made if needed.

  Args:
    name: OWNER/NAME.
    folder: what is pushed, all of it.
    private: whether a new repository shall be private; None is the owner's default.
    message: of the commit.

  Returns:
    The address of the commit.

  Raises:
    HubError: it is not allowed, or there is no way to the hub.
  """
  repository = parse(name)
  try:
    api = _library().HfApi(endpoint=_endpoint())
    api.create_repo(repository.name, private=private, exist_ok=True)
    if private and not api.repo_info(repository.name).private:
      raise HubError(f"{repository} is there already and public: choose another name.")
    commit = api.upload_folder(
      repo_id=repository.name, folder_path=folder, commit_message=message or None
    )
  except HubError:
    raise
  except Exception as error:
    raise _in_our_words(error, repository, "nothing can be sent") from error
  return str(commit.commit_url)


def in_cache(name: str) -> Iterator[tuple[Repository, Path]]:
  """(repository, file) of every file `name` in the cache of huggingface_hub, at any revision."""
  try:
    folder = Path(_library("huggingface_hub.constants").HF_HUB_CACHE)
  except HubError:  # without the package there is no cache
    return
  for file in sorted(folder.glob(f"models--*--*/snapshots/*/{name}")):
    above, commit = file.parents[2], file.parent.name
    owner, _, own = above.name.removeprefix("models--").partition("--")
    refs = [path for path in sorted((above / "refs").rglob("*")) if path.is_file()]
    at = [ref.relative_to(above / "refs").as_posix() for ref in refs if ref.read_text() == commit]
    yield Repository(f"{owner}/{own}", "" if _MAIN in at else (at or [commit])[0]), file


def _library(module: str = "huggingface_hub") -> Any:
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise HubError(
      f"names with hf: need a package: pip install 'tdfusion-jax[hub]' ({first_line(error)})"
    ) from error


def _errors() -> Any:
  return _library("huggingface_hub.errors")


def _endpoint() -> str | None:
  """Of the environment as it is now; the library reads it once, as it is imported."""
  return os.environ.get("HF_ENDPOINT") or None


def _in_our_words(
  error: Exception, repository: Repository, unreached: str, name: str = ""
) -> HubError:
  """What went wrong, and the remedy.

  Args:
    error: of huggingface_hub, or of its HTTP library.
    repository: what was wanted.
    unreached: what cannot be done without a connection.
    name: of the file.
  """
  kinds = _errors()
  status = getattr(getattr(error, "response", None), "status_code", None)
  # Kinds of errors first that are kinds of others.
  if isinstance(error, kinds.HFValidationError):
    said = "is no name of a repository: write hf:OWNER/NAME"
  elif isinstance(error, kinds.GatedRepoError):
    said = f"is open to those whom its owner lets in: ask on its page, then {_LOG_IN}"
  elif isinstance(error, kinds.RevisionNotFoundError):
    said = f"there is no such revision: name a branch, a tag or a commit of {repository.name}"
  elif isinstance(error.__cause__, kinds.FileMetadataError):
    said = f"{_place()} does not answer as a hub: check HF_ENDPOINT, or the proxy"
  elif _no_connection(error):
    return NowhereError(f"{repository}: {unreached} and {_obstacle()}.")
  elif isinstance(error, kinds.EntryNotFoundError):
    said = f"has no {name}: it is no repository that FusionModel.push_to_hub has made"
  elif status in (401, 403) and not name:
    said = f"you may not push there: {_LOG_IN} as somebody who may, or choose another repository"
  elif isinstance(error, kinds.RepositoryNotFoundError) or status in (401, 403):
    said = f"there is no such repository, or it is not for everybody: check the name, or {_LOG_IN}"
    return NowhereError(f"{repository}: {said}.")
  else:
    said = f"{first_line(error).rstrip('.')}. Start again, or check HF_ENDPOINT and the network"
  return HubError(f"{repository}: {said}.")


def _no_connection(error: Exception) -> bool:
  kinds = _errors()
  if type(error) is ValueError and error.__cause__ is not None:  # of files to be fetched anew
    return True
  return isinstance(error, kinds.LocalEntryNotFoundError | ConnectionError) or (
    type(error).__name__ in ("ConnectError", "ConnectTimeout")  # of the HTTP library
  )


def _obstacle() -> str:
  if _library("huggingface_hub.constants").HF_HUB_OFFLINE:
    return "HF_HUB_OFFLINE is set: unset it for once"
  return f"{_place()} cannot be reached: check the network, or HF_ENDPOINT"


def _place() -> str:
  return _endpoint() or _library("huggingface_hub.constants").ENDPOINT
