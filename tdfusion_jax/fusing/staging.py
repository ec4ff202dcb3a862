"""Files that are elsewhere, fetched to be read here, and results stored there.

All that looks at images works on files of this machine, so that what comes from elsewhere is
checked as everything else is.
"""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.fusing.jobs import Job
from tdfusion_jax.images.elsewhere import fetched, told
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.remote.addresses import Address, RemoteError


class Staged(NamedTuple):
  """A job whose files are here."""

  listed: Job
  """As it was listed, maybe with addresses."""
  job: Job
  """With files of this machine."""
  folder: Path | None = None
  """That they are in, if they had to be fetched."""

  def told(self, text: str) -> str:
    """A message with addresses in the place of the files that stand for them."""
    return told(text, self.job[:3], self.listed[:3])

  def error(self, error: ImageError) -> ImageError:
    """The same with `told`."""
    return error if self.folder is None else ImageError(self.told(str(error)))

  def deliver(self) -> None:
    """Stores the result, if it belongs elsewhere.

    Raises:
      ImageError: it cannot be stored.
    """
    if isinstance(self.listed.out, Address):
      try:
        self.listed.out.store(self.job.out.read_bytes())
      except RemoteError as error:
        raise ImageError(str(error)) from error

  def drop(self) -> None:
    """Removes what was fetched."""
    if self.folder is not None:
      shutil.rmtree(self.folder, ignore_errors=True)


def stage(job: Job, scratch: Path) -> Staged:
  """Fetches what is elsewhere into a folder in `scratch`.

  Raises:
    ImageError: it cannot be fetched.
  """
  if not any(isinstance(place, Address) for place in job[:3]):
    return Staged(job, job)
  folder = Path(tempfile.mkdtemp(dir=scratch))
  try:
    ir, vi = fetched(job.ir, folder / "ir"), fetched(job.vi, folder / "vi")
    out = folder / "out" / job.out.name if isinstance(job.out, Address) else job.out
  except ImageError:
    shutil.rmtree(folder, ignore_errors=True)
    raise
  return Staged(job, Job(ir, vi, out, job.form), folder)
