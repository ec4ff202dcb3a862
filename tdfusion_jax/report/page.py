"""The page that a report is: HTML with its style, script and pictures inside."""

import base64
import html
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict
from PIL import Image

from tdfusion_jax.config import Config
from tdfusion_jax.evaluate import tables
from tdfusion_jax.train import curves, summary

_LOWER = ("task_loss", "val/task_loss")
_FIRST = ("name", "stage", "seed")  # settings that are shown even if they are equal


class Run(NamedTuple):
  """A run folder."""

  name: str
  path: Path
  config: Config
  metrics: list[dict]
  result: dict[str, Any]
  """Of the task stage, or empty."""


class Gallery(NamedTuple):
  """Pictures of one pair."""

  name: str
  layers: dict[str, np.ndarray]
  """{title: [H, W, 3] uint8}, all of one size."""


def page_html(runs: Sequence[Run], galleries: Sequence[Gallery]) -> str:
  """The whole page, with its pictures inside: settings, scores, curves, pairs under a slider."""
  title = html.escape(", ".join(run.name for run in runs))
  sections = [f"<h1>{title}</h1>", _told(runs), _settings(runs), numbers(runs), _curves(runs)]
  if galleries:
    sections.append(
      "<h2>Pictures</h2><p>Choose what to compare, and drag the slider. "
      "In the weights, blue is 0, white one half, red 1.</p>"
    )
    sections += [_gallery(index, gallery) for index, gallery in enumerate(galleries)]
  head = (
    "<meta charset=utf-8><meta name=viewport content='width=device-width'>"
    f"<title>{title}</title><style>\n{_file('page.css')}</style>"
  )
  body = f"{''.join(sections)}<script>\n{_file('page.js')}</script>"
  return f"<!doctype html><html lang=en>{head}{body}</html>\n"


def _file(name: str) -> str:
  return resources.files("tdfusion_jax.report").joinpath(name).read_text(encoding="utf-8")


def _settings(runs: Sequence[Run]) -> str:
  """What differs between the runs; of a single one, its name, stage and seed."""
  settings = [flatten_dict(run.config.to_dict(), sep=".") for run in runs]
  names = sorted({name for fields in settings for name in fields} - set(_FIRST))
  differing = [name for name in names if len({str(fields.get(name)) for fields in settings}) > 1]
  lines = ["<tr><th></th>" + "".join(f"<th>{html.escape(run.name)}</th>" for run in runs) + "</tr>"]
  for name in (*_FIRST, *differing):
    cells = [name, *(str(fields.get(name, "")) for fields in settings)]
    lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
  title = "Settings that differ" if len(runs) > 1 else "Settings"
  return f"<h2>{title}</h2><table>{''.join(lines)}</table>"


def _told(runs: Sequence[Run]) -> str:
  """What each run learned, in words."""
  parts = []
  for run in runs:
    said = summary.sentences([row for row in run.metrics if _validated(row)])
    if said:
      who = f"<b>{html.escape(run.name)}</b>: " if len(runs) > 1 else ""
      parts.append(f"<p>{who}{html.escape(' '.join(said))}</p>")
  return "".join(parts)


def numbers(runs: Sequence[Run]) -> str:
  """Tables: the last validation, and the task stage's scores of each split."""
  last: dict[str, dict[str, float]] = {}
  for run in runs:
    validations = [row for row in run.metrics if _validated(row)]
    if validations:
      last[run.name] = _validated(validations[-1])
  parts = [f"<h2>Last validation</h2>{_table(last)}"] if last else []
  splits = [name for run in runs for name, part in run.result.items() if isinstance(part, dict)]
  for split in dict.fromkeys(splits):
    main: dict[str, dict[str, float]] = {}
    classes: dict[str, dict[str, float]] = {}
    for run in runs:
      for name, score in run.result.get(split, {}).items():
        (classes if "/" in name else main).setdefault(run.name, {})[name] = score
    parts.append(f"<h2>Task scores, {html.escape(split)}</h2>{_table(main)}")
    if classes:
      parts.append(f"<details><summary>Each class</summary>{_table(classes)}</details>")
  return "".join(parts)


def _validated(row: dict) -> dict[str, float]:
  return {name: value for name, value in row.items() if name.startswith("val/")}


def _table(rows: tables.Rows) -> str:
  # A weight is neither good nor bad, and fusion losses with different weights do not compare.
  unranked = [
    name for name in tables.columns(rows) if name == "val/fusion_loss" or name.startswith("val/w_")
  ]
  return tables.html_table(rows, lower_is_better=_LOWER, digits=4, title="run", unranked=unranked)


def _curves(runs: Sequence[Run]) -> str:
  panels = curves.panels_of_several({run.name: run.metrics for run in runs})
  if not panels:
    return ""
  image = _data_uri(curves.png(panels))
  return f'<h2>Curves</h2><img class=wide alt="curves of the runs" src="{image}">'


def _gallery(index: int, gallery: Gallery) -> str:
  titles = list(gallery.layers)
  height, width = gallery.layers[titles[0]].shape[:2]
  left, right = _compared(titles)
  figures = []
  for title, image in gallery.layers.items():
    name = html.escape(title)
    picture = f'<img alt="{name}" src="{_png(image)}">'
    figures.append(f"<figure>{picture}<figcaption>{name}</figcaption></figure>")
  slider = "<input type=range min=0 max=100 value=50 aria-label='where the pictures meet'>"
  controls = f"{_choice('left', titles, left)} {slider} {_choice('right', titles, right)}"
  size = f"width:{max(width, 480)}px;aspect-ratio:{width}/{height}"
  return (
    f"<section id=pair{index}><h3>{html.escape(gallery.name)}</h3><p>{controls}</p>"
    f"<div class=compare style='{size}'>"
    "<img class=under alt=right><img class=over alt=left><i></i></div>"
    f"<div class=row>{''.join(figures)}</div></section>"
  )


def _compared(titles: list[str]) -> tuple[int, int]:
  """Which two are shown at first: fused images, or the visible one beside the fused one."""
  fused = [i for i, title in enumerate(titles) if title.endswith(": fused")]
  right = fused[0] if fused else 0
  if len(fused) > 1:
    return fused[1], right
  return titles.index("visible") if "visible" in titles else 0, right


def _choice(side: str, titles: list[str], chosen: int) -> str:
  options = [
    f"<option value={i}{' selected' if i == chosen else ''}>{html.escape(title)}</option>"
    for i, title in enumerate(titles)
  ]
  return f"<select class={side} aria-label='{side} picture'>{''.join(options)}</select>"


def _png(image: np.ndarray) -> str:
  file = io.BytesIO()
  Image.fromarray(image).save(file, format="PNG", optimize=True)
  return _data_uri(file.getvalue())


def _data_uri(data: bytes) -> str:
  return "data:image/png;base64," + base64.b64encode(data).decode()
