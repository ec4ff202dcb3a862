"""The paper's table 2: fuse a data set once, train a T of its own on the images, and judge it."""

import hashlib
import json
import logging
from pathlib import Path

import numpy as np

from tdfusion_jax import fusers
from tdfusion_jax.config import Config, ConfigError
from tdfusion_jax.data import CachedSource, FusedSource, Source
from tdfusion_jax.evaluate.judge import judge
from tdfusion_jax.evaluate.tables import ranks
from tdfusion_jax.files import atomic_write
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.images.files import write_image
from tdfusion_jax.train import build, checks, controls
from tdfusion_jax.train.loop import train
from tdfusion_jax.train.networks import networks

log = logging.getLogger(__name__)

_BATCH = 16  # images of one size fused at a time
_LOW = {"score_threshold": 0.001, "max_detections": 300}  # average precision wants the whole curve


def run_task_stage(config: Config, workdir: str | Path) -> dict:
  """Trains and judges a fresh (or `init.t`) T on the images that `config.fused` names.

  Leaves in `workdir` what `train` leaves, `fused/SPLIT/NAME.png` where F made them, and
  `result.json`; and beside it `results.md`, a table of all such results in the parent folder. Goes
  on where an earlier run stopped.

  Args:
    config: with `stage="task"`, e.g. from `configs/llvip_det.py:task`.
    workdir: the run folder.

  Returns:
    What `result.json` holds: {"name", "images", "weights", "seed", "epochs", SPLIT: {score:
      value}}.

  Raises:
    ConfigError, DatasetError, CheckpointError: as in training; images missing or of another size,
      naming the file.
  """
  checks.check(config)
  workdir = Path(workdir)
  splits = ["train", "val"] + (["test"] if config.data.test_split else [])
  pairs = {split: build.source(config, split) for split in splits}
  about = {
    "name": workdir.name,
    "config": config.name,
    "images": config.fused.images,
    "seed": config.seed,
  }
  folder = Path(config.fused.folder) if config.fused.folder else workdir / "fused"
  if config.fused.images == "fusion":
    about["weights"] = _fuse_all(config, pairs, folder)
  images = {
    split: finished_images(config, source, folder, split) for split, source in pairs.items()
  }
  state = train(with_room(config), workdir, pairs=(images["train"], images["val"]))
  low = config.copy_and_resolve_references()
  if config.task.kind == "detection":
    with low.unlocked():
      low.task.options.update(_LOW)
  task = build.task(low, len(images["train"].classes))
  assert task is not None
  result = {**about, "epochs": config.train.epochs}
  for split in splits[1:]:
    log.info("judging on %s", images[split].describe())
    result[config.data[f"{split}_split"]] = judge(
      task,
      state.params,
      images[split],
      fuse=controls.two_channels if config.fused.images == "both" else controls.finished,
      task_size=tuple(config.data.task_size),
      max_boxes=config.data.max_boxes,
    )
  _replace(workdir / "result.json", json.dumps(result, indent=2) + "\n")
  write_results(workdir.absolute().parent)
  looked_at = {
    split: _main_scores(scores) for split, scores in result.items() if isinstance(scores, dict)
  }
  log.info("%s: %s", workdir.name, json.dumps(looked_at))
  if any(scores.get("AP50", 1) < 1e-3 for scores in looked_at.values()):
    log.warning(
      "T has found nothing. If its training loss fell to nearly zero, its class scores died out before it had learned "
      "small objects: --config.task.options.assigner_eps=1e-30 prevents that, pretrained weights (init.t) do too"
    )
  return result


