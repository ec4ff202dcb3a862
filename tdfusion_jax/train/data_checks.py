"""Settings of the data, and of what T sees of it, that contradict each other."""

from typing import Any

from tdfusion_jax.config import Config, base
from tdfusion_jax.data.letterbox import VIEWS
from tdfusion_jax.data.loader import AUGMENTS, SWAPS
from tdfusion_jax.data.skipping import BAD_SAMPLES
from tdfusion_jax.train.requiring import one_of, require

_LONGEST_SIDE = 65_536  # of images, as of those that are read


def check(config: Config) -> None:
  """Raises ConfigError, naming the field, for what the training data cannot be."""
  data = config.data
  one_of(config, "data.augment", AUGMENTS)
  one_of(config, "data.bad_samples", BAD_SAMPLES)
  one_of(config, "data.swap", SWAPS)
  needed = "(height, width) is needed, such as '(256, 320)'."
  require(config, _is_size(data.task_size), "data.task_size", needed)
  require(config, data.crop_size is None or _is_size(data.crop_size), "data.crop_size", needed)
  require(config, data.crop_view is None or _is_size(data.crop_view), "data.crop_view", needed)
  _check_views(config)
  _check_augment(config)
  if config.task.kind == "detection":
    fits = not any(side % 32 for side in data.task_size)
    require(config, fits, "data.task_size", "detection needs multiples of 32.")


def remarks(config: Config) -> list[str]:
  """What is allowed, and may not be meant."""
  data, epochs = config.data, config.train.epochs
  asked = config.task.kind == "detection" and data.augment == "task" and data.mosaic > 0
  if not asked or config.train.pretrain_steps or data.close_mosaic < epochs:
    return []
  return [
    f"config.data.close_mosaic={data.close_mosaic}: a run of {epochs} epochs sees no mosaic; "
    "-1 leaves out the last tenth of its steps."
  ]


def _check_views(config: Config) -> None:
  """What T sees, and how it varies in training."""
  data = config.data
  one_of(config, "data.view", VIEWS)
  for field, default in (("view", "resize"), ("hsv_value", 0), ("photometric", False)):
    alone = config.stage == "task" or data[field] == default
    require(config, alone, f"data.{field}", "is for stage='task', where T alone is trained.")
  for field in ("hsv_value", "mosaic"):
    require(config, 0 <= data[field] <= 1, f"data.{field}", "must be in [0, 1].")
  require(
    config, 0 < data.cat_max_ratio <= 1, "data.cat_max_ratio", "must be above 0, and at most 1."
  )


_OF_MASKS = ("crop_view", "cat_max_ratio")  # of data.augment="task"
_OF_BOXES = ("mosaic", "close_mosaic")


def _check_augment(config: Config) -> None:
  """Requires the defaults of fields that would be ignored."""
  data, usual = config.data, base().data
  others = {"detection": _OF_MASKS, "segmentation": _OF_BOXES, "scenic": _OF_BOXES}
  for field in (*_OF_MASKS, *_OF_BOXES):
    unused = data[field] == usual[field]
    fits = field not in others.get(config.task.kind, ())
    labels = "masks" if field in _OF_MASKS else "boxes"
    leave = f"leave it {usual[field]}."
    require(config, unused or fits, f"data.{field}", f"is for {labels}; {leave}")
    augmented = data.augment == "task"
    require(config, unused or augmented, f"data.{field}", f"is for data.augment='task'; {leave}")


def _is_size(size: Any) -> bool:
  if not isinstance(size, (tuple, list)) or len(size) != 2:
    return False
  return all(isinstance(side, int) and 1 <= side <= _LONGEST_SIDE for side in size)
