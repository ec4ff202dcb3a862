"""The readers' remarks while records are built, each once."""

import contextlib
import logging
from collections.abc import Iterator


class _Once(logging.Filter):
  """Every message once: the splits are opened several times."""

  def __init__(self):
    super().__init__()
    self.seen: set[str] = set()

  def filter(self, record: logging.LogRecord) -> bool:
    message = record.getMessage()
    new = message not in self.seen
    self.seen.add(message)
    return new


@contextlib.contextmanager
def shown() -> Iterator[None]:
  """Shows the readers' remarks as plain lines: skipped pairs, boxes outside their image."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(message)s"))
  handler.addFilter(_Once())
  ours = logging.getLogger("tdfusion_jax.data")
  before = ours.level, ours.propagate
  ours.addHandler(handler)
  ours.setLevel(logging.INFO)
  ours.propagate = False  # tensorflow-datasets gives the root logger a handler of its own
  try:
    yield
  finally:
    ours.removeHandler(handler)
    ours.setLevel(before[0])
    ours.propagate = before[1]
