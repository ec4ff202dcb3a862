"""The built-in world's own answer to where to look: a control for what G learns."""

import numpy as np

from tdfusion_jax.batch import Sample
from tdfusion_jax.data.source import DatasetError, Kind, Source, find


class TruthSource:
  """The pairs of the built-in world with the weights that are right there, `Sample.w_a`.

  w_a is 1 where only the infrared shows a thing, 0 where only the visible image does and 1/2
  elsewhere. Caches keep no weights, so this goes around them.

  Raises:
    DatasetError: a source that does not know its scenes (only the synthetic world does).
  """

  def __init__(self, source: Source):
    self._scene = find(source, "scene")
    if self._scene is None:
      raise DatasetError(f"{source.describe()}: where to look is known in the synthetic world only")
    self.source = source
    self.names, self.classes = source.names, source.classes
    self.kind: Kind | None = source.kind
    self._maps: dict[int, np.ndarray] = {}  # a scene takes long to draw

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Sample:
    if index not in self._maps:
      scene = self._scene(index)
      w_a = np.where(scene["ir_only"], 1.0, np.where(scene["vi_only"], 0.0, 0.5))
      self._maps[index] = w_a.astype(np.float32)
    return self.source[index]._replace(w_a=self._maps[index])

  def describe(self) -> str:
    """As of the pairs."""
    return f"{self.source.describe()}, with the true weights"
