"""Pairs of the built-in synthetic world, for those who have none at hand."""

from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.data.synthetic import SyntheticSource
from tdfusion_jax.images.writing import write_image

_SIZE = (288, 384)
_SCENES = {"Street by night": 14, "Another by night": 6, "Street by day": 2}
"""By their title: numbers in the test split, which the starter weights were not trained on."""


class Sample(NamedTuple):
  """Two files."""

  ir: Path
  vi: Path


def write_samples(folder: Path) -> dict[str, Sample]:
  """{title: pair of PNG files below `folder`}, by night and by day."""
  source = SyntheticSource("segmentation", "test", size=_SIZE)
  samples: dict[str, Sample] = {}
  for title, index in _SCENES.items():
    stem = title.lower().replace(" ", "_")
    sample = Sample(folder / f"{stem}_infrared.png", folder / f"{stem}_visible.png")
    scene = source.scene(index)
    write_image(sample.ir, scene["ir"][..., None])
    write_image(sample.vi, scene["vi"])
    samples[title] = sample
  return samples
