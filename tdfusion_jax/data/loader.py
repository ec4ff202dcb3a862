"""Training batches by global step.

Everything is a function of (seed, step), without state: a resumed run, another number of workers or
a look at one step out of order gives the same arrays as the unbroken run.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tdfusion_jax.batch import Pair, Sample, Views
from tdfusion_jax.data.augment import augmented_view
from tdfusion_jax.data.batches import as_images, checked_size, stack_targets
from tdfusion_jax.data.letterbox import VIEWS, whole_view
from tdfusion_jax.data.photometric import relit
from tdfusion_jax.data.plan import EpochPlan, plan_epoch, pretrain_batches
from tdfusion_jax.data.source import Source, checked_index
from tdfusion_jax.data.transforms import (
  Luminances,
  flip_sample,
  random_crop,
  resize_nearest,
)

log = logging.getLogger(__name__)

SWAPS = ("none", "half", "copy")
AUGMENTS = ("none", "task")
_MOSAICS_UNTIL = 0.9  # of all steps; the last ones see whole scenes, as YOLOv8 is trained
_FTR, _MTR, _MTS = range(3)


class StepOptions(NamedTuple):
  """What a `StepSource` makes of the pairs."""

  epochs: int
  g_steps: int
  """G-steps per epoch (Algorithm 1)."""
  meta_pairs: int
  """Size of each of the two subsets of an epoch (Algorithm 1)."""
  batch_size: int
  """Rows per batch. With `swap="copy"` half as many different pairs: a pass has twice the steps."""
  crop_size: tuple[int, int] | None
  """(h, w) of the random windows at full resolution; None makes the whole resized pair the `crop`.

  Reduced, with a note, where the first sample is smaller; single smaller samples are enlarged."""
  task_size: tuple[int, int]
  """(h, w) of the whole view."""
  max_boxes: int = 64
  """Rows per image in `DetTarget`."""
  swap: str = "none"
  """Which rows have infrared and visible exchanged, in both views.

  "none" (the paper), "half" the last `batch_size // 2`, "copy" every second row, a copy of the row
  before it (upstream)."""
  flip: bool = False
  """Mirrors each row left to right with probability 1/2."""
  seed: int = 0
  """At least 0."""
  num_classes: int | None = None
  """The task's classes, checked against the labels; None skips the check."""
  pretrain_steps: int = 0
  """Label-free or supervised steps on plain passes before the first epoch."""
  augment: str = "none"
  """"task" draws the whole view with random scale, place and mosaics (see `augmented_view`)."""
  view: str = "resize"
  """How the whole pair fills `task_size`, see `letterbox.whole_view`."""
  crop_view: tuple[int, int] | None = None
  """(h, w) of the windows that "task" draws of pairs with masks; None for `task_size`."""
  cat_max_ratio: float = 1.0
  """The most of such a window that one class may fill, see `augmented_view`."""
  mosaic: float = 1.0
  """Share of views of pairs with boxes that are mosaics, by "task"."""
  close_mosaic: int = -1
  """Epochs at the end without mosaics; -1 for the last tenth of all steps."""
  hsv_value: float = 0.0
  """Gain of random brightness of the whole view, see `relit`."""
  photometric: bool = False
  """Random brightness and contrast of the whole view, see `relit`."""
  rows: tuple[int, int] | None = None
  """(first, end) of the rows of each batch that are made, where other hosts make the others.

  They are what the whole batch has there. None makes all."""

  def check(self) -> None:
    """Raises `ValueError`, naming the field, for what cannot be."""
    if self.augment not in AUGMENTS:
      raise ValueError(f"augment must be one of {', '.join(AUGMENTS)}, got {self.augment!r}")
    if self.view not in VIEWS:
      raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {self.view!r}")
    if self.swap not in SWAPS:
      raise ValueError(f"swap must be one of {', '.join(SWAPS)}, got {self.swap!r}")
    if self.swap == "copy" and self.batch_size % 2:
      raise ValueError(f'swap="copy" needs an even batch_size, got {self.batch_size}')
    if min(self.epochs, self.pretrain_steps) < 0:
      raise ValueError(
        f"epochs and pretrain_steps must be >= 0, got {self.epochs} and {self.pretrain_steps}"
      )
    if self.rows and not 0 <= self.rows[0] < self.rows[1] <= self.batch_size:
      raise ValueError(f"rows must lie in a batch of {self.batch_size}, got {self.rows}")


