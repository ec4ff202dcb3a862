"""The built-in world's own answer to where to look: a control for what G learns."""

from typing import Any

import numpy as np

from tdfusion_jax.batch import Views
from tdfusion_jax.data.loader import StepSource
from tdfusion_jax.data.source import DatasetError, find
from tdfusion_jax.data.transforms import resize_nearest


class TruthStepSource(StepSource):
  """Batches whose crops carry the true w_a as second channel of `ir`, float32.

  It is 1 where only the infrared shows a thing, 0 where only the visible image does and 1/2
  elsewhere.

  Raises:
    DatasetError: a source that does not know its scenes (only the synthetic world does), or other
      options.
  """

  def __init__(self, source, **options: Any):
    super().__init__(source, **options)
    self._scene = find(source, "scene")
    if self._scene is None:
      raise DatasetError(f"{source.describe()}: where to look is known in the synthetic world only")
    if self.augment != "none" or self.swap == "copy":
      raise DatasetError(
        "weights from the truth need data.augment='none' and data.swap='half' or 'none'"
      )
    self._maps: dict[int, np.ndarray] = {}

  def _map(self, index: int) -> np.ndarray:
    if index not in self._maps:
      scene = self._scene(index)
      truth = np.where(scene["ir_only"], 1.0, np.where(scene["vi_only"], 0.0, 0.5)).astype(
        np.float32
      )
      self._maps[index] = truth if self.crop_size else resize_nearest(truth, self.task_size)
    return self._maps[index]

  def _window(self, index: int, row: int, step: int, stream: int) -> np.ndarray:
    """The map in the window of the pair's crop, by the same draws as in the parent class."""
    rng = np.random.default_rng([self.seed, step, row, stream])
    image = self._map(index)
    if self.flip and rng.random() < 0.5:
      image = image[:, ::-1]
    if self.crop_size is None:
      return image
    (height, width), (high, wide) = image.shape, self.crop_size
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    return image[top : top + high, left : left + wide]

  def _views(self, indices: np.ndarray, step: int, stream: int) -> Views:
    views = super()._views(indices, step, stream)
    maps = np.stack(
      [self._window(int(index), row, step, stream) for row, index in enumerate(indices)]
    )
    if self.swap == "half":
      start = len(indices) - len(indices) // 2
      maps[start:] = 1 - maps[start:]
    return views._replace(
      crop=views.crop._replace(ir=np.concatenate([views.crop.ir, maps[..., None]], axis=-1))
    )
