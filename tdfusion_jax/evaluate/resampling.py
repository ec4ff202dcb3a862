"""How sure a score is: the same score of images drawn anew from a data set (bootstrap)."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tdfusion_jax.data.source import Source, find

Scores = Mapping[str, np.ndarray]
"""{score: one value for each weighting of the images}."""

FEW = 20
"""Blocks, or images: intervals that are drawn from fewer are likely too narrow."""
_TAIL = 2.5  # percent on either side of a 95 % interval


class Estimate(NamedTuple):
  """A score, and where it would lie with other images of the same kind."""

  value: float
  low: float
  """Lower end of the 95 % interval; NaN without resamples."""
  high: float
  """Upper end."""

  @property
  def sure(self) -> bool:
    """Of a difference: whether the interval leaves out 0."""
    return bool(self.low > 0 or self.high < 0)


def draws(blocks: np.ndarray, resamples: int, seed: int) -> np.ndarray:
  """How often each image counts: once each in the first row, then as it is drawn.

  Whole blocks are drawn, since neighbouring frames of a video say nearly the same: as if they were
  independent, an interval would be too narrow. Of a single block every draw would be the same, and
  an interval of no width would pass for certainty: there are none.

  Args:
    blocks: [images] int from 0 on: which block an image is of; `arange` for single images.
    resamples: R.
    seed: of the draws.

  Returns:
    [1 + R, images] float64; [1, images] of a single block.
  """
  count = int(blocks.max()) + 1
  if count == 1:
    resamples = 0
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
  return np.concatenate([np.ones((1, len(blocks))), drawn[:, blocks]])


def blocks_of(source: Source, size: int = 1) -> np.ndarray:
  """[images] int: `size` neighbours each, or for size 1 what the source knows (`data.folds`)."""
  known = find(source, "blocks")
  if size == 1 and known is not None:
    return np.unique(known, return_inverse=True)[1]
  return np.arange(len(source)) // size


def estimate(values: np.ndarray) -> Estimate:
  """Of the values that go with `draws`; resamples without a value, such as a class, are left out.

  Args:
    values: [1 + R], the first of the images as they are.
  """
  others = values[1:][np.isfinite(values[1:])]
  low, high = np.percentile(others, [_TAIL, 100 - _TAIL]) if others.size else (np.nan, np.nan)
  return Estimate(float(values[0]), float(low), float(high))


def estimates(scores: Mapping[str, Scores]) -> dict[str, dict[str, Estimate]]:
  """{row: {score: estimate}} of the scores of each row."""
  return _each(scores, lambda row, name: scores[row][name])


def differences(scores: Mapping[str, Scores], base: str) -> dict[str, dict[str, Estimate]]:
  """{row: {score: estimate of row - base}}, paired: both on the same images of each draw."""
  others = {row: of_row for row, of_row in scores.items() if row != base}
  return _each(others, lambda row, name: scores[row][name] - scores[base][name])


def _each(
  scores: Mapping[str, Scores], values: Callable[[str, str], np.ndarray]
) -> dict[str, dict[str, Estimate]]:
  return {
    row: {name: estimate(values(row, name)) for name in of_row} for row, of_row in scores.items()
  }
