"""Pseudo-labels: what a pretrained T is sure of on either image stands for labels of both.

The images are registered, so what T finds in one is there in the other. Its confident findings in
the infrared and in the visible image are merged: boxes by non-maximum suppression within a class,
pixels by the surer of the two (self-training, Lee, ICML workshops 2013; over two views as in
co-training, Blum and Mitchell, COLT 1998). What T half sees is neither label nor background: most
objects are among it, and to teach that nothing is there would hide them.
"""

import hashlib
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax import weightfiles
from tdfusion_jax.batch import IGNORE_LABEL, UNKNOWN_CLASS, Boxes
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.data.letterbox import of_pair, whole_view
from tdfusion_jax.data.pseudo import PseudoSource
from tdfusion_jax.data.source import Kind, Source
from tdfusion_jax.files import atomic_write
from tdfusion_jax.ops import compiling
from tdfusion_jax.ops.boxes import nms
from tdfusion_jax.progress import Progress
from tdfusion_jax.tasks import Task
from tdfusion_jax.train import build
from tdfusion_jax.train.checks import check
from tdfusion_jax.train.runfolder import require_same

log = logging.getLogger(__name__)

FILE = "pseudo_labels.npz"
_SAME = 0.5  # IoU from which two boxes of a class are one object


def labelled(config: Config, workdir: str | Path) -> tuple[Source, Source] | None:
  """The training and validation pairs, those for training with T's labels.

  None if `config.task.labels` does not ask for them.

  Validation keeps its own labels where it has some, so that its scores are true; without any it is
  labelled like the training pairs.

  Args:
    config: of a training; `init.t` is the T that labels.
    workdir: the run folder, whose labels of an earlier start are taken if nothing has changed.

  Raises:
    ConfigError, DatasetError, CheckpointError: settings or weights that do not fit, missing data,
      classes that cannot be known.
  """
  if config.task.labels != "pseudo":
    return None
  check(config)
  # Another run's folder is noticed before all pairs are looked at; networks that were given in
  # Python are compared later.
  given = ("fusion.network", "loss.network")
  require_same(build.config_to_json(config), Path(workdir), free=given)
  train, val = (build.source(config, split, own_task=True) for split in ("train", "val"))
  kind = cast(Kind, config.task.kind)
  true = val.kind == kind
  classes = tuple(val.classes) if true else tuple(train.classes) or _names(config)
  kept = _kept(Path(workdir) / FILE)
  for_training = _labelled(config, train, classes, kept)
  return for_training, val if true else _labelled(_sure_only(config), val, classes, kept)


def _sure_only(config: Config) -> Config:
  """Without unsure boxes: whatever is judged by them would find objects that nobody counts."""
  config = config.copy_and_resolve_references()
  config.task.pseudo_unsure = config.task.pseudo_threshold
  return config


def save(pairs: tuple[Source, Source], folder: Path) -> None:
  """Keeps the labels of `labelled` in a run folder, for its next start."""
  arrays: dict[str, np.ndarray] = {}
  for source in pairs:
    if isinstance(source, PseudoSource):
      arrays |= {f"{source.key}/{i}/{j}": part for i, j, part in _parts(source.targets)}
  with atomic_write(folder / FILE) as temporary, temporary.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **cast(Any, arrays))


def _parts(targets: list) -> list[tuple[int, int, np.ndarray]]:
  rows = [target if isinstance(target, Boxes) else (target,) for target in targets]
  return [(i, j, part) for i, row in enumerate(rows) for j, part in enumerate(row)]


def _kept(file: Path) -> dict[str, np.ndarray]:
  """What an earlier start has saved; nothing if it cannot be read, and it is made again."""
  if not file.is_file():
    return {}
  try:
    with np.load(file, allow_pickle=False) as archive:
      return dict(archive)
  except Exception as error:  # noqa: BLE001  a zip and its arrays fail in many ways
    log.warning("%s cannot be read (%s); the labels are made again", file, error)
    return {}


def _names(config: Config) -> tuple[str, ...]:
  """Classes that T's weight file names."""
  _, notes = weightfiles.load_weights(config.init.t)
  names = notes.get("classes")
  if not names:
    raise ConfigError(
      f"config.task.labels='pseudo': neither the data nor {config.init.t} names the classes; give "
      "them to the data as classes (train_options), or convert T with --keep-classes."
    )
  return tuple(map(str, names))


def _labelled(
  config: Config, source: Source, classes: tuple[str, ...], kept: dict[str, np.ndarray]
) -> PseudoSource:
  kind = cast(Kind, config.task.kind)
  key = _key(config, source, classes)
  targets = _restored(key, kind, len(source), kept)
  if targets is None:
    targets = _made(config, source, len(classes))
  made = PseudoSource(source, kind, classes, targets, key)
  log.info("pseudo-labels: %s", _summary(made))
  return made


