"""Texts written and read at addresses and on this machine alike."""

from collections.abc import Iterable
from pathlib import Path

from tdfusion_jax import files
from tdfusion_jax.remote.addresses import Address, place_of


def write_text(where: str | Path | Address, text: str) -> None:
  """`files.write_text`, also at an address.

  Raises:
    OSError, RemoteError: it cannot be written.
  """
  there = place_of(where)
  if isinstance(there, Address):
    there.store(text.encode("utf-8", errors="backslashreplace"))
  else:
    files.write_text(there, text)


def read_text(where: Path | Address) -> str:
  """A text of UTF-8.

  Raises:
    FileNotFoundError: it is not there.
    OSError, ValueError: it cannot be read; `RemoteError` of an address.
  """
  content = where.read() if isinstance(where, Address) else where.read_bytes()
  return content.decode("utf-8")


def are_there(places: Iterable[Path | Address]) -> bool:
  """Whether all files are; each folder elsewhere is listed once.

  Raises:
    RemoteError: a folder cannot be listed.
  """
  lists: dict[Address, dict[str, bool]] = {}
  for there in places:
    if isinstance(there, Path):
      if not there.exists():
        return False
      continue
    folder = there.parent
    lists[folder] = lists.get(folder) or folder.names()
    if there.name not in lists[folder]:
      return False
  return True


def remove(where: Path | Address) -> None:
  """Removes a file; one that is not there is as good.

  Raises:
    OSError, RemoteError: it cannot be removed.
  """
  if isinstance(where, Address):
    where.remove()
  else:
    where.unlink(missing_ok=True)
