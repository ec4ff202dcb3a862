"""Pairs that take their time, so that a run can be met on its way."""

import time

from tdfusion_jax.data import Source, SyntheticSource


class Slow:
  """Scenes of the built-in world, each read in a tenth of a second."""

  def __init__(self, scenes):
    self._scenes = scenes
    self.names, self.classes, self.kind = scenes.names, scenes.classes, scenes.kind

  def __len__(self):
    return len(self._scenes)

  def __getitem__(self, index):
    time.sleep(0.1)
    return self._scenes[index]

  def describe(self):
    return self._scenes.describe()


def scenes(root, split, **options) -> Source:
  """For `data.name="slow_pairs:scenes"`."""
  del root
  return Slow(SyntheticSource("segmentation", split, **options))
