"""The code blocks of README and of the manual, and the commands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVED = re.compile(r"as `(\w+\.py)`:\s*\Z")
_LOOP = re.compile(r"for (\w+) in ([^;\n]+); do\n(.*?)\ndone", re.DOTALL)
_VARIABLE = re.compile(r"[A-Z_]+=\S*")


class Block(NamedTuple):
  """A code block of a page."""

  page: str
  """Relative to the repository."""
  line: int
  language: str
  text: str
  saved_as: str
  """The file that the line before tells the reader to save it as; empty if none."""


class Command(NamedTuple):
  """A simple command of a bash block."""

  words: list[str]
  variables: dict[str, str]
  """What stands before it, such as TDFUSION_NATIVE=0."""

  def __str__(self) -> str:
    return shlex.join([*(f"{name}={value}" for name, value in self.variables.items()), *self.words])


def pages() -> list[str]:
  """README and every page of the manual, in the order that users read them."""
  rooms = ("tutorials", "guide", "method", "project", "reference")
  found = [page for room in rooms for page in sorted((ROOT / "docs" / room).glob("*.md"))]
  return ["README.md", "docs/index.md", *(page.relative_to(ROOT).as_posix() for page in found)]


def blocks(page: str) -> list[Block]:
  """The bash and python blocks of a page."""
  text = (ROOT / page).read_text()
  found = []
  for at in _BLOCK.finditer(text):
    before = _SAVED.search(text[: at.start()])
    line = text.count("\n", 0, at.start()) + 1
    found.append(Block(page, line, at[1], at[2], before[1] if before else ""))
  return found


def commands(text: str) -> list[Command]:
  """The simple commands of a bash block: loops unrolled, comments and `&&` taken away."""
  text = _LOOP.sub(_unrolled, text.replace("\\\n", " "))
  found = []
  for line in text.splitlines():
    words = shlex.split(line, comments=True)
    while words:
      end = words.index("&&") if "&&" in words else len(words)
      found.append(_command(words[:end]))
      words = words[end + 1 :]
  return found


def _unrolled(loop: re.Match) -> str:
  name, values, body = loop.groups()
  return "\n".join(body.replace(f"${name}", value) for value in values.split())


def _command(words: list[str]) -> Command:
  variables = {}
  while words and _VARIABLE.fullmatch(words[0]):
    name, _, value = words[0].partition("=")
    variables[name] = value
    words = words[1:]
  return Command(words, variables)
