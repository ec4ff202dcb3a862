"""TDFusion on a folder of your own pairs, detection, with the paper's hyper-parameters.

  python -m tdfusion_jax.main --config=configs/folder_det.py:runlocal --config.data.root=mine
  --workdir=runs/mine

Data: ir/, vi/ and labels/ (YOLO, Pascal VOC or COCO), or train/ and test/ with the same inside; see
docs/guide/data.md. `--config.data.train_options.classes=person,car` names the classes where no list
is beside the labels, `--config.data.train_options.unlabelled_images=background` says that images
without a label file have nothing in them; the same under `data.val_options` for validation. Images
are resized to `data.task_size` for T: give multiples of 32 near their shape. Time: 50 epochs of 200
G-steps; made for a GPU. `:runlocal` ends in minutes on two CPU cores.
"""

from tdfusion_jax.config import base, finish, shared

RUNLOCAL = {
  **shared.REAL_RUNLOCAL,
  "data.task_size": (96, 128),
  "task.options.assigner_eps": shared.SMALL_OBJECTS,
  "train.epochs": 2,
}


def get_config(options=""):
  config = base()
  config.name = "folder_det"
  shared.use_folder_of_boxes(config)
  config.data.task_size = (256, 320)
  config.data.cache_mb = 4096
  shared.use_yolo(config)
  return finish(config, options, RUNLOCAL)