def _key(config: Config, source: Source, classes: tuple[str, ...]) -> str:
  """Of all that decides on the labels."""
  about = {
    "t": hashlib.sha256(Path(config.init.t).read_bytes()).hexdigest(),
    "task": json.loads(config.task.to_json()),
    "view": [config.data.view, *config.data.task_size],
    "names": source.names,
    "classes": classes,
    "source": source.describe(),
  }
  return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _restored(key: str, kind: Kind, count: int, kept: dict[str, np.ndarray]) -> list | None:
  try:
    if kind == "segmentation":
      return [kept[f"{key}/{i}/0"] for i in range(count)]
    return [Boxes(kept[f"{key}/{i}/0"], kept[f"{key}/{i}/1"]) for i in range(count)]
  except KeyError:
    return None


def _made(config: Config, source: Source, num_classes: int) -> list:
  """T's labels of all pairs."""
  task = _task(config, num_classes)
  size, how = tuple(config.data.task_size), config.data.view
  fresh = jax.eval_shape(task.init, jax.random.key(0), jnp.zeros((1, *size, 1)))
  loaded, _ = weightfiles.load_weights(config.init.t)
  shapes = {"params": fresh[0], "batch_stats": fresh[1]}
  variables = weightfiles.match(loaded, shapes, f"{config.init.t} (init.t)")
  params, stats = (jax.tree.map(jnp.asarray, variables.get(name, {})) for name in shapes)
  threshold = config.task.pseudo_threshold
  find_labels = _boxes if config.task.kind == "detection" else _pixels

  @compiling.jit
  def look(images):
    return find_labels(task, params, stats, images, threshold)

  targets = []
  with Progress(len(source), "pseudo-labels, pair") as progress:
    for index in range(len(source)):
      sample = source[index]
      ir, vi, _ = whole_view(sample._replace(target=None), size, how)
      found = jax.device_get(look(jnp.stack([ir, vi])[..., None]))
      if config.task.kind == "detection":
        valid = found["valid"]
        target: Any = Boxes(found["boxes"][valid], found["classes"][valid])
      else:
        target = found["labels"].astype(np.uint8)
      targets.append(of_pair(target, sample.ir.shape, size, how))
      progress.update(index + 1)
  return targets


def _task(config: Config, num_classes: int) -> Task:
  """T, for detection with all candidates that are labels or unsure."""
  asked = config.copy_and_resolve_references()
  if config.task.kind == "detection":
    with asked.unlocked():
      asked.task.options.score_threshold = float(config.task.pseudo_unsure)
      asked.task.options.max_detections = config.data.max_boxes
  task = build.task(asked, num_classes)
  assert task is not None, "checked: a task of ours"
  return task


def _boxes(task: Task, params, stats, images: jax.Array, threshold: float) -> dict:
  """Boxes of both images [2, H, W, 1], merged; of unknown class below `threshold`."""
  found = task.predict(params, stats, images)
  boxes, scores, classes, valid = (
    found[name].reshape(-1, *found[name].shape[2:])
    for name in ("boxes", "scores", "classes", "valid")
  )
  kept, real = nms(
    boxes,
    jnp.where(valid, scores, 0),
    classes,
    iou_threshold=_SAME,
    max_detections=found["valid"].shape[1],
  )
  chosen = jnp.where(scores[kept] >= threshold, classes[kept], UNKNOWN_CLASS)
  return {"boxes": boxes[kept], "classes": chosen, "valid": real}


def _pixels(task: Task, params, stats, images: jax.Array, threshold: float) -> dict:
  """The surer class of both images [2, H, W, 1]; unknown where neither reaches `threshold`."""
  logits, _ = task.apply(params, stats, images, train=False)
  probabilities = jax.nn.softmax(logits, axis=-1)
  surest = probabilities.max(axis=-1).argmax(axis=0)
  chosen = jnp.take_along_axis(probabilities, surest[None, ..., None], axis=0)[0]
  labels = jnp.where(chosen.max(axis=-1) >= threshold, chosen.argmax(axis=-1), IGNORE_LABEL)
  return {"labels": labels}


def _summary(source: PseudoSource) -> str:
  """How much T has labelled."""
  if source.kind == "segmentation":
    known = float(np.mean([np.mean(labels != IGNORE_LABEL) for labels in source.targets]))
    return f"{len(source)} pairs, {known:.0%} of the pixels"
  counts = Counter(int(c) for target in source.targets for c in target.classes)
  unsure = counts.pop(UNKNOWN_CLASS, 0)
  by_class = ", ".join(f"{counts[i]} {name}" for i, name in enumerate(source.classes))
  empty = sum(not np.any(target.classes != UNKNOWN_CLASS) for target in source.targets)
  left_out = f"; {unsure} unsure ones are left out" if unsure else ""
  return f"{len(source)} pairs, boxes: {by_class}; {empty} pairs without any{left_out}"
