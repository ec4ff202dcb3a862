"""One page about one or several runs, to be opened in a browser: curves, tables, and pictures to compare."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.errors import ScopeParamShapeError
from ml_collections import ConfigDict
from PIL import Image

from tdfusion_jax import weightfiles
from tdfusion_jax.config import Config, ConfigError, base
from tdfusion_jax.data import val_batches
from tdfusion_jax.data.source import Source
from tdfusion_jax.evaluate.stage import finished_images
from tdfusion_jax.files import atomic_write
from tdfusion_jax.images import pictures
from tdfusion_jax.images.files import EXTENSIONS, ImageError, read_image, to_bytes
from tdfusion_jax.meta.state import Params
from tdfusion_jax.report.page import Gallery, Run, page_html
from tdfusion_jax.train import build, runfolder
from tdfusion_jax.train.checks import labels_needed
from tdfusion_jax.train.validate import inspect_pairs, pictures_of


def write_report(
  runs: Mapping[str, str | Path],
  out: str | Path,
  *,
  fused: Mapping[str, str | Path] = {},  # noqa: B006
  pairs: int = 6,
  root: str | None = None,
  told: Callable[[str], None] = lambda line: None,
) -> None:
  """Writes one self-contained HTML file that needs no network.

  Args:
    runs: {name: run folder}, of the training or of the task stage. The first one's validation pairs
      are shown.
    out: the file.
    fused: {name: folder of fused images} of other methods, named like the pairs.
    pairs: pairs to show; 0 for none.
    root: the data, if it is not where the first run found it.
    told: called with what is being done.

  Raises:
    ConfigError, CheckpointError, DatasetError, ImageError: a run or its data cannot be read.
  """
  out = Path(out)
  if out.is_dir():
    raise ConfigError(f"{out} is a folder; name the file to write.")
  opened = [open_run(name, Path(path)) for name, path in runs.items()]
  galleries = (
    _galleries(opened, {name: Path(path) for name, path in fused.items()}, pairs, root, told)
    if pairs
    else []
  )
  told("drawing curves")
  page = page_html(opened, galleries)
  try:
    with atomic_write(out) as temporary:
      temporary.write_text(page, encoding="utf-8")
  except OSError as error:
    raise ConfigError(f"{out} cannot be written: {error.strerror}.") from error


def open_run(name: str, path: Path) -> Run:
  """A run folder's config, metric lines and result; ConfigError if it is none. `name` is what it is called."""
  try:
    said = _with_tuples(json.loads((path / "config.json").read_text()))
  except FileNotFoundError:
    raise ConfigError(f"{path} is not a run folder: it holds no config.json.") from None
  except (OSError, ValueError) as error:
    raise ConfigError(
      f"{path} is not a run folder: config.json cannot be read ({error})."
    ) from error
  if not isinstance(said, dict) or not all(
    isinstance(said.get(part), dict) for part in ("data", "task", "loss")
  ):
    raise ConfigError(f"{path} is not a run folder: its config.json is another program's.")
  config = ConfigDict(_over(base().to_dict(), said))
  result_file = path / "result.json"
  try:
    result = json.loads(result_file.read_text()) if result_file.is_file() else {}
  except (OSError, ValueError) as error:
    raise ConfigError(f"{result_file} cannot be read: {error}.") from error
  return Run(name, path, config, runfolder.read_metrics(path / "metrics.jsonl"), result)


