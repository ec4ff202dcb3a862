"""A task network whose training kills its own process once, after its first checkpoint."""

import os
import signal
import threading
import time
from pathlib import Path

import small_runs

from tdfusion_jax.tasks import Task


def factory(num_classes, variant="", **options) -> Task:
  """The first process that takes the file away which KILLED_ONCE names is the one that dies."""
  flag = Path(os.environ.get("KILLED_ONCE", "/nowhere"))
  try:
    flag.rename(flag.with_name("taken"))
  except OSError:
    pass
  else:
    runs = flag.parent / "runs"
    before = set(runs.rglob("checkpoints/*"))
    threading.Thread(target=_die, args=(runs, before, flag), daemon=True).start()
  return small_runs.pixel_task(num_classes, variant, **options)


def _die(runs: Path, before: set[Path], flag: Path) -> None:
  while True:
    new = [p for p in set(runs.rglob("checkpoints/*")) - before if p.name.isdigit()]
    if new:
      flag.with_name("killed").write_text(str(new[0]))
      os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.005)
