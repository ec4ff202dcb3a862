"""Files that are written whole or not at all."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

_COUNT = itertools.count()


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
  """A file beside `path`, to be written in the block; it takes `path`'s place at the end of the block.

  An error in the block leaves `path` as it was, and nothing beside it. The folder is made if needed. The file has the
  ending of `path` and a short name, so that any `path` that is allowed can be written.

  Raises:
    OSError: the folder cannot be made, or `path` cannot be replaced.
  """
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{os.getpid()}.{next(_COUNT)}.tmp{path.suffix}")
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    with contextlib.suppress(OSError):  # it may never have been made, and an error that is under way counts more
      temporary.unlink(missing_ok=True)
