"""TDFusion on a folder of your own pairs, segmentation, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/folder_seg.py:runlocal --config.data.root=mine
  --workdir=runs/mine

Data: ir/, vi/ and labels/ (masks of class indices, 255 where unknown, and classes.txt), or train/
and test/ with the same inside; see docs/guide/data.md. `--config.data.train_options.unlabelled=0`
says that 0 means unknown too; the same under `data.val_options` for validation. Images are resized
to `data.task_size` for T: give a size near their shape. Time: 50 epochs of 200 G-steps; made for a
GPU. `:runlocal` ends in minutes on two CPU cores.
"""

from ml_collections.config_dict import placeholder

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {
  **shared.REAL_RUNLOCAL,
  "data.task_size": (120, 160),
  "train.epochs": 1,
}


def get_config(options=""):
  config = base()
  config.name = "folder_seg"
  config.data.name = "folder"
  config.data.task_size = (240, 320)
  config.data.train_options.update(
    {"fold": placeholder(int), "classes": "", "unlabelled": placeholder(int)}
  )
  config.data.val_options.update(
    {"fold": placeholder(int), "classes": "", "unlabelled": placeholder(int)}
  )
  config.data.cache_mb = 4096
  shared.use_segformer(config)
  return finish(config, options, RUNLOCAL)
