"""Tables of scores as Markdown, LaTeX, HTML, CSV and JSON, the best and the second best marked."""

import csv
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Mapping[str, Mapping[str, float]]
"""{row title: {column: score}}; a score that is missing or NaN stays an empty cell and never wins.
"""


def columns(rows: Rows) -> list[str]:
  """Columns in the order in which they first appear."""
  return list(dict.fromkeys(name for row in rows.values() for name in row))


def ranks(rows: Rows, column: str, higher_is_better: bool) -> dict[str, int]:
  """{row title: 1 or 2} of the best and second-best distinct scores; nothing if there are no two."""
  found = {title: row[column] for title, row in rows.items() if _there(row.get(column))}
  order = sorted(set(found.values()), reverse=higher_is_better)[:2]
  if len(order) < 2:
    return {}
  return {title: order.index(score) + 1 for title, score in found.items() if score in order}


def markdown(
  rows: Rows, lower_is_better: Sequence[str] = (), digits: int = 3, title: str = "method"
) -> str:
  """A Markdown table: **best**, _second_; arrows say which way is better."""
  marks = {1: "**{}**", 2: "_{}_", 0: "{}"}
  names = columns(rows)
  head = [title, *(f"{name} {'↓' if name in lower_is_better else '↑'}" for name in names)]
  lines = [head, ["---"] * len(head), *_cells(rows, names, lower_is_better, digits, marks)]
  return "".join(
    "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines
  )


def latex(
  rows: Rows, lower_is_better: Sequence[str] = (), digits: int = 3, title: str = "method"
) -> str:
  r"""A LaTeX tabular (booktabs): \textbf{best}, \underline{second}."""
  marks = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}", 0: "{}"}
  names = columns(rows)
  arrow = lambda name: r"$\downarrow$" if name in lower_is_better else r"$\uparrow$"  # noqa: E731
  head = [_escaped(title), *(f"{_escaped(name)} {arrow(name)}" for name in names)]
  body = [
    [_escaped(line[0]), *line[1:]] for line in _cells(rows, names, lower_is_better, digits, marks)
  ]
  lines = [
    r"\begin{tabular}{l" + "r" * len(names) + "}",
    r"\toprule",
    " & ".join(head) + r" \\",
    r"\midrule",
  ]
  lines += [" & ".join(line) + r" \\" for line in body] + [r"\bottomrule", r"\end{tabular}"]
  return "\n".join(lines) + "\n"


def html_table(
  rows: Rows,
  lower_is_better: Sequence[str] = (),
  digits: int = 3,
  title: str = "method",
  unranked: Sequence[str] = (),
) -> str:
  """An HTML table: <b>best</b>, <u>second</u>; the columns of `unranked` are neither good nor bad."""
  marks = {1: "<b>{}</b>", 2: "<u>{}</u>", 0: "{}"}
  names = columns(rows)
  arrow = lambda name: "" if name in unranked else " ↓" if name in lower_is_better else " ↑"  # noqa: E731
  head = [title, *(html.escape(name) + arrow(name) for name in names)]
  cells = _cells(rows, names, lower_is_better, digits, marks, unranked)
  body = [[html.escape(line[0]), *line[1:]] for line in cells]
  lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
  lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in body]
  return "<table>" + "\n".join(lines) + "</table>"


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
  """CSV with all keys as columns."""
  names = list(dict.fromkeys(key for row in rows for key in row))
  out = io.StringIO()
  writer = csv.DictWriter(out, names, lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return out.getvalue()


def json_text(value: Any) -> str:
  """JSON; NaN and infinities, which JSON has not, become null."""
  return json.dumps(_plain(value), indent=2) + "\n"


def _there(score: Any) -> bool:
  return score is not None and not math.isnan(score)


def _cells(rows: Rows, names, lower_is_better, digits: int, marks, unranked=()) -> list[list[str]]:
  places = {
    name: {} if name in unranked else ranks(rows, name, name not in lower_is_better)
    for name in names
  }
  lines = []
  for title, row in rows.items():
    cells = [
      marks[places[name].get(title, 0)].format(f"{row[name]:.{digits}f}")
      if _there(row.get(name))
      else ""
      for name in names
    ]
    lines.append([title, *cells])
  return lines


def _escaped(text: str) -> str:
  return "".join("\\" + c if c in "_%&#$" else c for c in text)


def _plain(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value
