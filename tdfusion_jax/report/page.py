"""The page that a report is: HTML with its style, script and pictures inside."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tdfusion_jax.config import Config
from tdfusion_jax.evaluate import tables

_CURVES = (
  ("validation: task loss", "val/task_loss"),
  ("validation: fusion loss", "val/fusion_loss"),
  ("validation: mean w_a (infrared)", "val/w_a"),
  ("training: task loss", "task_loss"),
)
_LOWER = ("task_loss", "val/task_loss")


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
  sections = [f"<h1>{title}</h1>", _settings(runs), numbers(runs)]
  if plot := _curves(runs):
    sections.append(f'<h2>Curves</h2><img class=wide alt="curves of the runs" src="{plot}">')
  if galleries:
    sections.append(
      "<h2>Pictures</h2><p>Choose what to compare, and drag the slider. In the weights, blue is 0, white one half, "
      "red 1.</p>"
    )
    sections += [_gallery(index, gallery) for index, gallery in enumerate(galleries)]
  return (
    f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    f"<title>{title}</title><style>{_STYLE}</style>{''.join(sections)}<script>{_SCRIPT}</script></html>\n"
  )


def _settings(runs: Sequence[Run]) -> str:
  """What differs between the runs; of a single one, its name and seed."""
  flat = [_flat(run.config.to_dict()) for run in runs]
  names = sorted({name for fields in flat for name in fields})
  shown = ["name", "stage", "seed"] + [
    name
    for name in names
    if name not in ("name", "stage", "seed") and len({str(f.get(name)) for f in flat}) > 1
  ]
  head = "".join(f"<th>{html.escape(run.name)}</th>" for run in runs)
  cells = lambda values: "".join(f"<td>{html.escape(str(value))}</td>" for value in values)  # noqa: E731
  body = "".join(
    f"<tr>{cells([name, *(fields.get(name, '') for fields in flat)])}</tr>" for name in shown
  )
  return f"<h2>Settings{' that differ' if len(runs) > 1 else ''}</h2><table><tr><th></th>{head}</tr>{body}</table>"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for key, value in tree.items():
    flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
  return flat


def numbers(runs: Sequence[Run]) -> str:
  """Tables: the last validation, and the task stage's scores of each split."""
  last: dict[str, dict[str, float]] = {}
  for run in runs:
    seen = [row for row in run.metrics if any(key.startswith("val/") for key in row)]
    if seen:
      last[run.name] = {key: value for key, value in seen[-1].items() if key.startswith("val/")}
  parts = [f"<h2>Last validation</h2>{_table(last)}"] if last else []
  splits = list(
    dict.fromkeys(
      key for run in runs for key, value in run.result.items() if isinstance(value, dict)
    )
  )
  for split in splits:
    scores = {
      run.name: {k: v for k, v in run.result[split].items() if "/" not in k}
      for run in runs
      if split in run.result
    }
    parts.append(f"<h2>Task scores, {html.escape(split)}</h2>{_table(scores)}")
    classes = {
      run.name: {k: v for k, v in run.result[split].items() if "/" in k}
      for run in runs
      if split in run.result
    }
    if any(classes.values()):
      parts.append(f"<details><summary>Each class</summary>{_table(classes)}</details>")
  return "".join(parts)


def _table(rows: tables.Rows) -> str:
  # A weight is neither good nor bad, and fusion losses with different weights do not compare.
  unranked = [
    name for name in tables.columns(rows) if name == "val/fusion_loss" or name.startswith("val/w_")
  ]
  return tables.html_table(rows, lower_is_better=_LOWER, digits=4, title="run", unranked=unranked)


