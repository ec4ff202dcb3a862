"""Runs trainings of the real Ultralytics package, in float64; keeps what went in and came out.

  python ultralytics_training.py FOLDER '{"first": {"batches": 6, "kept": 6, ...}, ...}'

FOLDER/first gets start.pt, end.pt and ema.pt (state_dicts before the first batch and after `kept`
of them), batches.npz (what those were) and rates.json: of each of `batches` batches [batches per
step, steps so far, [[rate, momentum, decay, number of parameters] of each group]]. Further keys are
settings of the package.
"""

import contextlib
import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path

os.environ["YOLO_OFFLINE"] = "true"

import numpy as np
import torch
from PIL import Image

SIZE, COUNT = 64, 8
# Nothing that changes the images: they come as they are.
PLAIN = dict.fromkeys(
  ("hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "mosaic", "erasing"), 0.0
)


def stand_in_for_torchvision():
  """Training does not call it, and a build of it that does not fit PyTorch cannot be imported."""
  module = types.ModuleType("torchvision")
  module.__version__ = "0"  # pyright: ignore
  module.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
  sys.modules["torchvision"] = module


def write_images(folder: Path) -> Path:
  """Noise, and boxes whose corners are whole pixels."""
  rng = np.random.default_rng(0)
  for kind in ("images", "labels"):
    (folder / kind).mkdir()
  for index in range(COUNT):
    image = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(image).save(folder / "images" / f"{index}.png")
    lines = []
    for _ in range(1 + index % 3):
      x, y = rng.integers(0, 16, 2) * 2
      width, height = rng.integers(8, 16, 2) * 2
      centre = (x + width / 2) / SIZE, (y + height / 2) / SIZE
      lines.append(f"{rng.integers(2)} {centre[0]} {centre[1]} {width / SIZE} {height / SIZE}\n")
    (folder / "labels" / f"{index}.txt").write_text("".join(lines))
  file = folder / "data.yaml"
  file.write_text(f"path: {folder}\ntrain: images\nval: images\nnames:\n  0: a\n  1: b\n")
  return file


class EnoughError(Exception):
  """As many batches as were asked for."""


def run(folder: Path, settings: dict):
  folder.mkdir()
  torch.set_default_dtype(torch.float32)
  from ultralytics.models.yolo.detect import DetectionTrainer  # pyright: ignore
  from ultralytics.utils.torch_utils import ModelEMA  # pyright: ignore

  batches, kept = settings.pop("batches"), settings.pop("kept")
  seen: list[dict] = []
  rates: list = []

  class Trainer(DetectionTrainer):
    def preprocess_batch(self, batch):
      batch = super().preprocess_batch(batch)
      batch = {k: v.double() if torch.is_tensor(v) else v for k, v in batch.items()}
      if len(seen) < kept:
        seen.append({k: batch[k].numpy().copy() for k in ("img", "bboxes", "cls", "batch_idx")})
      return batch

  def start(trainer):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)  # the loss makes arrays of its own
    trainer.model.double()
    with torch.no_grad():  # away from where norms and biases are idle
      for name, value in trainer.model.state_dict().items():
        if name.endswith(("bn.weight", "running_var")):
          value.uniform_(0.8, 1.6)
        elif name.endswith(("bn.bias", "running_mean")):
          value.normal_(0, 0.1)
    trainer.ema = ModelEMA(trainer.model)
    torch.save(trainer.model.state_dict(), folder / "start.pt")

  def end_of_batch(trainer):
    names = ("lr", "momentum", "weight_decay")
    groups = [
      [group.get(name) for name in names] + [sum(p.numel() for p in group["params"])]
      for group in trainer.optimizer.param_groups
    ]
    rates.append([trainer.accumulate, trainer.ema.updates, groups])
    if len(rates) == kept:
      torch.save(trainer.model.state_dict(), folder / "end.pt")
      torch.save(trainer.ema.ema.state_dict(), folder / "ema.pt")
    if len(rates) == batches:
      (folder / "rates.json").write_text(json.dumps(rates))
      arrays = {f"{i}_{name}": value for i, one in enumerate(seen) for name, value in one.items()}
      np.savez(folder / "batches.npz", **arrays)
      raise EnoughError

  settings = {"model": "yolov8n.yaml", "data": str(write_images(folder)), **PLAIN, **settings}
  settings |= {"imgsz": SIZE, "batch": 2, "workers": 0, "device": "cpu", "amp": False}
  settings |= {"plots": False, "val": False, "save": False, "project": str(folder / "runs")}
  trainer = Trainer(overrides=settings)
  trainer.add_callback("on_train_start", start)
  trainer.add_callback("on_train_batch_end", end_of_batch)
  with contextlib.suppress(EnoughError):
    trainer.train()


def main(folder: Path, runs: dict):
  stand_in_for_torchvision()
  for name, settings in runs.items():
    run(folder / name, settings)
  sys.stdout.flush()
  os._exit(0)  # whatever the package has begun in the background


if __name__ == "__main__":
  main(Path(sys.argv[1]), json.loads(sys.argv[2]))
