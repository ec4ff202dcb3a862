"""What each round of `tools/polish.py` asks for: how the shipped weights were made, in order."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Sharp(NamedTuple):
  """What is asked for where both images are sharp, so that neither looks soft beside the other."""

  least: float
  """SF of the softer image where this begins; it holds in full from `_SOFT` above."""
  gain: float = 0.0
  """Added to the round's."""
  detail: float = 0.0
  """Of the logarithm of SF."""
  ssim: float = 0.0
  """Of SSIM, added to the round's where the images are *not* sharp."""


class Dark(NamedTuple):
  """What is asked for where one image is dark, added to the round's."""

  entropy: float
  qabf: float
  ssim: float
  """A share of `Sharp.ssim`."""
  vif: float = 0.0
  sharp: float = 0.0
  """The share of `Sharp` that holds there."""
  copies: int = 0
  """How many times more often such pairs are drawn than others, but for one."""


class Round(NamedTuple):
  """A part of the training: steps, and the weights of the terms of its loss."""

  steps: int
  """0: it only takes the mean that it begins with."""
  mean: float
  """Of the squared distance to both images, half to each."""
  brighter: float
  """Of the squared distance to the brighter image of the two."""
  gain: float
  """What gradients are sent after: so many times the stronger one of the sources'."""
  vif: float
  qabf: float
  ssim: float
  scd: float = 0.0
  contrast: float = 0.0
  """Of the logarithm of the standard deviation."""
  entropy: float = 0.0
  gradient: float = 0.3
  overshoot: float = 1.0
  rate: float = 5e-4
  """Of Adam, at its height; it falls along a cosine."""
  batch: int = 2
  sharp: Sharp = Sharp(0.0)
  dark: Dark = Dark(0.0, 0.0, 0.0, sharp=1.0)
  begin: Mapping[int, float] | None = None
  """{round: share} of the weights that it begins with; None: the round before."""


def _chain(first: Round, *changes: Mapping[str, Any]) -> tuple[Round, ...]:
  """Rounds, each of which differs from the one before by what is named."""
  rounds = [first]
  for changed in changes:
    rounds.append(rounds[-1]._replace(**{"begin": None, **changed}))
  return tuple(rounds)


ROUNDS = {
  "F": (
    Round(1600, mean=0.1, brighter=0.1, gain=1.1, vif=0.15, qabf=0.15, ssim=0.0),
    Round(1200, mean=0.1, brighter=0.1, gain=1.08, vif=0.1, qabf=0.25, ssim=0.25),
    Round(1200, mean=0.08, brighter=0.12, gain=1.13, vif=0.12, qabf=0.5, ssim=0.22),
    *_chain(
      Round(700, 0.09, 0.11, 1.12, 0.12, 0.5, 0.26, scd=0.03, entropy=0.03, rate=4e-4),
      # Detail where both images are sharp, likeness elsewhere.
      {
        "steps": 500,
        "vif": 0.1,
        "scd": 0.01,
        "rate": 3e-4,
        "sharp": Sharp(6, gain=0.15, ssim=0.06),
      },
      {
        "steps": 450,
        "gain": 1.07,
        "vif": 0.08,
        "entropy": 0.05,
        "sharp": Sharp(6, gain=0.33, ssim=0.2),
      },
      {
        "steps": 500,
        "gain": 1.05,
        "vif": 0.05,
        "entropy": 0.07,
        "sharp": Sharp(7, 0.3, 0.02, 0.34),
      },
      {"steps": 600, "vif": 0.1, "qabf": 0.6, "gradient": 0.18, "sharp": Sharp(7, 0.3, 0.025, 0.5)},
      {"steps": 700, "mean": 0.07, "brighter": 0.08, "vif": 0.12, "qabf": 0.85, "entropy": 0.09}
      | {"gradient": 0.15, "sharp": Sharp(7, 0.3, 0.05, 0.9)},
      # Contrast and edges where one of them is dark.
      {"steps": 600, "gain": 1.12, "qabf": 0.75, "scd": 0.03, "entropy": 0.03}
      | {"sharp": Sharp(8, 0.0, 0.1, 0.95), "dark": Dark(0.09, 0.4, 0.1, sharp=1.0)},
      {
        "steps": 500,
        "sharp": Sharp(7.5, 0.08, 0.15, 0.95),
        "dark": Dark(0.13, 0.4, 0.1, sharp=1.0),
      },
      {"sharp": Sharp(7.5, 0.08, 0.14, 0.97), "dark": Dark(0.17, 0.4, 0.5)},
      {"steps": 800, "scd": 0.0, "sharp": Sharp(7.5, 0.08, 0.14, 0.95)}
      | {"dark": Dark(0.18, 0.5, 0.6, 0.06, sharp=0.2, copies=2)},
      # From here on between rounds that are ahead in different metrics.
      {"begin": {10: 0.4, 11: 0.35, 13: 0.25}, "steps": 700, "scd": 0.01, "rate": 2e-4}
      | {"sharp": Sharp(7.5, 0.1, 0.2, 0.95), "dark": Dark(0.15, 0.45, 0.4, 0.03, copies=1)},
      {"begin": {10: 0.42, 11: 0.16, 14: 0.42}, "steps": 0},
    ),
  ),
  "fast": (
    Round(2500, 0.1, 0.1, 1.12, 0.1, 0.45, 0.28, 0.1, contrast=0.02, rate=1e-3, batch=4),
    *_chain(
      Round(2000, 0.09, 0.11, 1.12, 0.13, 0.55, 0.26, 0.03, entropy=0.03, rate=8e-4, batch=4),
      {"mean": 0.07, "brighter": 0.08, "qabf": 0.85, "scd": 0.01, "entropy": 0.035}
      | {"gradient": 0.15, "sharp": Sharp(7.5, 0.08, 0.025, 0.8)}
      | {"dark": Dark(0.12, 0.4, 0.2, 0.02, copies=1)},
      {"steps": 800, "vif": 0.11, "qabf": 0.95, "rate": 4e-4}
      | {"sharp": Sharp(7.5, 0.08, 0.055, 0.8), "dark": Dark(0.11, 0.4, 0.4, copies=1)},
    ),
  ),
}
"""By network, in order: the terms were weighed anew where a round ended."""
