"""Model cards: what weights are, on what terms, how to use them, and scores out of a card."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tdfusion_jax.files import UsageError

_HEAD = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_IDENTIFIER = re.compile(r"[A-Za-z0-9.+-]+")  # of a licence, as SPDX has them
_USE = """## Use

```python
import tdfusion_jax

model = tdfusion_jax.FusionModel.from_pretrained("OWNER/NAME")  # where this card is
fused = model("ir.png", "vi.png")
```

or `tdfusion fuse --ir photos/ir --vi photos/vi --out fused --weights hf:OWNER/NAME`. Both images of
a pair show the same view, pixel for pixel.
"""
_NOTES = ("arch", "parameters", "config", "step", "source_file", "source_sha256", "changes")


def card_of(title: str, notes: Mapping[str, Any], about: str = "") -> str:
  """A model card in Markdown, with the head that the Hugging Face Hub reads.

  Args:
    title: of the model.
    notes: of its weight file; `licence` goes into the head too.
    about: a card that there is already, put below; otherwise what the notes say.
  """
  licence = str(notes.get("licence", ""))
  told = [f"# {title}", f"F of TDFusion in JAX. Licence: {licence or 'not stated'}.", _USE]
  told += [about] if about else ["## What is known", *_tables(notes)]
  head: dict[str, Any] = {"library_name": "tdfusion_jax", "pipeline_tag": "image-to-image"}
  head["tags"] = ["image-fusion", "infrared", "jax"]
  text = "\n\n".join(part.strip() for part in told)
  return with_licence(f"---\n{_dumped(head)}---\n\n{text}\n", licence)


def _tables(notes: Mapping[str, Any]) -> Iterator[str]:
  """What is known about weights, and their scores."""
  lines = [f"| {key} | {_cell(notes[key])} |" for key in _NOTES if notes.get(key)]
  yield "\n".join(["| | |", "|---|---|", *lines])
  scores = notes.get("scores") or {}
  if scores:
    rows = ([*scores], ["---"] * len(scores), [f"{score:g}" for score in scores.values()])
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
    yield "Means over the real pairs of the model card of tdfusion_jax; higher is better."
  else:
    yield "Nothing was measured for this card."


def with_licence(card: str, licence: str) -> str:
  """`card` with `licence` in its head; as it is if the licence is empty.

  Raises:
    UsageError: its head cannot be read.
  """
  if not licence:
    return card
  import yaml

  found = _HEAD.match(card)
  try:
    head = yaml.safe_load(found[1]) if found else {}
  except (yaml.YAMLError, RecursionError) as error:
    raise UsageError("the head of the model card (README.md) is no YAML: correct it.") from error
  if not isinstance(head, dict):
    raise UsageError("the head of the model card (README.md) has no fields: correct it.")
  kept = {key: value for key, value in head.items() if not str(key).startswith("license")}
  if _IDENTIFIER.fullmatch(licence):
    kept["license"] = licence.lower()
  else:
    kept |= {"license": "other", "license_name": licence}
  return f"---\n{_dumped(kept)}---\n{card[found.end() :] if found else card}"


def scores_of(card: str, row: str, pairs: str) -> dict[str, float]:
  """{metric: mean} out of a table of a card; empty if it has no such row.

  Args:
    card: Markdown, with a table of the columns pairs, method, metrics.
    row: the method.
    pairs: what stands in the first column, at the first of the rows of those pairs.
  """
  names: list[str] = []
  group = ""
  for line in card.splitlines():
    cells = [cell.strip(" *") for cell in line.strip().split("|")[1:-1]]
    if cells[:1] == ["pairs"]:
      names, group = cells[2:], ""
    elif len(cells) != len(names) + 2:
      names = []
    elif names:
      group = cells[0] or group
      if (group, cells[1]) == (pairs, row):
        return {name: float(cell) for name, cell in zip(names, cells[2:], strict=True)}
  return {}


def _cell(value: Any) -> str:
  text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
  return text.replace("|", r"\|").replace("\n", " ")


def _dumped(head: Mapping[str, Any]) -> str:
  import yaml

  return yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)
