"""Runs the real Ultralytics package in a process of its own: on import it sets up files and warns.

  python ultralytics_script.py make VARIANT FOLDER

writes a checkpoint (pickled model) of random weights, and its answers.

  python ultralytics_script.py load VARIANT FILE

loads a state_dict strictly into a model and prints its digest.

  python ultralytics_script.py assign CLASSES FILE.npz

assigns the true boxes of FILE to its predictions and adds the package's answers, in float64.

  python ultralytics_script.py select single|multi FILE.npz

does non-maximum suppression as the package validates, in float64.

  python ultralytics_script.py measure CLASSES FILE.npz

matches the detections of FILE with its true boxes and measures average precision.
"""

import hashlib
import os
import sys
from pathlib import Path

os.environ["YOLO_OFFLINE"] = "true"

import numpy as np
import torch
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import ap_per_class, box_iou
from ultralytics.utils.nms import non_max_suppression
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


def select(multi_label: bool, file: Path):
  with np.load(file) as given:
    inputs = {key: torch.from_numpy(given[key]) for key in given.files}
  low, high = inputs["boxes"].split(2, dim=-1)
  rows = torch.cat([(low + high) / 2, high - low, inputs["probabilities"]], dim=-1)
  found = non_max_suppression(
    rows.transpose(1, 2),
    conf_thres=0.001,
    iou_thres=0.7,
    multi_label=multi_label,
    max_det=300,
    max_time_img=100.0,
  )
  counts = np.array([len(image) for image in found])
  np.savez(file.with_name("selected.npz"), counts=counts, found=torch.cat(found).numpy())


def measure(file: Path):
  with np.load(file) as given:
    inputs = {key: torch.from_numpy(given[key]) for key in given.files}
  validator = BaseValidator.__new__(BaseValidator)
  validator.iouv = torch.linspace(0.5, 0.95, 10)
  hits = []
  for image in inputs["images"].unique():
    found, true = inputs["images"] == image, inputs["true_images"] == image
    overlap = box_iou(inputs["true_boxes"][true], inputs["boxes"][found])
    kinds = inputs["classes"][found], inputs["true_classes"][true]
    hits.append(validator.match_predictions(*kinds, overlap).numpy())
  answers = ap_per_class(
    np.concatenate(hits),
    inputs["scores"].numpy(),
    inputs["classes"].numpy(),
    inputs["true_classes"].numpy(),
  )
  (precisions,) = (x for x in answers if getattr(x, "shape", ())[1:] == (10,))
  np.savez(file.with_name("measured.npz"), precisions=precisions)


if how in ("assign", "select", "measure"):
  if how == "assign":
    assign(int(variant), Path(where))
  elif how == "select":
    select(variant == "multi", Path(where))
  else:
    measure(Path(where))
  print("digest none")
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