def with_room(config: Config) -> Config:
  """The config that T is trained with: `config`, with targets that have room for all boxes of a mosaic's four images.

  Otherwise training would stop at the first crowded one.
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
  rows = []
  for file in sorted(folder.glob("*/result.json")):
    result = json.loads(file.read_text())
    for split, scores in result.items():
      if isinstance(scores, dict):
        about = [str(result.get(key, "")) for key in ("name", "config", "images", "seed", "epochs")]
        rows.append(([*about, split], _main_scores(scores)))
  names = list(dict.fromkeys(name for _, scores in rows for name in scores))
  places = {}
  for split in {about[-1] for about, _ in rows}:
    there = {str(row): scores for row, (about, scores) in enumerate(rows) if about[-1] == split}
    for name in names:
      places |= {
        (row, name): place for row, place in ranks(there, name, name != "task_loss").items()
      }
  heads = ["run", "config", "images", "seed", "epochs", "split", *names]
  lines = [" | ".join(heads), "|".join(["---"] * len(heads))]
  marks = {1: "**{}**", 2: "_{}_", 0: "{}"}
  for row, (about, scores) in enumerate(rows):
    cells = [
      marks[places.get((str(row), n), 0)].format(f"{scores[n]:.4f}") if n in scores else ""
      for n in names
    ]
    lines.append(" | ".join([*about, *cells]))
  text = "".join(f"| {line} |\n" for line in lines)
  _replace(folder / "results.md", text)
  return text


def _main_scores(scores: dict) -> dict:
  return {name: round(value, 4) for name, value in scores.items() if "/" not in name}


def finished_images(config: Config, source: Source, folder: Path, split: str) -> Source:
  """The pairs of `source` with what T shall see in place of both images; `folder` as in `run_task_stage`."""
  found: Source = FusedSource(source, config.fused.images, folder / config.data[f"{split}_split"])
  return CachedSource(found, config.data.cache_mb << 20) if config.data.cache_mb else found


def _fuse_all(config: Config, pairs: dict[str, Source], folder: Path) -> str:
  """Fuses what is not there yet; returns the sha256 of F's weights, which all images in `folder` share."""
  run, file = config.fused.run, config.init.f
  if run and file:
    raise ConfigError(f"config.fused.run={run!r} and config.init.f={file!r}: give one of them.")
  weights = (
    Path(run) / "weights" / "f.safetensors" if run else Path(file or fusers.shipped_weights())
  )
  fuse_fn, params = _load(config, run, weights)
  digest = hashlib.sha256(weights.read_bytes()).hexdigest()
  mark, made = folder / "weights.sha256", digest + (" stretched" if config.fused.stretch else "")
  if mark.is_file() and mark.read_text().strip() != made:
    raise ConfigError(
      f"{folder} holds images of other weights than {weights}, or stretched otherwise; choose another --workdir."
    )
  folder.mkdir(parents=True, exist_ok=True)
  _replace(mark, made + "\n")
  fuse = make_fuse_fn(fuse_fn, params, stretch=config.fused.stretch)
  for split, source in pairs.items():
    out = folder / config.data[f"{split}_split"]
    out.mkdir(exist_ok=True)
    todo = [i for i, name in enumerate(source.names) if not (out / f"{name}.png").is_file()]
    if todo:
      log.info("fusing %d of %d %s images into %s", len(todo), len(source), split, out)
    waiting: list = []
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
  return digest


def _load(config: Config, run: str, weights: Path) -> tuple:
  """F: a run's config names its network; for a weight file the config of the task stage does."""
  if run:
    return fusers.load_fusion(run=run)
  if config.fusion.network:
    return fusers.load_fusion(weights=weights, network=networks(config).fuser)
  return fusers.load_fusion(weights=weights)


def _write(fuse, samples: list, out: Path) -> None:
  """One batch; T looks at luminances, so gray images are what is kept."""
  ir = np.stack([s.ir[..., None] for s in samples]).astype(np.float32) / 255
  vi = (
    np.stack([s.vi if s.vi.ndim == 3 else s.vi[..., None] for s in samples]).astype(np.float32)
    / 255
  )
  fused = np.asarray(fuse(ir, vi if vi.shape[-1] == 1 else _gray(vi)))
  for sample, image in zip(samples, fused, strict=True):
    write_image(out / f"{sample.name}.png", image)


def _gray(image: np.ndarray) -> np.ndarray:
  from tdfusion_jax.data.transforms import LUMA

  return (image @ LUMA)[..., None]


def _replace(file: Path, text: str) -> None:
  with atomic_write(file) as temporary:
    temporary.write_text(text)
