"""Mends text files: one line feed at the end, no white space at the end of a line.

  python tools/tidy_files.py FILE...

A pre-commit hook. Binary files are skipped. The status is 1 if a file was changed, so that the
commit is looked at again.
"""

import sys
from pathlib import Path


def tidy(content: bytes) -> bytes:
  """`content` without trailing white space, ended by one line feed; an empty file stays empty."""
  lines = [line.rstrip() for line in content.rstrip().split(b"\n")]
  return b"\n".join(lines) + b"\n" if content.strip() else b""


def main(names: list[str]) -> int:
  """Mends the files in place and names those that it changed."""
  status = 0
  for name in names:
    path = Path(name)
    content = path.read_bytes()
    if b"\0" in content or path.is_symlink():
      continue
    mended = tidy(content)
    if mended != content:
      path.write_bytes(mended)
      print(f"mended {name}")
      status = 1
  return status


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
