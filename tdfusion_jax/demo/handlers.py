"""What happens when something of the page is used: from values of its controls to new ones."""

import html
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tdfusion_jax.demo import work
from tdfusion_jax.demo.models import Model
from tdfusion_jax.demo.samples import Sample
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.scaling import parse_scale
from tdfusion_jax.metrics.fusion import PAPER

SCALES = {
  "all that the file's type can hold": "linear",
  "1st to 99th percentile (for dark 16-bit files)": "percentile",
}
"""What the page calls a range of infrared values: as `tdfusion fuse --scale` has it."""


class Handlers:
  """The page's functions.

  Args:
    gr: the package `gradio`.
    models: to choose from.
    samples: {title: pair}.
  """

  def __init__(self, gr: Any, models: Sequence[Model], samples: Mapping[str, Sample]):
    self._gr, self._samples = gr, samples
    self._models = {model.title: model for model in models}

  def pick(self, title: str) -> tuple[str, str]:
    """The files of a sample, in the place of files that are dropped."""
    sample = self._samples[title]
    return str(sample.ir), str(sample.vi)

  def unpick(self) -> None:
    """No sample is chosen, once a file of the user's is there."""

  def look(self, side: str) -> Callable[[str | None, str], tuple[Any, Any]]:
    """Shows the image of one side as it is read, or why it cannot be."""

    def look(file: str | None, scale: str) -> tuple[Any, Any]:
      fine = self._gr.HTML(visible=False)
      if file is None:
        return None, fine
      try:
        chosen = parse_scale(SCALES[scale] if side == "infrared" else "linear")
        return work.preview(Path(file), side, chosen), fine
      except ImageError as error:
        return None, self._gr.HTML(trouble(str(error)), visible=True)

    return look

  def fuse(
    self, ir: str | None, vi: str | None, model: str, scale: str, before: str
  ) -> Iterator[tuple[Any, ...]]:
    """The fused image first, then the weights of G, then the metrics: each as soon as it is there.

    Yields:
      State, what holds the results, fused image, its download, both sides of the slider, what they
      are taken from, the note on the maps, the maps, the table.
    """
    gr = self._gr
    hidden = (gr.Column(visible=False), *[None] * 8)
    yield (done("Fusing ..."), *hidden)
    with tempfile.TemporaryDirectory(prefix="tdfusion_demo_") as folder:
      try:
        chosen = self._models[model]
        files = work.stage(Path(folder), ir, vi, parse_scale(SCALES[scale]))
        names = _names(files, str(ir), str(vi))
        with work.in_own_names(names):
          work.check(files)
          warning = work.own_names(work.fuse(files, chosen), names)
          seen, there = work.shown(files), str(files.fused)
          state = done(f"Fused, {work.described(files)}.", warning)
          sides = seen[before], seen["fused"]
          # Whole rows each time: a program that asks for the page's work gets the last one.
          first = (state, gr.Column(visible=True), there, there, sides, seen)
          yield (*first, wait("Computing ..."), None, None, wait("Measuring ..."))
          second = (*first, *_maps(files, chosen))
          yield (*second, wait("Measuring ..."))
          yield (*second, table(*work.scores(files)))
      except ImageError as error:
        yield (trouble(str(error)), *hidden)

  def compare(self, seen: dict[str, np.ndarray] | None, before: str) -> Any:
    """Puts another image on the slider's left side."""
    return None if seen is None else (seen[before], seen["fused"])

  def divide(self, percent: float) -> Any:
    """Moves the slider's divider."""
    return self._gr.ImageSlider(slider_position=percent)


def _names(files: work.Files, ir: str, vi: str) -> dict[str, Path]:
  """What the user calls the files that errors may name."""
  return {
    f"infrared image {Path(ir).name}": files.ir,
    f"visible image {Path(vi).name}": files.vi,
    "the fused image": files.fused,
  }


def _maps(files: work.Files, model: Model) -> tuple[str, np.ndarray | None, np.ndarray | None]:
  if model.weigh is None:
    return wait(model.why_no_maps), None, None
  w_a, stride = work.weight_map(files, model)
  note = f"Mean weight of infrared: {w_a.mean():.2f}."
  if stride > 1:
    note += f" Computed at 1/{stride} of the image's width and height."
  return wait(note), work.coloured(w_a), work.coloured(1 - w_a)


def done(text: str, warning: str = "") -> str:
  """HTML of a state that is as it should be; a warning beside it."""
  more = f" <strong>Warning: {html.escape(warning)}</strong>" if warning else ""
  return f'<p class="done" role="status">{html.escape(text)}{more}</p>'


def trouble(text: str) -> str:
  """HTML of an error, which screen readers read out at once."""
  return f'<p class="trouble" role="alert">{html.escape(text)}</p>'


def wait(text: str) -> str:
  """HTML in the place of what is not there yet."""
  return f"<p>{html.escape(text)}</p>"


def table(rows: Mapping[str, Mapping[str, float]], remarks: Sequence[str]) -> str:
  """HTML of scores: a column for each image, so that it fits a phone; the best in bold."""
  heads = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in rows)
  lines = [f'<tr><th scope="col">metric</th>{heads}</tr>']
  for name in PAPER:
    values = [row[name] for row in rows.values()]
    best = max((value for value in values if math.isfinite(value)), default=math.nan)
    cells = "".join(f"<td>{_cell(value, best)}</td>" for value in values)
    lines.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
  notes = "".join(wait(remark) for remark in remarks)
  return f'<div class="scores"><table>{"".join(lines)}</table></div>{notes}'


def _cell(value: float, best: float) -> str:
  if not math.isfinite(value):
    return "none"
  text = f"{round(value, 3) + 0:.3f}"  # no -0.000
  return f"<strong>{text}</strong>" if value == best else text
