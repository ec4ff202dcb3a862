"""Image files that are elsewhere, fetched to be read here."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tdfusion_jax.files import reason
from tdfusion_jax.images.listing import Place
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.remote.addresses import Address, RemoteError


@contextlib.contextmanager
def here(*places: Place) -> Iterator[list[Path]]:
  """The files at `places` on this machine, for as long as the context lasts.

  Raises:
    ImageError: one cannot be fetched. Those raised within name the places, not the copies.
  """
  if not any(isinstance(place, Address) for place in places):
    yield [Path(str(place)) for place in places]
    return
  with tempfile.TemporaryDirectory(prefix="tdfusion_") as folder:
    files = [fetched(place, Path(folder) / str(i)) for i, place in enumerate(places)]
    try:
      yield files
    except ImageError as error:
      raise ImageError(told(str(error), files, places)) from error


def told(text: str, files: Iterable[Path], places: Iterable[Place]) -> str:
  """A message with `places` in it where it names the `files` that stand for them."""
  for file, place in zip(files, places, strict=True):
    text = text.replace(str(file), str(place))
  return text


def fetched(place: Place, folder: Path) -> Path:
  """The file of this machine at `place`, or what is fetched from there into the new `folder`.

  Raises:
    ImageError: it cannot be fetched or kept.
  """
  if isinstance(place, Path):
    return place
  file = folder / place.name
  try:
    folder.mkdir()
    place.fetch(file)
  except RemoteError as error:
    raise ImageError(str(error)) from error
  except (OSError, ValueError) as error:  # no room, or a name that no file here can have
    raise ImageError(f"{place} cannot be kept in {folder.parent}: {reason(error)}") from error
  return file
