"""Tables of scores as Markdown, LaTeX, HTML, CSV and JSON, the best and the second best marked."""

import csv
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tdfusion_jax.printing import plain

Rows = Mapping[str, Mapping[str, float]]
"""{row title: {column: score}}; a score that is missing or NaN is an empty cell and never wins."""

Marks = tuple[str, str]
"""Formats of the best and of the second-best score."""

MARKDOWN: Marks = ("**{}**", "_{}_")
LATEX: Marks = (r"\textbf{{{}}}", r"\underline{{{}}}")
HTML: Marks = ("<b>{}</b>", "<u>{}</u>")


def columns(rows: Rows) -> list[str]:
  """Columns in the order in which they first appear."""
  return list(dict.fromkeys(name for row in rows.values() for name in row))


def main_scores(scores: Mapping[str, float], digits: int = 4) -> dict[str, float]:
  """Without those of single classes ("IoU/car"), rounded."""
  return {name: round(value, digits) for name, value in scores.items() if "/" not in name}


def ranks(rows: Rows, column: str, higher_is_better: bool) -> dict[str, int]:
  """{row title: 1 or 2} of the best and second-best distinct scores; {} if there are no two."""
  scores = {title: row[column] for title, row in rows.items() if _there(row.get(column))}
  order = sorted(set(scores.values()), reverse=higher_is_better)[:2]
  if len(order) < 2:
    return {}
  return {title: order.index(score) + 1 for title, score in scores.items() if score in order}


def marked_cells(
  rows: Rows,
  names: Sequence[str],
  marks: Marks,
  *,
  lower_is_better: Sequence[str] = (),
  unranked: Sequence[str] = (),
  digits: int = 3,
) -> dict[str, list[str]]:
  """The scores of each row as text, the best and the second best of each column marked.

  Args:
    rows: what is compared.
    names: the columns.
    marks: such as `MARKDOWN`.
    lower_is_better: columns of which the lowest score is the best.
    unranked: columns in which no score is better than another.
    digits: behind the decimal point.

  Returns:
    {row title: one text for each of `names`, empty where the score is missing}.
  """
  places = {name: ranks(rows, name, name not in lower_is_better) for name in names}
  places |= {name: {} for name in unranked}
  cells = {}
  for title, row in rows.items():
    cells[title] = [
      _marked(row.get(name), places[name].get(title), marks, digits) for name in names
    ]
  return cells


def _marked(score: float | None, place: int | None, marks: Marks, digits: int) -> str:
  if not _there(score):
    return ""
  text = f"{score:.{digits}f}"
  return text if place is None else marks[place - 1].format(text)


def markdown_lines(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """A Markdown table of any texts; "|" and what a terminal would obey are escaped."""
  whole = [head, ["---"] * len(head), *lines]
  escaped = [[_in_line(cell).replace("|", r"\|") for cell in line] for line in whole]
  return "".join("| " + " | ".join(line) + " |\n" for line in escaped)


def markdown(
  rows: Rows, lower_is_better: Sequence[str] = (), digits: int = 3, title: str = "method"
) -> str:
  """A Markdown table of scores: **best**, _second_; arrows show which way is better.

  Args:
    rows: what is compared.
    lower_is_better: columns of which the lowest score is the best.
    digits: behind the decimal point.
    title: head of the first column.
  """
  names = columns(rows)
  head = [title, *(f"{name} {'↓' if name in lower_is_better else '↑'}" for name in names)]
  cells = marked_cells(rows, names, MARKDOWN, lower_is_better=lower_is_better, digits=digits)
  return markdown_lines(head, [[row, *line] for row, line in cells.items()])


def latex(
  rows: Rows, lower_is_better: Sequence[str] = (), digits: int = 3, title: str = "method"
) -> str:
  r"""A LaTeX tabular (booktabs) of scores: \textbf{best}, \underline{second}.

  Args:
    rows: what is compared.
    lower_is_better: columns of which the lowest score is the best.
    digits: behind the decimal point.
    title: head of the first column.
  """

  def arrow(name: str) -> str:
    return r"$\downarrow$" if name in lower_is_better else r"$\uparrow$"

  names = columns(rows)
  head = [_escaped(title), *(f"{_escaped(name)} {arrow(name)}" for name in names)]
  cells = marked_cells(rows, names, LATEX, lower_is_better=lower_is_better, digits=digits)
  body = [[_escaped(row), *line] for row, line in cells.items()]
  lines = [
    r"\begin{tabular}{l" + "r" * len(names) + "}",
    r"\toprule",
    " & ".join(head) + r" \\",
    r"\midrule",
    *(" & ".join(line) + r" \\" for line in body),
    r"\bottomrule",
    r"\end{tabular}",
  ]
  return "\n".join(lines) + "\n"


def html_table(
  rows: Rows,
  lower_is_better: Sequence[str] = (),
  digits: int = 3,
  title: str = "method",
  unranked: Sequence[str] = (),
) -> str:
  """An HTML table of scores: <b>best</b>, <u>second</u>.

  Args:
    rows: what is compared.
    lower_is_better: columns of which the lowest score is the best.
    digits: behind the decimal point.
    title: head of the first column.
    unranked: columns in which no score is better than another.
  """

  def arrow(name: str) -> str:
    if name in unranked:
      return ""
    return " ↓" if name in lower_is_better else " ↑"

  def line(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"

  names = columns(rows)
  cells = marked_cells(
    rows, names, HTML, lower_is_better=lower_is_better, unranked=unranked, digits=digits
  )
  lines = [line([title, *(html.escape(_in_line(name)) + arrow(name) for name in names)], "th")]
  lines += [line([html.escape(_in_line(row)), *texts], "td") for row, texts in cells.items()]
  return "<table>" + "\n".join(lines) + "</table>"


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
  """CSV with all keys as columns."""
  names = list(dict.fromkeys(key for row in rows for key in row))
  out = io.StringIO()
  writer = csv.DictWriter(out, names, lineterminator="\n")
  writer.writeheader()
  for row in rows:
    writer.writerow({k: plain(cell) if isinstance(cell, str) else cell for k, cell in row.items()})
  return out.getvalue()


def json_text(value: Any) -> str:
  """JSON; NaN and infinities, which JSON has not, become null."""
  return json.dumps(_plain(value), indent=2) + "\n"


def _there(score: float | None) -> bool:
  return score is not None and not math.isnan(score)


def _in_line(text: str) -> str:
  """Without what would end a row or be obeyed by a terminal."""
  return plain(text).replace("\n", " ")


_LATEX_WORDS = {"\\": "textbackslash", "~": "textasciitilde", "^": "textasciicircum"}


def _escaped(text: str) -> str:
  """Of LaTeX's ten special characters none is left to be obeyed."""

  def one(c: str) -> str:
    if c in _LATEX_WORDS:
      return f"\\{_LATEX_WORDS[c]}{{}}"
    return "\\" + c if c in "_%&#${}" else c

  return "".join(one(c) for c in _in_line(text))


def _plain(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value
