"""What several files of `configs/` share: their short runs and their task networks.

In the package and not beside them, so that a config file works wherever it is copied to.
"""

from typing import Any

from ml_collections.config_dict import placeholder

from tdfusion_jax.config.fields import Config

REAL_RUNLOCAL: dict[str, Any] = {
  "data.crop_size": (96, 96),
  "meta.pairs": 8,
  "meta.steps": 8,
  # A few minutes at the paper's rates leave F gray: ten times the rate, and first some steps
  # without G.
  "optim.f.learning_rate": 1e-3,
  "optim.t.learning_rate": 1e-3,
  "train.pretrain_steps": 120,
  "log.every": 4,
  "log.validate_pairs": 6,
}
"""`runlocal` of the configs of real data sets; the images' size and the epochs are their own."""

SYNTHETIC_RUNLOCAL: dict[str, Any] = {
  "data.train_options.count": 64,
  "data.val_options.count": 16,
  "meta.pairs": 32,
  "meta.steps": 8,
  "optim.g.learning_rate": 1e-4,  # T has seen too little yet to be followed in large steps
  "train.pretrain_steps": 60,
  "train.epochs": 3,
  "log.every": 4,
  "log.validate_pairs": 16,
}
"""`runlocal` of the configs of the built-in world."""

SMALL_OBJECTS = 1e-30
"""YOLOv8's `assigner_eps` for a fresh T on small objects, whose class scores would die out else."""


def use_folder_of_boxes(config: Config) -> None:
  """A folder of the user's own pairs with boxes, and the options that its reader takes."""
  config.data.name = "folder"
  for options in (config.data.train_options, config.data.val_options):
    options.update({"fold": placeholder(int), "classes": "", "unlabelled_images": "skip"})


def use_segformer(config: Config) -> None:
  """SegFormer-B0 as the public code has it, down to its departures from the original."""
  config.task.kind, config.task.variant = "segmentation", "b0"
  config.task.options.update(
    {"gelu": "erf", "head_eps": 1e-5, "align_corners": False, "norm_eps": 1e-6}
  )


def use_yolo(config: Config, assigner_eps: float = 1e-9) -> None:
  """YOLOv8n."""
  config.task.kind, config.task.variant = "detection", "n"
  config.task.options.assigner_eps = assigner_eps
