"""Runs the real Ultralytics package in a process of its own: on import it sets up files and warns.

  python ultralytics_script.py make VARIANT FOLDER

writes a checkpoint (pickled model) of random weights, and its answers.

  python ultralytics_script.py load VARIANT FILE

loads a state_dict strictly into a model and prints its digest.

  python ultralytics_script.py assign CLASSES FILE.npz

assigns the true boxes of FILE to its predictions and adds the package's answers, in float64.
"""

import hashlib
import os
import sys
from pathlib import Path

os.environ["YOLO_OFFLINE"] = "true"

import numpy as np
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.tal import TaskAlignedAssigner

how, variant, where = sys.argv[1:]


def assign(classes: int, file: Path):
  with np.load(file) as given:
    inputs = {key: torch.from_numpy(given[key]) for key in given.files}
  assigner = TaskAlignedAssigner(
    topk=10, num_classes=classes, alpha=0.5, beta=6.0, stride=[8, 16, 32]
  )
  _, boxes, scores, *_ = assigner(
    inputs["scores"],
    inputs["boxes"],
    inputs["points"],
    inputs["true_classes"][..., None],
    inputs["true_boxes"],
    inputs["valid"][..., None].double(),
  )
  np.savez(file.with_name("assigned.npz"), boxes=boxes.numpy(), scores=scores.numpy())
  print("digest none")


if how == "assign":
  assign(int(variant), Path(where))
  sys.exit()
torch.manual_seed(0)
model = DetectionModel(f"yolov8{variant}.yaml", ch=3, nc=80, verbose=False).eval()


def digest(state):
  return hashlib.sha256(b"".join(state[key].numpy().tobytes() for key in sorted(state))).hexdigest()


if how == "make":
  with torch.no_grad():
    for (
      key,
      value,
    ) in model.state_dict().items():  # away from zero and one, or they would not be seen
      if key.endswith("running_mean"):
        value.normal_(0, 0.1)
      elif key.endswith("running_var"):
        value.uniform_(0.5, 1.5)
      elif key.endswith("bn.weight"):  # or the signal fades on its way
        value.uniform_(1.5, 2.5)
    images = torch.rand(2, 3, 64, 96)
    decoded, raw = model(images)
  folder = Path(where)
  torch.save({"model": model, "epoch": -1}, folder / "yolo.pt")
  np.savez(
    folder / "answers.npz",
    images=images.numpy(),
    decoded=decoded.numpy(),
    boxes=raw["boxes"].numpy(),
    scores=raw["scores"].numpy(),
  )
else:
  model.load_state_dict(torch.load(where, weights_only=True), strict=True)
print("digest", digest(model.state_dict()))
