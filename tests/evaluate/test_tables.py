"""Tables: who is best, and what a cell without a value does."""

import csv
import io
import json

import pytest

from tdfusion_jax.evaluate import tables

ROWS = {
  "ours": {"EN": 7.0, "MSE": 2.0},
  "a_b": {"EN": 6.5, "MSE": 1.0},
  "none": {"EN": float("nan"), "MSE": 3.0},
}


def test_ranks_follow_the_direction_and_skip_what_is_missing():
  assert tables.ranks(ROWS, "EN", True) == {"ours": 1, "a_b": 2}
  assert tables.ranks(ROWS, "MSE", False) == {"a_b": 1, "ours": 2}
  assert tables.ranks({"x": {"EN": 1.0}, "y": {"EN": 1.0}, "z": {"EN": 0.5}}, "EN", True) == {
    "x": 1,
    "y": 1,
    "z": 2,
  }
  assert tables.ranks({"x": {"EN": 1.0}}, "EN", True) == {}
  assert tables.ranks({"x": {"EN": 0.0}, "y": {"EN": 0.0}}, "EN", True) == {}  # nobody is better


def test_markdown():
  assert tables.markdown(ROWS, ["MSE"], digits=1).splitlines() == [
    "| method | EN ↑ | MSE ↓ |",
    "| --- | --- | --- |",
    "| ours | **7.0** | _2.0_ |",
    "| a_b | _6.5_ | **1.0** |",
    "| none |  | 3.0 |",
  ]
  assert tables.markdown({"a|b": {"EN": 1.0}}, digits=1).splitlines()[2] == r"| a\|b | 1.0 |"


def test_latex_marks_and_escapes():
  text = tables.latex(ROWS, ["MSE"], digits=1)
  assert r"ours & \textbf{7.0} & \underline{2.0} \\" in text
  assert r"a\_b & \underline{6.5} & \textbf{1.0} \\" in text and text.startswith(
    r"\begin{tabular}{lrr}"
  )
  # LaTeX's ten special characters, and what a terminal would obey.
  text = tables.latex({"\\~^{}#$%&_\x1b": {"EN": 1.0}})
  special = r"\textbackslash{}\textasciitilde{}\textasciicircum{}\{\}\#\$\%\&\_"
  assert special + r"\textbackslash{}x1b" in text


def test_html_marks_escapes_and_leaves_some_columns_alone():
  text = tables.html_table(
    {"a<b": {"EN": 1.0, "w": 0.5}, "c": {"EN": 2.0, "w": 0.7}}, digits=1, unranked=["w"]
  )
  assert "<tr><td>a&lt;b</td><td><u>1.0</u></td><td>0.5</td></tr>" in text
  assert (
    "<tr><td>c</td><td><b>2.0</b></td><td>0.7</td></tr>" in text
    and "<th>EN ↑</th><th>w</th>" in text
  )


def test_csv_and_json_read_back():
  rows = [{"image": "a,b", "EN": 1.5}, {"image": "c", "SF": 2.0}]
  assert list(csv.DictReader(io.StringIO(tables.comma_separated(rows))))[0] == {
    "image": "a,b",
    "EN": "1.5",
    "SF": "",
  }
  assert json.loads(tables.json_text({"x": [1.5, float("inf")], "y": float("nan")})) == {
    "x": [1.5, None],
    "y": None,
  }
  with pytest.raises(TypeError):
    tables.json_text({"x": object()})