def _over(defaults: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
  """`said`, and the defaults of fields that an older version did not have."""
  both = {
    k: _over(v, said[k])
    for k, v in defaults.items()
    if isinstance(v, dict) and isinstance(said.get(k), dict)
  }
  return {**defaults, **said, **both}


def _with_tuples(value: Any) -> Any:
  """What JSON made lists of."""
  if isinstance(value, dict):
    return {key: _with_tuples(item) for key, item in value.items()}
  return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _galleries(
  runs: list[Run], fused: dict[str, Path], count: int, root: str | None, told: Callable[[str], None]
) -> list[Gallery]:
  first = runs[0].config
  if root is not None:
    first.data.root = root
  source = build.source(first, "val")
  count = min(count, len(source))
  galleries = [Gallery(source.names[i], {}) for i in range(count)]
  for run in runs:
    kind = labels_needed(run.config.task.kind)
    if kind not in (None, source.kind):
      raise ConfigError(
        f"{run.path} is about {kind}, the pairs of {runs[0].path} are not; --pairs=0 leaves the pictures out."
      )
  files = {
    name: _files(name, folder, [gallery.name for gallery in galleries])
    for name, folder in fused.items()
  }
  sizes = {"task_size": tuple(first.data.task_size), "max_boxes": first.data.max_boxes}
  for gallery, pair in zip(
    galleries, val_batches(source, batch_size=1, limit=count, **sizes), strict=True
  ):
    gallery.layers["infrared"] = pictures.gray(np.asarray(pair.ir)[0, ..., 0])
    gallery.layers["visible"] = pictures.gray(np.asarray(pair.vi)[0, ..., 0])
  for run in runs:
    told(f"looking at {count} pairs with {run.name}")
    try:
      every = _layers(run, source, first, count)
    except ScopeParamShapeError as error:
      raise ConfigError(
        f"{run.path} was trained for other classes than {runs[0].path}'s pairs have."
      ) from error
    for gallery, layers in zip(galleries, every, strict=True):
      for title, image in layers.items():
        gallery.layers.setdefault(title if title == "true" else f"{run.name}: {title}", image)
  for name, found in files.items():
    for gallery, file in zip(galleries, found, strict=True):
      height, width = next(iter(gallery.layers.values())).shape[:2]
      pixels = to_bytes(read_image(file))
      image = Image.fromarray(np.repeat(pixels, 3 // pixels.shape[-1], axis=-1))
      gallery.layers[f"{name}: fused"] = np.asarray(
        image.resize((width, height), Image.Resampling.BILINEAR)
      )
  return galleries


def _files(name: str, folder: Path, pairs: list[str]) -> list[Path]:
  """The fused images of `pairs`, looked for before anything slow begins."""
  if not folder.is_dir():
    raise ImageError(f"{name}: {folder} is no folder of fused images.")
  there = {
    file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in EXTENSIONS
  }
  missing = [pair for pair in pairs if pair not in there]
  if missing:
    raise ImageError(
      f"{name}: {folder} holds no image of {', '.join(missing)}; --pairs shows fewer."
    )
  return [there[pair] for pair in pairs]


def _layers(run: Run, source: Source, first: Config, count: int) -> list[dict[str, np.ndarray]]:
  """What one run makes of the first `count` pairs of `source`."""
  config = run.config
  task = build.task(config, len(source.classes)) if config.task.kind != "none" else None
  t_params, t_stats = {}, {}
  if task is not None:
    loaded = _weights(run, "t")
    t_params, t_stats = loaded["params"], loaded.get("batch_stats", {})
  method = build.method(config, task)
  if config.stage == "task":
    folder = Path(config.fused.folder) if config.fused.folder else run.path / "fused"
    source = finished_images(config, source, folder, "val")
    f_params: Any = {}
  else:
    f_params = _weights(run, "f")["params"]
  g_params = (
    _weights(run, "g")["params"]
    if config.stage == "fusion" and config.loss.weights == "learned"
    else {}
  )
  params = Params(f_params, g_params, t_params, t_stats)
  sizes = {"task_size": tuple(first.data.task_size), "max_boxes": first.data.max_boxes}
  found = []
  for pair, seen in inspect_pairs(method, params, source, limit=count, **sizes):
    layers = pictures_of(pair, seen)  # whose "infrared" is, in the task stage, what T was given
    found.append(
      {title: image for title, image in layers.items() if title not in ("infrared", "visible")}
    )
  return found


def _weights(run: Run, letter: str) -> dict[str, Any]:
  file = run.path / "weights" / f"{letter}.safetensors"
  if not file.is_file():
    raise weightfiles.CheckpointError(f"{run.path} is not finished: it holds no {file.name}.")
  loaded, _ = weightfiles.load_weights(file)
  return loaded
