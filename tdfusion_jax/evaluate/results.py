"""The scores of a task stage, as `result.json` holds them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdfusion_jax.files import UsageError, read_json

Result = dict[str, Any]
"""{"name": ..., "seed": ..., SPLIT: {score: number}}: texts and numbers about the run, and a part
for each split."""


def read_result(file: Path) -> Result:
  """What `result.json` of a task stage holds; NaN where a score has no value.

  Raises:
    UsageError: it cannot be read, or a score is no number; the message names the file.
  """
  result = read_json(file)
  for split, scores in parts(result).items():
    for name, score in scores.items():
      if score is None:  # of a class without a pixel
        scores[name] = math.nan
        continue
      number = isinstance(score, int | float) and not isinstance(score, bool)
      if not number or abs(score) > 1e300:
        raise UsageError(f"{file} cannot be read: {split}.{name} is not a number.")
      scores[name] = float(score)
  return result


def parts(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """{split: {score: value}}, without what is about the run."""
  return {name: part for name, part in result.items() if isinstance(part, dict)}
