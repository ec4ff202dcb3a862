"""Image files that are elsewhere, fetched to be read here."""

from pathlib import Path

from tdfusion_jax.files import reason
from tdfusion_jax.images.listing import Place
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.remote.addresses import RemoteError


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
