"""The paper's table 2: fuse a data set once, train a T of its own on the images, and judge it."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tdfusion_jax import fusers
from tdfusion_jax.batch import LUMA, Sample
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.config.shared import SMALL_OBJECTS
from tdfusion_jax.data import CachedSource, FusedSource, Source
from tdfusion_jax.evaluate import contributions, tables
from tdfusion_jax.evaluate.judge import judge
from tdfusion_jax.evaluate.results import parts, read_result
from tdfusion_jax.files import write_json, write_text
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.images.writing import write_image
from tdfusion_jax.meta.state import Params
from tdfusion_jax.train import build, checks, controls, hosts
from tdfusion_jax.train.loop import train
from tdfusion_jax.train.networks import networks

log = logging.getLogger(__name__)

_BATCH = 16  # images of one size fused at a time
_ABOUT = ("name", "config", "images", "start", "seed", "epochs")  # of a result, in its table
_RANDOM_START = (
  "T starts from random weights. Published numbers start from pretrained ones (ImageNet for "
  "SegFormer, COCO for YOLOv8): `tdfusion convert` makes a file of them for --config.init.t=FILE"
)
_NOTHING_FOUND = (
  "T has found nothing. If its training loss fell to nearly zero, its class scores died out before "
  f"it had learned small objects: --config.task.options.assigner_eps={SMALL_OBJECTS} prevents "
  "that, pretrained weights (init.t) do too"
)


def run_task_stage(config: Config, workdir: str | Path) -> dict:
  """Trains and judges a fresh (or `init.t`) T on the images that `config.fused` names.

  Leaves in `workdir` what `train` leaves, `fused/SPLIT/NAME.png` where F made them,
  `images_SPLIT.npz` (what T found on each image, for intervals) and `result.json`; and beside it
  `results.md`, a table of all such results in the parent folder. Goes on where an earlier run
  stopped.

  Args:
    config: with `stage="task"`, e.g. from `configs/llvip_det.py:task`.
    workdir: the run folder.

  Returns:
    What `result.json` holds: {"name", "images", "start", "weights", "seed", "epochs",
      SPLIT: {score: value}}.

  Raises:
    ConfigError, DatasetError, CheckpointError: as in training; images missing or of another size,
      naming the file.
  """
  checks.check(config)
  if hosts.several():
    raise ConfigError(
      "config.stage='task' trains T by one process, which has all images in its run folder; start "
      "one, with train.devices=all for all devices of its machine."
    )
  workdir = Path(workdir)
  splits = ["train", "val"] + (["test"] if config.data.test_split else [])
  pairs = {split: build.source(config, split) for split in splits}
  about = {
    "name": workdir.name,
    "config": config.name,
    "images": config.fused.images,
    "start": _start(config.init.t),
    "seed": config.seed,
  }
  if not config.init.t:
    log.warning(_RANDOM_START)
  folder = Path(config.fused.folder) if config.fused.folder else workdir / "fused"
  if config.fused.images == "fusion":
    about["weights"] = _fuse_all(config, pairs, folder)
  images = {
    split: finished_images(config, source, folder, split) for split, source in pairs.items()
  }
  state = train(with_room(config), workdir, pairs=(images["train"], images["val"]))
  scores = {
    config.data[f"{split}_split"]: _scores(config, state.judged, images[split], split, workdir)
    for split in splits[1:]
  }
  result = {**about, "epochs": config.train.epochs, **scores}
  write_json(workdir / "result.json", result)
  write_results(workdir.absolute().parent)
  shown = {split: tables.main_scores(of_split) for split, of_split in scores.items()}
  log.info("%s: %s", workdir.name, json.dumps(shown))
  if any(of_split.get("AP50", 1) < 1e-3 for of_split in shown.values()):
    log.warning(_NOTHING_FOUND)
  return result


def _start(file: str) -> str:
  """Where T starts, for those who compare results: file and sha256, or random."""
  if not file:
    return "random"
  try:
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
  except OSError as error:
    raise ConfigError(f"config.init.t={file!r} cannot be read: {error.strerror}.") from error
  return f"{Path(file).name} {digest[:12]}"


def _scores(
  config: Config, params: Params, images: Source, split: str, workdir: Path
) -> dict[str, float]:
  """Of the trained T on one split; what it found on each image goes into `images_SPLIT.npz`."""
  log.info("judging on %s", images.describe())
  task = build.task(build.scored(config), len(images.classes))
  assert task is not None
  measured, of_images = judge(
    task,
    params,
    images,
    fuse=controls.two_channels if config.fused.images == "both" else controls.finished,
    task_size=tuple(config.data.task_size),
    max_boxes=config.data.max_boxes,
    view=config.data.view,
  )
  contributions.write(workdir / f"images_{config.data[f'{split}_split']}.npz", of_images)
  return measured


def with_room(config: Config) -> Config:
  """The config that T is trained with.

  That is `config`, with targets that have room for all boxes of a mosaic's four images: otherwise
  training would stop at the first crowded one.
  """
  if config.task.kind != "detection" or config.data.augment != "task":
    return config
  roomy = config.copy_and_resolve_references()
  roomy.data.max_boxes = 4 * config.data.max_boxes
  return roomy


def write_results(folder: Path) -> str:
  """`results.md`: one row for each `RUN/result.json` and split in `folder`. Returns its text.

  Of the rows of one split the best score is **bold** and the second best _slanted_.
  """
  about: list[list[str]] = []  # by row, the split last
  scores: list[dict[str, float]] = []
  for file in sorted(folder.glob("*/result.json")):
    result = read_result(file)
    for split, of_split in parts(result).items():
      about.append([*(str(result.get(key, "")) for key in _ABOUT), split])
      scores.append(tables.main_scores(of_split))
  names = list(dict.fromkeys(name for row in scores for name in row))
  cells: dict[str, list[str]] = {}
  for split in {row[-1] for row in about}:
    rows = {str(i): scores[i] for i, row in enumerate(about) if row[-1] == split}
    cells |= tables.marked_cells(
      rows, names, tables.MARKDOWN, lower_is_better=["task_loss"], digits=4
    )
  lines = [[*row, *cells[str(i)]] for i, row in enumerate(about)]
  text = tables.markdown_lines(["run", *_ABOUT[1:], "split", *names], lines)
  write_text(folder / "results.md", text)
  return text


def finished_images(config: Config, source: Source, folder: Path, split: str) -> Source:
  """The pairs of one split with what T sees in place of both images.

  Args:
    config: names those images.
    source: the pairs as they are.
    folder: holds SPLIT/NAME.png, see `run_task_stage`.
    split: "train", "val" or "test".
  """
  there = folder / config.data[f"{split}_split"]
  finished: Source = FusedSource(source, config.fused.images, there, config.fused.w_a)
  if not config.data.cache_mb:
    return finished
  return CachedSource(finished, config.data.cache_mb << 20)


def _fuse_all(config: Config, pairs: dict[str, Source], folder: Path) -> str:
  """Fuses what is not there yet. Returns the sha256 of F's weights, one for all of `folder`."""
  run, file = config.fused.run, config.init.f
  if run and file:
    raise ConfigError(f"config.fused.run={run!r} and config.init.f={file!r}: give one of them.")
  weights = fusers.fusion_file(run=run or None, weights=file or None)
  loaded = _load(config, run, weights)
  digest = hashlib.sha256(weights.read_bytes()).hexdigest()
  mark = folder / "weights.sha256"
  made = digest + (" stretched" if config.fused.stretch else "")
  if mark.is_file() and mark.read_text().strip() != made:
    raise ConfigError(
      f"{folder} holds images of other weights than {weights}, or stretched otherwise; "
      "choose another --workdir."
    )
  write_text(mark, made + "\n")
  fuse = make_fuse_fn(*loaded, stretch=config.fused.stretch)
  for split, source in pairs.items():
    _fuse_split(fuse, source, folder / config.data[f"{split}_split"])
  return digest


