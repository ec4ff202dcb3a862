"""Fusion metrics of several methods, side by side: the work of `tdfusion evaluate`."""

import difflib
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.evaluate import tables
from tdfusion_jax.evaluate.methods import Method, Pairs, some
from tdfusion_jax.files import UsageError, is_plugin
from tdfusion_jax.metrics.fusion import METRICS, PROFILES, Metric, fusion_metrics
from tdfusion_jax.metrics.own import own_metric
from tdfusion_jax.progress import Progress
from tdfusion_jax.remote.texts import write_text

Scores = dict[str, dict[str, dict[str, float]]]
"""{method: {name of a pair: {metric: value}}}."""


def choose_metrics(text: str, field: str) -> list[Metric]:
  """The metrics that a list names, each once.

  Args:
    text: comma separated names in `METRICS` (upper and lower case are the same) and metrics of the
      user's own as `module:function`; or "all".
    field: what named them, for messages.

  Raises:
    UsageError: an unknown name, none, or two metrics of one name.
  """
  if text.strip().lower() == "all":
    return list(METRICS.values())
  words = [word.strip() for word in text.split(",") if word.strip()]
  if not words:
    raise UsageError(f"{field} names none; there are: {', '.join(METRICS)}, or all.")
  chosen: dict[str, Metric] = {}
  for word in words:
    metric = own_metric(word, field) if is_plugin(word) else _known_metric(word, field)
    if chosen.setdefault(metric.name, metric).source != metric.source:
      raise UsageError(
        f"{field}: two are called {metric.name}; give the function of {word} another name."
      )
  return list(chosen.values())


def _known_metric(word: str, field: str) -> Metric:
  known = {name.lower(): metric for name, metric in METRICS.items()}
  if word.lower() not in known:
    near = difflib.get_close_matches(word.lower(), known, 1)
    hint = f" Do you mean {known[near[0]].name}?" if near else ""
    raise UsageError(f"{field}: unknown {word}.{hint} There are: {', '.join(METRICS)}.")
  return known[word.lower()]


def check_profile(profile: str, field: str) -> None:
  """Raises UsageError if `profile` is none of `PROFILES`."""
  if profile not in PROFILES:
    raise UsageError(f"{field}: unknown {profile}; there are: {', '.join(PROFILES)}.")


def measure(
  pairs: Pairs, methods: Mapping[str, Method], metrics: Sequence[Metric], profile: str
) -> Scores:
  """Scores of every method on every pair. Warnings and missing values go to standard error.

  Args:
    pairs: what is fused.
    methods: {title: method}.
    metrics: as from `choose_metrics`.
    profile: a name in `PROFILES`: which implementation is followed where they disagree.

  Returns:
    Scores; NaN where an image is too small for a metric.

  Raises:
    ImageError: an image cannot be read or has another size than its pair.
  """
  work = measurer(pairs, methods, metrics, profile)
  with Progress(len(pairs.sizes), "measured", unit="pairs") as progress:
    scores = gather(list(methods), (work(name) for name in progress.track(pairs.sizes)))
  report_missing(scores)
  return scores


class Measured(NamedTuple):
  """What was measured on one pair."""

  name: str
  rows: dict[str, dict[str, float]]
  """{method: {metric: value}}."""
  warnings: list[str]
  """For standard error."""
  remarks: list[str]
  """What `Pairs.remarks` has gained by it."""


def measurer(
  pairs: Pairs, methods: Mapping[str, Method], metrics: Sequence[Metric], profile: str
) -> Callable[[str], Measured]:
  """What measures the pair of a name; arguments and errors as of `measure`."""
  # Ours by name, so that the profile chooses how they are measured.
  asked = [metric.name if METRICS.get(metric.name) is metric else metric for metric in metrics]

  def work(name: str) -> Measured:
    rows, told, before = {}, [], len(pairs.remarks)
    with warnings.catch_warnings(record=True) as caught:
      warnings.simplefilter("always", UserWarning)
      ir, vi = pairs.read(name)
      for method, fuse in methods.items():
        caught.clear()
        fused = fuse(name, ir, vi)
        values = fusion_metrics(ir[None], vi[None], fused[None], metrics=asked, profile=profile)
        rows[method] = {metric: float(value[0]) for metric, value in values.items()}
        told.extend(f"{method}, {name}: {warning.message}" for warning in caught)
    return Measured(name, rows, told, list(pairs.remarks)[before:])

  return work


def gather(methods: Sequence[str], pairs: Iterable[Measured]) -> Scores:
  """Scores of pairs in their order. Warnings go to standard error."""
  scores: Scores = {method: {} for method in methods}
  for pair in pairs:
    for line in pair.warnings:
      print(f"warning: {line}", file=sys.stderr)
    for method in methods:
      scores[method][pair.name] = pair.rows[method]
  return scores


def report_missing(scores: Scores) -> None:
  """Images that have no value are in no mean, and the reader has to know."""
  for method, rows in scores.items():
    for metric in tables.columns(rows):
      missing = [name for name, row in rows.items() if not np.isfinite(row[metric])]
      if missing:
        images = f"{len(missing)} images ({some(missing)})"
        note = f"{metric} has no finite value for {images}; not in its mean"
        print(f"note: {method}: {note}", file=sys.stderr)


def means(scores: Scores) -> dict[str, dict[str, float]]:
  """{method: {metric: mean over the pairs that have a finite value, NaN if none has}}."""
  averaged: dict[str, dict[str, float]] = {}
  for method, rows in scores.items():
    averaged[method] = {
      metric: _finite_mean(row[metric] for row in rows.values()) for metric in tables.columns(rows)
    }
  return averaged


def _finite_mean(values: Iterable[float]) -> float:
  finite = [value for value in values if np.isfinite(value)]
  return float(np.mean(finite)) if finite else float("nan")


def conditions(profile: str) -> dict[str, Any]:
  """How scores are measured, in JSON values, for those who compare them with others."""
  return {
    "profile": profile,
    "profile_about": PROFILES[profile].about,
    "channel": "luminance, BT.601 full range",
    "value_range": [0, 255],
  }


def write_scores(
  stem: str | Path, scores: Scores, lower_is_better: Sequence[str], about: Mapping[str, Any]
) -> list[str]:
  """Writes STEM.md and STEM.tex (means), STEM.csv (every image) and STEM.json (both and `about`).

  Args:
    stem: path without a suffix, or an address.
    scores: as from `measure`.
    lower_is_better: metrics of which the lowest value is the best.
    about: what else STEM.json holds, JSON values.

  Returns:
    The names of the files.

  Raises:
    OSError, RemoteError: a file cannot be written; what was there before is as it was.
  """
  averaged = means(scores)
  images = [
    {"method": method, "image": image, **row}
    for method, rows in scores.items()
    for image, row in rows.items()
  ]
  everything = {
    **about,
    "lower_is_better": list(lower_is_better),
    "means": averaged,
    "images": scores,
  }
  texts = {
    f"{stem}.md": tables.markdown(averaged, lower_is_better),
    f"{stem}.tex": tables.latex(averaged, lower_is_better),
    f"{stem}.csv": tables.comma_separated(images),
    f"{stem}.json": tables.json_text(everything),
  }
  for file, text in texts.items():
    write_text(file, text)
  return list(texts)