class StepSource:
  """What each training step sees, by global step.

  First pre-training, then per epoch G-steps and F/T-steps. `self[step]` is `{"mtr": Views, "mts":
  Views}` for a G-step and `{"ftr": Views}` otherwise, NumPy arrays of the same shapes throughout.

  Args:
    source: the training pairs, at least 2.
    options: how the pairs become batches.

  Raises:
    ValueError: contradicting options.
    DatasetError: fewer than 2 pairs.
  """

  def __init__(self, source: Source, options: StepOptions):
    options.check()
    self.source, self.options = source, options
    self.g_steps, self.pretrain_steps = options.g_steps, options.pretrain_steps
    copies = 2 if options.swap == "copy" else 1
    self.pairs_per_batch = options.batch_size // copies
    self._plans: dict[int, EpochPlan] = {}
    self.ft_steps = len(self.plan(0).ftr)
    self.task_size = checked_size(options.task_size)
    self.crop_view = checked_size(options.crop_view) if options.crop_view else None
    self.crop_size = (
      None if options.crop_size is None else self._fitting(checked_size(options.crop_size))
    )

  def __getstate__(self):
    return {**self.__dict__, "_plans": {}}

  def _fitting(self, size: tuple[int, int]) -> tuple[int, int]:
    first = self.source[0]
    height, width = first.ir.shape
    fitting = (min(size[0], height), min(size[1], width))
    if fitting != size:
      log.warning(
        "crop_size %s reduced to %s: %s is only %dx%d", size, fitting, first.name, height, width
      )
    return fitting

  def plan(self, epoch: int) -> EpochPlan:
    """The plan of one epoch."""
    plan = self._plans.get(epoch)
    if plan is None:
      plan = plan_epoch(
        len(self.source),
        meta_pairs=self.options.meta_pairs,
        g_steps=self.g_steps,
        batch_size=self.pairs_per_batch,
        seed=self.options.seed,
        epoch=epoch,
      )
      # Two epochs suffice for a loader that reads ahead; a fresh dict keeps concurrent readers
      # safe.
      before = {key: plan for key, plan in self._plans.items() if key == epoch - 1}
      self._plans = {**before, epoch: plan}
    return plan

  def __len__(self) -> int:
    return self.pretrain_steps + self.options.epochs * (self.g_steps + self.ft_steps)

  def phase(self, step: int) -> tuple[str, int, int]:
    """(kind of step, epoch, position within that part): "pretrain" (epoch 0), "g" or "ft"."""
    step = checked_index(step, len(self))
    if step < self.pretrain_steps:
      return "pretrain", 0, step
    epoch, position = divmod(step - self.pretrain_steps, self.g_steps + self.ft_steps)
    if position < self.g_steps:
      return "g", epoch, position
    return "ft", epoch, position - self.g_steps

  def __getitem__(self, index: int) -> dict[str, Views]:
    step = checked_index(index, len(self))
    kind, epoch, position = self.phase(step)
    if kind == "g":
      plan = self.plan(epoch)
      return {
        "mtr": self._views(plan.mtr[position], step, _MTR),
        "mts": self._views(plan.mts[position], step, _MTS),
      }
    if kind == "ft":
      return {"ftr": self._views(self.plan(epoch).ftr[position], step, _FTR)}
    turn, position = divmod(position, self.ft_steps)
    batches = pretrain_batches(
      len(self.source), batch_size=self.pairs_per_batch, seed=self.options.seed, turn=turn
    )
    return {"ftr": self._views(batches[position], step, _FTR)}

  def mosaics_until(self) -> float | int:
    """The step from which on whole scenes are seen, and no mosaics."""
    if self.options.close_mosaic < 0:
      return _MOSAICS_UNTIL * len(self)
    return len(self) - self.options.close_mosaic * (self.g_steps + self.ft_steps)

  def _whole(self, sample: Sample, step: int, rng: np.random.Generator):
    options = self.options
    if options.augment == "none":
      return whole_view(sample, self.task_size, options.view)

    def other() -> Sample:
      return self.source[int(rng.integers(len(self.source)))]

    mosaics = step < self.mosaics_until()
    if mosaics and options.mosaic < 1:  # all or none draw nothing
      mosaics = options.mosaic > 0 and rng.random() < options.mosaic
    return augmented_view(
      sample,
      self.task_size,
      rng,
      other if mosaics else None,
      view=options.view,
      window=self.crop_view,
      cat_max_ratio=options.cat_max_ratio,
    )

  def _row(self, index: int, step: int, rng: np.random.Generator) -> "_Row":
    """One row of a batch: every draw comes from `rng`, in this order."""
    sample = self.source[index]
    if self.options.flip and rng.random() < 0.5:
      sample = flip_sample(sample)
    ir, vi, target = self._whole(sample, step, rng)
    light, distortion = self.options.hsv_value, self.options.photometric
    whole = Luminances(*relit(ir, vi, rng, hsv_value=light, distortion=distortion))
    if self.crop_size is not None:
      crop = random_crop(sample, self.crop_size, rng)
    else:
      w_a = None if sample.w_a is None else resize_nearest(sample.w_a, self.task_size)
      crop = whole._replace(w_a=w_a)
    return _Row(sample.name, crop, whole, target)

  def _places(self) -> tuple[list[int], np.ndarray | None]:
    """Of each row that is made: its place among a batch's pairs, and whether it is exchanged."""
    first, end = self.options.rows or (0, self.options.batch_size)
    rows = np.arange(first, end)
    if self.options.swap == "copy":
      return [int(row) // 2 for row in rows], rows % 2 == 1
    exchanged = None
    if self.options.swap == "half":
      exchanged = rows >= self.options.batch_size - self.options.batch_size // 2
    return [int(row) for row in rows], exchanged

  def _views(self, indices: np.ndarray, step: int, stream: int) -> Views:
    options = self.options
    places, exchanged = self._places()
    made = {}
    for place in dict.fromkeys(places):
      rng = np.random.default_rng([options.seed, step, place, stream])
      made[place] = self._row(int(indices[place]), step, rng)
    rows = [made[place] for place in places]
    if exchanged is not None:
      rows = [row.exchanged() if other else row for row, other in zip(rows, exchanged, strict=True)]
    targets, names = [row.target for row in rows], [row.name for row in rows]
    target = stack_targets(targets, names, self.source.kind, options.max_boxes, options.num_classes)
    crop, whole = _stacked([row.crop for row in rows]), _stacked([row.whole for row in rows])
    return Views(crop, whole._replace(target=target, exchanged=exchanged))


class _Row(NamedTuple):
  """One row of both views of a batch."""

  name: str
  crop: Luminances
  whole: Luminances
  target: Any

  def exchanged(self) -> "_Row":
    return self._replace(crop=self.crop.exchanged(), whole=self.whole.exchanged())


def _stacked(rows: list[Luminances]) -> Pair:
  ir, vi = as_images([row.ir for row in rows]), as_images([row.vi for row in rows])
  known = [row.w_a for row in rows if row.w_a is not None]
  if len(known) < len(rows):
    return Pair(ir, vi)
  w_a = as_images(known)
  return Pair(ir, vi, weights=np.concatenate([w_a, 1 - w_a], axis=-1))


def make_dataset(
  step_source: StepSource, *, start_step: int = 0, num_workers: int = 0, prefetch: int = 2
) -> Iterator[dict[str, Views]]:
  """`step_source` from `start_step` to its end, read ahead; batches do not depend on workers.

  Args:
    step_source: what to read.
    start_step: the global step to begin with (resume).
    num_workers: processes; 0 reads in `prefetch` threads of this process. They are spawned, not
      forked, so it does not matter that JAX has threads already; the calling script needs the usual
      `if __name__ == "__main__"` guard.
    prefetch: steps read ahead; 0 reads when asked.
  """
  if not 0 <= start_step <= len(step_source):
    raise ValueError(f"start_step must be in 0 to {len(step_source)}, got {start_step}")
  if start_step == len(step_source):
    return iter(())
  import grain  # slow to import, and only training needs it

  options = grain.ReadOptions(num_threads=prefetch, prefetch_buffer_size=prefetch)
  dataset = grain.MapDataset.source(step_source)[start_step:].to_iter_dataset(options)
  if num_workers:
    from absl import flags

    # grain's worker pool reads absl flags, which only an absl.app.run program has parsed.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    dataset = dataset.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=max(1, prefetch))
    )
  return iter(dataset)
