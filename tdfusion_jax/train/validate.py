"""Validation: how well F, G and T do on held-out pairs, as numbers and pictures."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.batch import DetTarget, Pair, SegTarget
from tdfusion_jax.data import val_batches
from tdfusion_jax.data.source import Source, find
from tdfusion_jax.data.transforms import resize_nearest
from tdfusion_jax.images import pictures
from tdfusion_jax.meta.method import Method
from tdfusion_jax.meta.state import Params
from tdfusion_jax.ops import compiling
from tdfusion_jax.train.scores import Scores

WEIGHTS = ("w_a (infrared)", "w_b (visible)")
"""Titles of the panels that show them."""
_LOOK_FOR = {
  WEIGHTS[
    0
  ]: "w_a, w_b: red 1, white 1/2, blue 0. Good: w_a is red where only infrared shows what T "
  "looks for, w_b where only the visible image does.",
  "predicted": "predicted: what T finds in the fused image. Good: the same as true.",
}


def inspect_pair(method: Method, params: Params, pair: Pair) -> dict[str, Any]:
  """What F, G and T make of one pair [1, H, W, 1]; T with its running statistics.

  Returns:
    {"fused" [1, H, W, 1], "weights" [1, H, W, 2], "losses" {name: scalar}, "predictions"} as far as
    the method has them.
  """
  fused = method.fuse(params.f, pair.ir, pair.vi)
  seen: dict[str, Any] = {"fused": fused}
  losses = {}
  if method.fusion_loss is not None or method.f_weighs:
    weighing = params.f if method.f_weighs else params.g
    seen["weights"] = method.weigh(weighing, pair.ir, pair.vi)
  if method.fusion_loss is not None:
    losses["fusion_loss"], _ = method.fusion_loss(fused, pair.ir, pair.vi, seen["weights"])
  if method.task is not None:
    outputs, _ = method.task.apply(params.t, params.t_stats, fused, train=False, key=None)
    losses["task_loss"], _ = method.task.loss(outputs, pair.target)
    seen["predictions"] = method.task.predict(params.t, params.t_stats, fused)
  if losses:
    seen["losses"] = losses
  return seen


@cache
def _compiled_inspection():
  return compiling.jit(inspect_pair, static_argnums=0)


def inspect_pairs(
  method: Method,
  params: Params,
  source: Source,
  *,
  task_size: tuple[int, int],
  max_boxes: int,
  limit: int,
  view: str = "resize",
) -> Iterator[tuple[Pair, dict[str, Any]]]:
  """The first `limit` pairs of `source` with what `inspect_pair` finds in them, as NumPy arrays.

  Args:
    method: functions and switches of the run.
    params: F, G, T as they are.
    source: pairs, of which each becomes a batch of one.
    task_size: (H, W) that pairs are resized to.
    max_boxes: rows per image in `DetTarget`.
    limit: pairs to inspect.
    view: how pairs fill that size, see `data.letterbox.whole_view`.
  """
  sizes = {"task_size": task_size, "max_boxes": max_boxes, "view": view}
  batches = val_batches(source, batch_size=1, limit=limit, **sizes)
  inspect = _compiled_inspection()
  for pair in batches:
    yield pair, jax.device_get(inspect(method, params, jax.tree.map(jnp.asarray, pair)))


def validate(  # noqa: PLR0913  most are fields of the config
  method: Method,
  params: Params,
  source: Source,
  *,
  task_size: tuple[int, int],
  max_boxes: int,
  limit: int,
  num_pictures: int,
  view: str = "resize",
  least_score: float = 0.0,
) -> tuple[dict[str, float], np.ndarray | None]:
  """Means over the first `limit` pairs of `source`, and pictures of some.

  Args:
    method: functions and switches of the run.
    params: F, G, T as they are.
    source: validation pairs. Where it has `scene(index)` with `ir_only` and `vi_only` masks (the
      synthetic world), the mean w_a inside each is reported too, over the pixels of all pairs.
    task_size: (H, W) that pairs are resized to.
    max_boxes: rows per image in `DetTarget`.
    limit: pairs to measure.
    num_pictures: rows of the contact sheet.
    view: how pairs fill that size, see `data.letterbox.whole_view`; masks of `scene` need "resize".
    least_score: of predicted boxes in the pictures; scores count all.

  Returns:
    ({"val/task_loss", "val/fusion_loss", "val/w_a", ...}: means over pairs; "val/mIoU", or
    "val/AP50" and "val/mAP", of all pairs together, see `scores.Scores`; contact sheet RGB uint8
    or None).
  """
  scores = Scores(source.classes)
  sums: dict[str, list[float]] = {}
  rows = []
  inspected = inspect_pairs(
    method, params, source, task_size=task_size, max_boxes=max_boxes, limit=limit, view=view
  )
  for index, (pair, seen) in enumerate(inspected):
    for name, value in seen.get("losses", {}).items():
      _add(sums, name, float(value), 1)
    scores.add(seen.get("predictions"), pair.target)
    if "weights" in seen:
      w_a = seen["weights"][0, ..., 0]
      _add(sums, "w_a", w_a.sum(), w_a.size)
      for name, mask in _masks(source, index, task_size).items():
        _add(sums, f"w_a_{name}", w_a[mask].sum(), mask.sum())
    if index < num_pictures:
      rows.append(pictures_of(pair, seen, least_score))
  measured = {f"val/{name}": total / count for name, (total, count) in sums.items() if count}
  measured |= {f"val/{name}": value for name, value in scores.measured().items()}
  return measured, _sheet(rows) if rows else None


def _sheet(rows: list[dict[str, np.ndarray]]) -> np.ndarray:
  """The contact sheet, without weights that are the same everywhere, and what to look for in it."""
  flat = [name for name in WEIGHTS if all(_is_flat(row[name]) for row in rows if name in row)]
  rows = [{name: image for name, image in row.items() if name not in flat} for row in rows]
  caption = [text for name, text in _LOOK_FOR.items() if name in rows[0]]
  return pictures.sheet(rows, caption)


def _is_flat(image: np.ndarray) -> bool:
  return bool((image == image[0, 0]).all())


def _add(sums: dict[str, list[float]], name: str, value, count) -> None:
  total = sums.setdefault(name, [0.0, 0.0])
  total[0] += float(value)
  total[1] += float(count)


def _masks(source: Source, index: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
  """Where one image alone shows a thing, {name: [H, W] bool}; {} in a world that is not known."""
  scene = find(source, "scene")
  if scene is None:
    return {}
  drawn = scene(index)
  return {name: resize_nearest(drawn[name], size) for name in ("ir_only", "vi_only")}


def pictures_of(
  pair: Pair, seen: dict[str, Any], least_score: float = 0.0
) -> dict[str, np.ndarray]:
  """One line of the contact sheet: {title: RGB uint8} of what `inspect_pairs` yields.

  Args:
    pair: the images and the truth.
    seen: what F, G and T make of it.
    least_score: of the boxes that are drawn.
  """
  fused = pictures.gray(seen["fused"][0, ..., 0])
  row = {
    "infrared": pictures.gray(pair.ir[0, ..., 0]),
    "visible": pictures.gray(pair.vi[0, ..., 0]),
    "fused": fused,
  }
  if "weights" in seen:
    row[WEIGHTS[0]] = pictures.heat(seen["weights"][0, ..., 0])
    row[WEIGHTS[1]] = pictures.heat(seen["weights"][0, ..., 1])
  predictions = seen.get("predictions")
  if isinstance(pair.target, DetTarget) and isinstance(predictions, dict):
    target, ok = pair.target, pair.target.valid[0]
    row["true"] = pictures.with_boxes(fused, target.boxes[0][ok], target.classes[0][ok])
    ok = predictions["valid"][0]
    if least_score:
      ok = ok & (predictions["scores"][0] >= least_score)
    row["predicted"] = pictures.with_boxes(
      fused, predictions["boxes"][0][ok], predictions["classes"][0][ok]
    )
  elif isinstance(pair.target, SegTarget) and isinstance(predictions, dict):
    row["true"] = pictures.with_labels(fused, pair.target.labels[0])
    row["predicted"] = pictures.with_labels(fused, predictions["labels"][0])
  return row
