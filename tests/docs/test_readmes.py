"""README in Chinese says what README says: the same commands, links and sections in one order."""

import re

from docs.blocks import ROOT, blocks

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


def text(name):
  return (ROOT / name).read_text(encoding="utf-8")


def prose(name):
  return re.sub(r"```.*?```", "", text(name), flags=re.DOTALL)


def test_code_blocks_are_the_same():
  ours, theirs = ([(b.language, b.text) for b in blocks(name)] for name in (ENGLISH, CHINESE))
  assert ours == theirs and len(ours) > 8


def test_links_lead_to_the_same_places():
  there = {name: re.findall(r"\]\(([^)]*)\)", text(name)) for name in (ENGLISH, CHINESE)}
  assert there[ENGLISH][0] == CHINESE and there[CHINESE][0] == ENGLISH
  assert there[ENGLISH][1:] == there[CHINESE][1:]


def test_sections_items_and_code_in_the_text_are_the_same():
  for pattern in (r"^#+ ", r"^- ", r"^\|", r"\*\*"):
    counts = [len(re.findall(pattern, prose(name), re.MULTILINE)) for name in (ENGLISH, CHINESE)]
    assert counts[0] == counts[1] > 0, pattern
  code = [sorted(re.findall(r"`[^`\n]+`", prose(name))) for name in (ENGLISH, CHINESE)]
  assert code[0] == code[1]