def _load(config: Config, run: str, weights: Path) -> tuple:
  """F: a run's config names its network; for a weight file the config of the task stage does."""
  if run:
    return fusers.load_fusion(run=run)
  if config.fusion.network:
    return fusers.load_fusion(weights=weights, network=networks(config).fuser)
  return fusers.load_fusion(weights=weights)


def _fuse_split(fuse: Callable, source: Source, out: Path) -> None:
  """Fuses the pairs of `source` that have no image in `out`, `_BATCH` of one size at a time."""
  out.mkdir(exist_ok=True)
  todo = [i for i, name in enumerate(source.names) if not (out / f"{name}.png").is_file()]
  if todo:
    log.info("fusing %d of %d images into %s", len(todo), len(source), out)
  waiting: list[Sample] = []
  for position, index in enumerate(todo, 1):
    sample = source[index]
    if waiting and waiting[0].ir.shape != sample.ir.shape:
      _write(fuse, waiting, out)
      waiting = []
    waiting.append(sample)
    if len(waiting) == _BATCH or position == len(todo):
      _write(fuse, waiting, out)
      waiting = []
    if position % 500 == 0:
      log.info("fused %d of %d", position, len(todo))


def _write(fuse: Callable, samples: list[Sample], out: Path) -> None:
  """One batch. T sees luminances, so gray images are what is kept."""
  ir = np.stack([sample.ir for sample in samples])[..., None].astype(np.float32) / 255
  vi = np.stack([sample.vi for sample in samples]).astype(np.float32) / 255
  gray = vi[..., None] if vi.ndim == 3 else (vi @ np.asarray(LUMA, np.float32))[..., None]
  fused = np.asarray(fuse(ir, gray))
  for sample, image in zip(samples, fused, strict=True):
    write_image(out / f"{sample.name}.png", image)
