"""What the fuzzers share: random damage, and a runner that looks at what comes of it.

A fuzzer gives `fuzz` two functions: one writes a damaged file, the other reads it as the package
does. Each file must be read, or refused with one error of the expected kind that names it, within
a limit of time; no code of it may run, and nothing may be written but in the output folder.
"""

import argparse
import collections
import faulthandler
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from watching import Watch, watching

from tdfusion_jax.files import UsageError
from tdfusion_jax.progress import Progress

NUMBERS = (
  *["nan", "-nan", "inf", "-1", "0", "1e999", "-1e999", "1e308", "99999999999999999999"],
  "9" * 5000,
  *["0x10", "1_0", "٣", "", "None", "true", "1.5", "-0", "4294967296", "[]", "{}"],
)
NAMES = (
  "../../../etc/passwd",
  "/etc/passwd",
  "..",
  ".",
  "C:\\x",
  "a\x00b",
  "dog",
  "A" * 5000,
  "",
  "&x;",
  "\u202e",
  "a/b",
)
PIECES = (
  b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;&a;">]>',
  b'<!DOCTYPE x SYSTEM "file:///etc/passwd">',
  b"\xff\xfe",
  b"<" * 3000,
  b"<a>" * 3000,
  b"[" * 60000,
  b"\x00" * 64,
  b'<?xml version="1.0" encoding="nonsense"?>',
  b",,,,",
)
_STDERR = sys.__stderr__ or sys.stderr  # a real file, also where something captures what is printed
SHOWN = 20  # failures that the report lists


def damage(rng: random.Random, content: bytes, text: bool) -> bytes:
  """One to four random changes.

  Args:
    rng: draws them.
    content: of a valid file.
    text: whether it is one, in which numbers and names are replaced too.
  """
  for _ in range(rng.choice((1, 1, 2, 4))):
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice((1, 2, 4, 16, 64)))
    kinds = (
      ["bits", "cut", "remove", "repeat", "bytes", "insert"]
      + ["number"] * 4 * text
      + ["name"] * 3 * text
    )
    kind = rng.choice(kinds)
    if kind == "bits" and content:
      position = rng.randrange(len(content))
      content = (
        content[:position]
        + bytes([content[position] ^ 1 << rng.randrange(8)])
        + content[position + 1 :]
      )
    elif kind == "cut":
      content = content[:start]
    elif kind == "remove":
      content = content[:start] + content[stop:]
    elif kind == "repeat":
      content = content[:stop] + content[start:stop] * rng.choice((1, 3, 50)) + content[stop:]
    elif kind == "bytes":
      content = content[:start] + rng.randbytes(stop - start) + content[stop:]
    elif kind == "insert":
      content = content[:start] + rng.choice(PIECES) + content[start:]
    elif kind == "number":
      content = replace(rng, rb"-?\d+\.?\d*", rng.choice(NUMBERS), content)
    elif kind == "name":
      # Of XML mostly the text between tags: a broken tag ends the reading before the values are
      # looked at.
      pattern = (
        rb"(?<=>)[^<>]+(?=<)" if content[:1] == b"<" and rng.random() < 0.8 else rb"[A-Za-z_][\w.]*"
      )
      content = replace(rng, pattern, rng.choice(NAMES), content)
  return content


def replace(rng: random.Random, pattern: bytes, value: str, content: bytes) -> bytes:
  """`content` with `value` at one of the places that `pattern` matches."""
  places = list(re.finditer(pattern, content))
  if not places:
    return content
  place = rng.choice(places)
  return content[: place.start()] + value.encode("utf-8", "surrogatepass") + content[place.end() :]


class Case(NamedTuple):
  """A damaged file or folder."""

  kind: str
  """What the counts are by."""
  path: Path
  """In the folder that `Target.make` was given."""
  names: tuple[str, ...] = ()
  """One of them must be in an error; empty: the path's name."""
  code: bool = False
  """Whether the file is code by right, such as a config file: that it runs is no fault."""


class Target(NamedTuple):
  """What is fuzzed."""

  make: Callable[[random.Random, Path], Case]
  """Writes a damaged file into the folder, which holds what the case before left."""
  attempt: Callable[[Case, random.Random, Path], None]
  """Reads it; may write into the folder that it is given last, which is empty."""
  refusal: type[Exception] = UsageError
  """What a bad file may raise."""
  writable: Sequence[Path] = ()
  """Where else may be written, such as the user's caches."""
  programs: Sequence[str] = ()
  """Names of programs that may be started."""
  reads_only: bool = True
  """Whether what is read stays as it is; a run folder is written when its run goes on."""


class Outcome(NamedTuple):
  """What came of the files."""

  counts: collections.Counter
  """{(kind, "read" or "refused"): files}."""
  failures: list[str]
  longest: float
  """Seconds of the slowest file."""


class _Time(NamedTuple):
  """Seconds, of this process."""

  by_clock: float
  worked: float
  """On a processor, by all threads."""
  kept_waiting: float
  """Ready to work, while other programs had the processors; 0 where the system does not say."""

  @classmethod
  def now(cls) -> "_Time":
    waited = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
      try:
        waited += int(file.read_text().split()[1])
      except OSError:  # the thread has ended
        continue
    return cls(time.perf_counter(), time.process_time(), waited / 1e9)

  def until(self, later: "_Time") -> float:
    """Seconds that a machine of our own would have taken, at most."""
    passed, worked, waited = (b - a for a, b in zip(self, later, strict=True))
    return max(worked, passed - waited)


