"""Object detection as a task: YOLOv8 and its loss."""

from functools import partial
from typing import Any

import jax

from tdfusion_jax.losses.detection import yolo_loss
from tdfusion_jax.networks.fresh import fresh_variables
from tdfusion_jax.networks.yolov8 import YOLOv8, decode_boxes
from tdfusion_jax.ops.boxes import best_boxes
from tdfusion_jax.tasks import Task

WHOLE_CURVE = {"score_threshold": 0.001, "max_detections": 300}
"""Options of a detector that is scored: average precision needs the whole curve."""


def detection(  # noqa: PLR0913  one argument for each of `config.task.options`
  num_classes: int,
  variant: str = "n",
  in_channels: int = 1,
  *,
  score_threshold: float = 0.25,
  iou_threshold: float = 0.7,
  max_detections: int = 100,
  assigner_eps: float = 1e-9,
  assigner_least_side: float | int = 0.0,
  class_balance: bool = False,
  class_width: int = 0,
  multi_label: bool = False,
  candidates: int = 1000,
) -> Task:
  """A `Task` with YOLOv8 as network and its loss.

  Args:
    num_classes: number of classes; targets are `DetTarget`.
    variant: "n", "s", "m", "l" or "x".
    in_channels: channels of the images: 1 for fused images, 3 for colour ones.
    score_threshold: least class probability of a prediction.
    iou_threshold: of non-maximum suppression within a class.
    max_detections: rows of a prediction.
    assigner_eps: see `losses.detection.assign`. The boxes of a fresh network are 15 strides wide.
      If objects are much smaller, 1e-9 (the reference's) lets the class scores die out before a box
      has been learned: the loss falls to nearly zero and nothing is ever detected. 1e-30 prevents
      that.
    assigner_least_side: see `losses.detection.assign`: 0 is YOLOv8 as published, 16 the current
      Ultralytics package, which gives boxes under 16 pixels more candidates.
    class_balance: see `losses.detection.yolo_loss`: classes count alike, few boxes or many.
    multi_label: see `ops.boxes.best_boxes`. The Ultralytics package validates so where there are
      several classes: with a score threshold of 0.001, an IoU of 0.7 and 300 detections.
    candidates: see `ops.boxes.best_boxes`; 30000 in the Ultralytics package.
    class_width: see `YOLOv8`; `tdfusion convert --keep-classes` reports what its weights need.

  Returns:
    Task; `outputs` are `Detections`, `predict` gives {"boxes" [B, K, 4] xyxy pixels, "scores" [B,
    K], "classes" [B, K] int32, "valid" [B, K]} by falling score, K = max_detections.

  Raises:
    ValueError: images without `in_channels` channels; whatever `YOLOv8` refuses.
  """
  net = YOLOv8(num_classes, variant, class_width)

  def check(images):
    if images.shape[-1] != in_channels:
      raise ValueError(
        f"this detection task needs {in_channels} channel(s), not images of {images.shape}."
      )

  def init(key, images):
    check(images)
    variables = fresh_variables(net, key, images)
    return variables["params"], variables["batch_stats"]

  def apply(params, stats, images, *, train, key=None) -> tuple[Any, Any]:
    del key  # nothing in this network is random
    check(images)
    variables = {"params": params, "batch_stats": stats}
    if not train:
      return net.apply(variables, images), stats
    outputs, moved = net.apply(variables, images, train=True, mutable=["batch_stats"])
    return outputs, moved["batch_stats"]

  def predict(params, stats, images):
    outputs, _ = apply(params, stats, images, train=False)
    select = partial(
      best_boxes,
      score_threshold=score_threshold,
      iou_threshold=iou_threshold,
      max_detections=max_detections,
      multi_label=multi_label,
      candidates=candidates,
    )
    return jax.vmap(select)(decode_boxes(outputs), jax.nn.sigmoid(outputs.class_logits))

  loss = partial(
    yolo_loss,
    assigner_eps=assigner_eps,
    assigner_least_side=float(assigner_least_side),
    class_balance=class_balance,
  )
  return Task(init, apply, loss, predict)
