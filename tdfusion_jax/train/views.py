"""From `config.data` to what each training step sees."""

from tdfusion_jax.config import Config
from tdfusion_jax.data.loader import StepOptions, StepSource
from tdfusion_jax.data.source import Source
from tdfusion_jax.data.truth import TruthSource


def step_source(config: Config, pairs: Source, rows: tuple[int, int] | None = None) -> StepSource:
  """What each training step sees of `pairs`.

  Args:
    config: its section `data`, and the numbers of steps.
    pairs: of the training.
    rows: (first, end) of each batch that this process makes; None for all.
  """
  data = config.data
  if config.loss.weights == "truth":
    pairs = TruthSource(pairs)
  options = StepOptions(
    epochs=config.train.epochs,
    g_steps=config.meta.steps,
    batch_size=data.batch_size,
    meta_pairs=config.meta.pairs,
    crop_size=tuple(data.crop_size) if data.crop_size else None,
    task_size=tuple(data.task_size),
    max_boxes=data.max_boxes,
    swap=data.swap,
    flip=data.flip,
    seed=config.seed,
    num_classes=len(pairs.classes) if config.task.kind != "none" else None,
    pretrain_steps=config.train.pretrain_steps,
    augment=data.augment,
    view=data.view,
    crop_view=tuple(data.crop_view) if data.crop_view else None,
    cat_max_ratio=data.cat_max_ratio,
    mosaic=data.mosaic,
    close_mosaic=data.close_mosaic,
    hsv_value=data.hsv_value,
    photometric=data.photometric,
    rows=rows,
  )
  return StepSource(pairs, options)
