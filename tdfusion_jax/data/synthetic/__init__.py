"""A procedural street world in two modalities, for tests and runs without any download.

Some things show in the infrared only (people in the dark, heating pipes), some in visible light
only (signs, lane marks: the temperature of their surroundings), some in both (cars with hot engines
and headlights). A good fusion keeps all of them, and `SyntheticSource.scene` says where they are.
"""

from typing import Any

import numpy as np

from tdfusion_jax.batch import Boxes, Sample
from tdfusion_jax.data.source import (
  DataSet,
  DatasetError,
  Kind,
  checked_index,
  describe_source,
)
from tdfusion_jax.data.synthetic.scene import make_scene

SEG_CLASSES = ("background", "person", "car", "sign", "lane")
DET_CLASSES = ("person", "car", "sign")
_SPLITS = {"train": 0, "test": 1, "val": 2}


MOST_SCENES = 1_000_000
"""Of a source: their names are listed when it is opened."""


class SyntheticSource:
  """Street scenes drawn on demand, a pure function of (seed, split, index).

  Args:
    kind: "detection" (boxes of `DET_CLASSES`) or "segmentation" (masks of `SEG_CLASSES`).
    split: "train", "test" or "val": different scenes.
    size: (height, width) in pixels, at least 32 each.
    count: number of pairs; default 200 for training, 50 for the others.
    seed: another world.
    night: share of night scenes, 0 to 1.
    noise: of both sensors, as a multiple of a good camera's (1: standard deviation near 0.01).
  """

  def __init__(
    self,
    kind: Kind,
    split: str = "train",
    *,
    size: tuple[int, int] = (96, 128),
    count: int | None = None,
    seed: int = 0,
    night: float = 0.6,
    noise: float = 1.0,
  ):
    if split not in _SPLITS:
      raise DatasetError(f"the synthetic world has no split {split!r}; known: {', '.join(_SPLITS)}")
    if len(size) != 2 or min(size) < 32:
      raise DatasetError(f"synthetic scenes need (height, width) of at least 32, got {tuple(size)}")
    count = {"train": 200}.get(split, 50) if count is None else count
    if not 0 <= night <= 1 or noise < 0 or seed < 0 or not 1 <= count <= MOST_SCENES:
      raise DatasetError(
        f"synthetic: need 0 <= night <= 1, noise >= 0, seed >= 0, 1 <= count <= {MOST_SCENES}; "
        f"got {night}, {noise}, {seed}, {count}"
      )
    self.kind: Kind | None = kind
    self.split, self.size, self.seed = split, (int(size[0]), int(size[1])), seed
    self.night, self.noise = night, noise
    self.classes: tuple[str, ...] = DET_CLASSES if kind == "detection" else SEG_CLASSES
    self.names = [f"{split}{i:05d}" for i in range(count)]

  def __len__(self) -> int:
    return len(self.names)

  def scene(self, index: int) -> dict[str, Any]:
    """All that is known about a scene.

    Returns:
      "ir" [H, W] uint8; "vi" [H, W, 3] uint8; "labels" [H, W] uint8 (`SEG_CLASSES`); "boxes" [K, 4]
      float32 xyxy pixels around visible parts and "classes" [K] int32 (`DET_CLASSES`), without
      objects that are hidden by more than 60 % or tiny; "ir_only" [H, W] bool: people only the
      infrared shows; "vi_only" [H, W] bool: signs, and where they are labelled, lane marks; "night"
      bool.
    """
    index = checked_index(index, len(self))
    rng = np.random.default_rng([self.seed, _SPLITS[self.split], index])
    # Multiples of the golden ratio spread evenly: any run of scenes has its share of nights.
    night = (index * 0.6180339887 + 0.7) % 1 < self.night
    return make_scene(rng, self.size, night, self.kind == "segmentation", self.noise)

  def __getitem__(self, index: int) -> Sample:
    scene = self.scene(index)
    target = scene["labels"]
    if self.kind == "detection":
      target = Boxes(scene["boxes"], scene["classes"])
    return Sample(self.names[checked_index(index, len(self))], scene["ir"], scene["vi"], target)

  def describe(self) -> str:
    """Split, size, seed, number of pairs, labels."""
    title = f"synthetic streets {self.split} ({self.size[0]}x{self.size[1]}, seed {self.seed})"
    return describe_source(title, len(self), self.kind, self.classes)


def synthetic_det(root: Any = None, split: str = "train", **options: Any) -> SyntheticSource:
  """The synthetic world with boxes; `root` is not used. Options: see `SyntheticSource`."""
  return SyntheticSource("detection", split, **options)


def synthetic_seg(root: Any = None, split: str = "train", **options: Any) -> SyntheticSource:
  """The synthetic world with masks; `root` is not used. Options: see `SyntheticSource`."""
  return SyntheticSource("segmentation", split, **options)


DATASETS = (
  DataSet(
    reader=synthetic_det,
    about="A procedural street world with boxes.",
    layout=None,
    classes=DET_CLASSES,
    kind="detection",
    licence="Apache-2.0",
  ),
  DataSet(
    reader=synthetic_seg,
    about="A procedural street world with masks.",
    layout=None,
    classes=SEG_CLASSES,
    kind="segmentation",
    licence="Apache-2.0",
  ),
)
