"""A task network that is there already, on the images of any method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.convert import files
from tdfusion_jax.convert.adopt import Changes
from tdfusion_jax.data.source import DatasetError, Source
from tdfusion_jax.data.transforms import luminance, resize_bilinear, resize_target
from tdfusion_jax.evaluate.contributions import Contributions, gathered
from tdfusion_jax.evaluate.methods import Method
from tdfusion_jax.files import UsageError
from tdfusion_jax.metrics.segmentation import confusion_matrix
from tdfusion_jax.ops import compiling
from tdfusion_jax.progress import Progress
from tdfusion_jax.tasks import Task
from tdfusion_jax.tasks.detection import WHOLE_CURVE, detection
from tdfusion_jax.tasks.own import own_task
from tdfusion_jax.tasks.segmentation import segmentation
from tdfusion_jax.weightfiles import load_weights, match

_KINDS = {"yolov8": "detection", "segformer": "segmentation"}
_STRIDE = 32  # of both networks
_PADDING = 114 / 255  # the gray that YOLO networks are trained with beside an image


class Given(NamedTuple):
  """T, ready to predict."""

  task: Task
  params: Any
  stats: Any
  channels: int
  """Of its images: luminances are repeated."""


def load_given(
  file: str | Path,
  source: Source,
  *,
  keep: tuple[str, ...] = (),
  kind: str = "",
  variant: str = "",
  options: Mapping[str, Any] | None = None,
) -> Given:
  """T of a weight file, for the classes of `source`.

  Args:
    file: of this package (`tdfusion convert`, a run's `weights/t.safetensors`) or PyTorch's.
    source: pairs with labels.
    keep: classes of the file that stay, in the order of `source.classes`; see `convert.classes`.
    kind: `package.module:factory` for a task of the user's own.
    variant: for the same.
    options: of the network, in front of what the file tells.

  Raises:
    CheckpointError: no such file, or it holds something else.
    UsageError: it is for other classes or other labels.
    DatasetError: `source` has no labels.
  """
  if source.kind not in ("segmentation", "detection"):
    raise DatasetError(f"{source.describe()}: T cannot be judged without labels")
  given = dict(options or {})
  if kind:
    return _own(file, source, kind, variant, given)
  changes = Changes(keep_classes=keep)
  ported = files.understand(files.load(file), file, arch=None, style=None, changes=changes)
  found = _KINDS.get(ported.origin.arch)
  if found != source.kind:
    raise UsageError(
      f"{file} holds {ported.origin.arch}, and {source.describe()} is for {source.kind}; choose "
      "other weights, or other data."
    )
  _check_classes(file, ported, source.classes)
  told = {name: value for name, value in ported.options.items() if name != "num_classes"}
  channels = given.setdefault("in_channels", told.get("in_channels", 1))
  if found == "detection":
    given = {**WHOLE_CURVE, **given}
  make = detection if found == "detection" else segmentation
  if channels not in (1, 3):
    raise UsageError(
      f"{file} wants images of {channels} channels, as of a training on both images; judge has one "
      "fused image for it."
    )
  task = make(len(source.classes), **{**told, **given})
  return _fitted(file, ported.variables, task, channels)


def _own(file: str | Path, source: Source, kind: str, variant: str, options: dict) -> Given:
  task = own_task(kind, len(source.classes), variant, options, "--task")
  if task.labels not in (None, source.kind):
    raise UsageError(f"{kind} reads labels for {task.labels}; {source.describe()}.")
  return _fitted(file, load_weights(file)[0], task, int(options.get("in_channels", 1)))


def _fitted(file: str | Path, variables: dict, task: Task, channels: int) -> Given:
  image = jnp.zeros((1, 64, 64, channels))

  def fresh() -> dict:
    params, stats = task.init(jax.random.key(0), image)
    return {"params": params, "batch_stats": stats}

  like = {name: tree for name, tree in jax.eval_shape(fresh).items() if jax.tree.leaves(tree)}
  fitting = match(variables, like, str(file))
  fitting = jax.tree.map(jnp.asarray, fitting)
  return Given(task, fitting.get("params", {}), fitting.get("batch_stats", {}), channels)


def _check_classes(file: str | Path, ported: Any, classes: tuple[str, ...]) -> None:
  count = ported.options.get("num_classes")
  wanted = ",".join(classes)
  if count != len(classes):
    raise UsageError(
      f"{file} knows {count} classes, the data {len(classes)} ({wanted}); --keep-classes {wanted} "
      "keeps those (write NEW=OLD where names differ)."
    )
  if ported.classes and tuple(ported.classes) != tuple(classes):
    raise UsageError(
      f"{file} knows {','.join(ported.classes)}, the data {wanted}, in this order: a class would "
      f"be taken for another; --keep-classes {wanted} keeps those (write NEW=OLD where names "
      "differ)."
    )


def judge_methods(
  given: Given,
  source: Source,
  methods: Mapping[str, Method],
  *,
  task_size: tuple[int, int] | None = None,
) -> dict[str, Contributions]:
  """What T finds on the images of every method; each pair is read once.

  Args:
    given: T.
    source: pairs with labels.
    methods: {title: method}.
    task_size: (H, W) that images and labels are resized to; None is each pair's own size, with gray
      on the right and below up to a multiple of 32 pixels, where nothing is counted.

  Raises:
    DatasetError: a pair without a label.
  """

  @compiling.jit
  def predict(params, stats, images):
    return given.task.predict(params, stats, images)

  seen: dict[str, list] = {title: [] for title in methods}
  with Progress(len(source), "judging", unit="pairs") as progress:
    for index in progress.track(range(len(source))):
      sample = source[index]
      if sample.target is None:
        raise DatasetError(f"{sample.name}: no label; skip unlabelled pairs")
      vi = sample.vi if sample.vi.ndim == 2 else luminance(sample.vi)
      images = [_unit(fuse(sample.name, sample.ir, vi)) for fuse in methods.values()]
      height, width = sample.ir.shape
      target, size = sample.target, (height, width)
      if task_size is not None:
        target, size = resize_target(target, size, task_size), task_size
        images = [resize_bilinear(image, size) for image in images]
      padded = _padded(np.stack(images), given.channels)
      predictions = jax.device_get(predict(given.params, given.stats, jnp.asarray(padded)))
      for row, title in enumerate(methods):
        own = {name: values[row] for name, values in predictions.items()}
        seen[title].append(_seen(own, target, size, source))
  return {title: gathered(source, of_method) for title, of_method in seen.items()}


def _unit(image: np.ndarray) -> np.ndarray:
  return image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)


def _padded(images: np.ndarray, channels: int) -> np.ndarray:
  """[B, H, W] as [B, H', W', channels], H' and W' multiples of the stride."""
  below, right = (-side % _STRIDE for side in images.shape[1:])
  whole = np.pad(images, ((0, 0), (0, below), (0, right)), constant_values=_PADDING)
  return np.repeat(whole[..., None], channels, axis=-1)


def _seen(predictions: dict, target: Any, size: tuple[int, int], source: Source) -> Any:
  height, width = size
  if source.kind == "segmentation":
    labels = jnp.asarray(predictions["labels"][:height, :width])
    true = jnp.asarray(target, jnp.int32)
    return np.asarray(confusion_matrix(labels, true, len(source.classes)))
  valid = predictions["valid"]
  boxes = np.clip(predictions["boxes"][valid], 0, [width, height, width, height])
  detected = {name: predictions[name][valid] for name in ("scores", "classes")}
  return {"boxes": boxes, **detected}, {"boxes": target[0], "classes": target[1]}