def fuzz(
  target: Target, count: int, seed: int, limit: float = 5.0, keep: Path | None = None
) -> Outcome:
  """Reads `count` damaged files.

  Args:
    target: makes and reads them.
    count: files.
    seed: other damage.
    limit: seconds that one file may take, of the processor or of waiting for anything but the
      processor, which other programs may keep. One that takes twenty times as long by the clock
      ends the process with a traceback of where it hangs, since it could not be counted.
    keep: folder for the files that failed.
  """
  rng = random.Random(seed)
  counts, failures, longest = collections.Counter(), [], 0.0
  with (
    tempfile.TemporaryDirectory() as scratch,
    warnings.catch_warnings(),
    Progress(count, "damaged files", unit="files") as progress,
  ):
    warnings.simplefilter("ignore")
    root = Path(scratch).resolve()
    for number in range(count):
      for name in ("in", "out"):
        (root / name).mkdir(exist_ok=True)
      case = target.make(rng, root / "in")
      copy = _copied(case.path, root / "kept") if keep and not target.reads_only else case.path
      faulthandler.dump_traceback_later(20 * limit, exit=True, file=_STDERR)
      began = _Time.now()
      result, problem = _tried(target, case, rng, root)
      seconds = began.until(_Time.now())
      faulthandler.cancel_dump_traceback_later()
      longest = max(longest, seconds)
      if result:
        counts[case.kind, result] += 1
      if seconds > limit:
        problem = f"took {seconds:.1f} s"
      if problem:
        failures.append(f"file {number} ({case.kind}): {problem}")
      if problem and keep:
        _copied(copy, keep / f"{seed}_{number}_{case.kind}{case.path.suffix}")
      _emptied(root / "out")
      progress.update(number + 1)
  return Outcome(counts, failures, longest)


def _tried(target: Target, case: Case, rng: random.Random, root: Path) -> tuple[str, str | None]:
  """("read", "refused" or "", what was wrong or None)."""
  writable = [root / "out", *target.writable, *([] if target.reads_only else [root / "in"])]
  before, here = _listed(root, target), os.getcwd()
  result, problem = "", None
  inside = root / "none" if case.code else root
  with watching(Watch(inside, writable, target.programs)) as watch:
    try:
      target.attempt(case, rng, root / "out")
      result = "read"
    except target.refusal as error:
      result = "refused"
      names = case.names or (case.path.name,)
      if not any(name in str(error) for name in names):
        problem = f"message without the file's name: {error}"
    except Exception:
      problem = traceback.format_exc()
  strange = watch.seen[:5]
  strange += [f"written outside: {path}" for path in sorted(_listed(root, target) ^ before)[:5]]
  if os.getcwd() != here:
    strange.append(f"the current folder is {os.getcwd()}")
    os.chdir(here)
  return result, "; ".join(strange) or problem


def _listed(root: Path, target: Target) -> set[str]:
  """The files around the damaged one, which native code may write unheard."""
  found = {path.name for path in root.iterdir()}
  if target.reads_only:
    found |= {f"in/{path.name}" for path in (root / "in").iterdir()}
  return found


def _copied(path: Path, to: Path) -> Path:
  if path.is_dir():
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(path, to, symlinks=True)
  elif path.exists():
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
  return to


def _emptied(folder: Path) -> None:
  for path in folder.iterdir():
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path)
    else:
      path.unlink()


def report(outcome: Outcome, count: int, seconds: float) -> str:
  """The counts by kind, a line about the whole, and the first failures."""
  kinds = sorted({kind for kind, _ in outcome.counts})
  width = max(map(len, kinds), default=0)
  counts = outcome.counts
  lines = [
    f"{kind:{width}} read {counts[kind, 'read']:6} refused {counts[kind, 'refused']:6}"
    for kind in kinds
  ]
  whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  memory = max(resource.getrusage(who).ru_maxrss for who in whose) / 1024
  lines.append(
    f"{count} files in {seconds:.0f} s, longest {outcome.longest * 1000:.0f} ms, "
    f"peak memory {memory:.0f} MiB, {len(outcome.failures)} failure(s)"
  )
  return "\n".join([*lines, *outcome.failures[:SHOWN]])


def main(about: str, target: Callable[[], Target], argv: list[str] | None = None) -> int:
  """The command line of a fuzzer; 1 if a file failed.

  Args:
    about: its docstring.
    target: makes what is fuzzed, when the options are known to be right.
    argv: the options; None for those of the process.
  """
  parser = argparse.ArgumentParser(
    description=about, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--count", type=int, default=10_000, help="damaged files")
  parser.add_argument("--seed", type=int, default=0, help="other damage")
  parser.add_argument("--limit", type=float, default=5.0, help="seconds that one file may take")
  parser.add_argument("--keep", type=Path, metavar="DIR", help="where the files that failed go")
  options = parser.parse_args(argv)
  made = target()
  began = time.perf_counter()
  keep = options.keep.resolve() if options.keep else None
  outcome = fuzz(made, options.count, options.seed, options.limit, keep)
  print(report(outcome, options.count, time.perf_counter() - began))
  return 1 if outcome.failures else 0