def _curves(runs: Sequence[Run]) -> str:
  """A PNG as a data URI, or an empty string."""
  import matplotlib  # slow to import

  matplotlib.use("Agg")
  from matplotlib import pyplot

  panels = [
    (title, name)
    for title, name in _CURVES
    if any(name in row for run in runs for row in run.metrics)
  ]
  if not panels:
    return ""
  figure, axes = pyplot.subplots(
    1, len(panels), figsize=(4.4 * len(panels), 3.4), squeeze=False, layout="constrained"
  )
  for axis, (title, name) in zip(axes[0], panels, strict=True):
    for color, run in enumerate(runs):
      points = [(row["step"], row[name]) for row in run.metrics if name in row]
      if points:
        style = {"marker": "." if name.startswith("val/") else None, "color": f"C{color % 10}"}
        axis.plot(*zip(*points, strict=True), label=run.name, **style)
    axis.set(title=title, xlabel="step")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
  file = io.BytesIO()
  figure.savefig(file, format="png", dpi=110)
  pyplot.close(figure)
  return _data_uri(file.getvalue())


def _gallery(index: int, gallery: Gallery) -> str:
  titles = list(gallery.layers)
  fused = [i for i, title in enumerate(titles) if title.endswith(": fused")]
  right = fused[0] if fused else 0
  left = fused[1] if len(fused) > 1 else titles.index("visible") if "visible" in titles else 0

  def choice(side: str, chosen: int) -> str:
    options = "".join(
      f"<option value={i}{' selected' if i == chosen else ''}>{html.escape(title)}</option>"
      for i, title in enumerate(titles)
    )
    return f"<select class={side} aria-label='{side} picture'>{options}</select>"

  named = [(html.escape(title), _png(image)) for title, image in gallery.layers.items()]
  figures = "".join(
    f'<figure><img alt="{title}" src="{uri}"><figcaption>{title}</figcaption></figure>'
    for title, uri in named
  )
  height, width = gallery.layers[titles[0]].shape[:2]
  return (
    f"<section id=pair{index}><h3>{html.escape(gallery.name)}</h3>"
    f"<p>{choice('left', left)} <input type=range min=0 max=100 value=50 aria-label='where the pictures meet'> "
    f"{choice('right', right)}</p>"
    f"<div class=compare style='width:{max(width, 480)}px;aspect-ratio:{width}/{height}'>"
    f"<img class=under alt=right><img class=over alt=left><i></i></div><div class=row>{figures}</div></section>"
  )


def _png(image: np.ndarray) -> str:
  file = io.BytesIO()
  Image.fromarray(image).save(file, format="PNG", optimize=True)
  return _data_uri(file.getvalue())


def _data_uri(data: bytes) -> str:
  return "data:image/png;base64," + base64.b64encode(data).decode()


_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:.5em 0;display:block;overflow-x:auto}
td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}th{background:#f2f2f2}
img.wide{max-width:100%}section{margin:2em 0;border-top:1px solid #ccc}
.compare{position:relative;max-width:100%;overflow:hidden;background:#222;touch-action:none}
.compare img{position:absolute;inset:0;width:100%;height:100%;image-rendering:pixelated}
.compare i{position:absolute;top:0;bottom:0;width:2px;margin-left:-1px;background:#fc0;pointer-events:none}
.row{display:flex;flex-wrap:wrap;gap:.6em;margin-top:.6em}figure{margin:0}figure img{height:120px;display:block}
figcaption{font-size:12px}input[type=range]{width:min(480px,60vw);vertical-align:middle}
@media(prefers-color-scheme:dark){body{background:#161616;color:#e8e8e8}th{background:#2a2a2a}td,th{border-color:#444}}
"""

# `report.html#pair1=25` opens with the slider of the second pair at a quarter.
_SCRIPT = """
for (const section of document.querySelectorAll('section')) {
  const find = name => section.querySelector(name);
  const slider = find('input'), over = find('.over'), under = find('.under'), line = find('.compare i');
  const pictures = section.querySelectorAll('figure img');
  const show = () => {
    over.src = pictures[find('.left').value].src;
    under.src = pictures[find('.right').value].src;
    over.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    line.style.left = slider.value + '%';
  };
  for (const control of section.querySelectorAll('input,select')) control.addEventListener('input', show);
  const drag = event => {
    if (!event.buttons) return;
    const box = event.currentTarget.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  for (const kind of ['pointerdown', 'pointermove']) find('.compare').addEventListener(kind, drag);
  const at = location.hash.match(new RegExp('^#' + section.id + '=(\\\\d+)$'));
  if (at) { slider.value = at[1]; section.scrollIntoView(); }
  show();
}
"""
