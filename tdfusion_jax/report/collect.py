"""A page about runs: their settings, scores and curves, and what each makes of some pairs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from tdfusion_jax import weightfiles
from tdfusion_jax.config import Config, ConfigError, base
from tdfusion_jax.config.typed import require_types
from tdfusion_jax.data import val_batches
from tdfusion_jax.evaluate.results import read_result
from tdfusion_jax.evaluate.stage import finished_images
from tdfusion_jax.files import UsageError, read_json, reason, write_text
from tdfusion_jax.images import pictures
from tdfusion_jax.images.listing import list_files
from tdfusion_jax.images.reading import ImageError, read_image
from tdfusion_jax.images.writing import to_bytes
from tdfusion_jax.meta import Method, Params
from tdfusion_jax.report.page import Gallery, Run, page_html
from tdfusion_jax.train import build, checks, initial, runfolder
from tdfusion_jax.train.checks import labels_needed
from tdfusion_jax.train.validate import inspect_pairs, pictures_of


def write_report(
  runs: Mapping[str, str | Path],
  out: str | Path,
  *,
  fused: Mapping[str, str | Path] | None = None,
  pairs: int = 6,
  root: str | None = None,
  log: Callable[[str], None] = lambda line: None,
) -> None:
  """Writes one self-contained HTML file that needs no network.

  Args:
    runs: {name: run folder}, of the training or of the task stage. The first one's validation pairs
      are shown.
    out: the file.
    fused: {name: folder of fused images} of other methods, named like the pairs; None for none.
    pairs: pairs to show; 0 for none.
    root: the data, if it is not where the first run found it.
    log: called with what is being done.

  Raises:
    UsageError: a run or its data cannot be read, or do not fit each other.
  """
  out = Path(out)
  if out.is_dir():
    raise UsageError(f"{out} is a folder; name the file to write.")
  opened = [open_run(name, Path(path)) for name, path in runs.items()]
  galleries = []
  if pairs:
    folders = {name: Path(path) for name, path in (fused or {}).items()}
    galleries = _galleries(opened, folders, _Pairs(opened[0], pairs, root), log)
  log("drawing curves")
  page = page_html(opened, galleries)
  try:
    write_text(out, page)
  except OSError as error:
    raise UsageError(f"{out} cannot be written: {reason(error)}") from error


def open_run(name: str, path: Path) -> Run:
  """A run folder's config, metric lines and result.

  Args:
    name: what the page calls it.
    path: the folder.

  Raises:
    UsageError: it is no run folder, or cannot be read.
  """
  config = _config_of(path)
  file = path / "result.json"
  result = read_result(file) if file.is_file() else {}
  return Run(name, path, config, runfolder.read_metrics(path / "metrics.jsonl"), result)


def _config_of(path: Path) -> Config:
  refusal = f"{path} is not a run folder:"
  file = path / "config.json"
  if not file.is_file():
    raise UsageError(f"{refusal} it holds no config.json.")
  try:
    saved = read_json(file)
  except UsageError as error:
    raise UsageError(
      f"{refusal} its config.json is another program's, or damaged: {error}"
    ) from None
  if not all(isinstance(saved.get(part), dict) for part in ("data", "task", "loss")):
    raise UsageError(f"{refusal} its config.json is another program's.")
  try:
    config: Config = ConfigDict(_over(base().to_dict(), _with_tuples(saved)))
    require_types(config, f"{file}: ", only_known=False)
  except ConfigError:
    raise
  # A name that no field can have, or parts in parts without end.
  except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
    raise UsageError(f"{file} cannot be read: {error}.") from error
  # Of a page about runs of others nothing may be written but the page.
  config.data.cache_dir = ""
  return config


def _over(defaults: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
  """`saved`, and the defaults of fields that an older version did not have."""
  merged = {**defaults, **saved}
  for name, value in defaults.items():
    if isinstance(value, dict) and isinstance(saved.get(name), dict):
      merged[name] = _over(value, saved[name])
  return merged


def _with_tuples(value: Any) -> Any:
  """What JSON made lists of."""
  if isinstance(value, dict):
    return {key: _with_tuples(item) for key, item in value.items()}
  return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


class _Pairs:
  """The pairs that are shown: the first of the first run's validation."""

  def __init__(self, run: Run, count: int, root: str | None):
    config = run.config
    if root is not None:
      config.data.root = root
    _check(run)
    self.origin = run.path
    try:
      self.source = build.source(config, "val")
    except UsageError as error:
      raise ConfigError(f"{run.path}: {error}") from error
    self.count = min(count, len(self.source))
    self.names = list(self.source.names[: self.count])
    self.sizes: dict[str, Any] = {
      "task_size": tuple(config.data.task_size),
      "max_boxes": config.data.max_boxes,
      "view": config.data.view,
    }


def _galleries(
  runs: list[Run], fused: dict[str, Path], pairs: _Pairs, log: Callable[[str], None]
) -> list[Gallery]:
  # What can be wrong is found before anything slow begins.
  for run in runs:
    _check_kind(run, pairs)
    _check(run)
  files = {name: _files(name, folder, pairs.names) for name, folder in fused.items()}
  galleries = [
    Gallery(name, layers) for name, layers in zip(pairs.names, _sources(pairs), strict=True)
  ]
  for run in runs:
    log(f"drawing {pairs.count} pairs with {run.name}")
    for gallery, layers in zip(galleries, _layers(run, pairs), strict=True):
      for title, image in layers.items():
        # What is true is the same for all runs.
        gallery.layers.setdefault(title if title == "true" else f"{run.name}: {title}", image)
  for name, images in files.items():
    for gallery, file in zip(galleries, images, strict=True):
      size = next(iter(gallery.layers.values())).shape[:2]
      gallery.layers[f"{name}: fused"] = _picture(file, size)
  return galleries


def _check(run: Run) -> None:
  """Raises ConfigError, naming the run, if its config could not have been trained."""
  try:
    checks.check(run.config)
  except ConfigError as error:
    raise ConfigError(f"{run.path}: {error}") from error


def _check_kind(run: Run, pairs: _Pairs) -> None:
  """Raises ConfigError if the pairs' labels are not what `run` needs."""
  kind = labels_needed(run.config.task.kind)
  if kind not in (None, pairs.source.kind):
    raise ConfigError(
      f"{run.path} is about {kind}, the pairs of {pairs.origin} are not; "
      "--pairs=0 leaves the pictures out."
    )


def _sources(pairs: _Pairs) -> list[dict[str, np.ndarray]]:
  """Both images of each pair, as every run sees them."""
  batches = val_batches(pairs.source, batch_size=1, limit=pairs.count, **pairs.sizes)
  return [
    {
      "infrared": pictures.gray(np.asarray(pair.ir)[0, ..., 0]),
      "visible": pictures.gray(np.asarray(pair.vi)[0, ..., 0]),
    }
    for pair in batches
  ]


def _picture(file: Path, size: tuple[int, int]) -> np.ndarray:
  """[H, W, 3] uint8 of `size`."""
  pixels = to_bytes(read_image(file))
  rgb = Image.fromarray(np.repeat(pixels, 3 // pixels.shape[-1], axis=-1))
  height, width = size
  return np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))


def _files(name: str, folder: Path, pairs: list[str]) -> list[Path]:
  """The fused images of `pairs` in `folder`."""
  if not folder.is_dir():
    raise ImageError(f"{name}: {folder} is no folder of fused images.")
  there = list_files(folder).files
  missing = [pair for pair in pairs if pair not in there]
  if missing:
    raise ImageError(
      f"{name}: {folder} holds no image of {', '.join(missing)}; --pairs shows fewer."
    )
  return [there[pair] for pair in pairs]


def _layers(run: Run, pairs: _Pairs) -> list[dict[str, np.ndarray]]:
  """What one run makes of each pair: {title: [H, W, 3] uint8}."""
  config, source = run.config, pairs.source
  method = method_of(run, len(source.classes))
  if config.stage == "task":
    folder = Path(config.fused.folder) if config.fused.folder else run.path / "fused"
    source = finished_images(config, source, folder, "val")
  params = _params(run, initial.shapes(config, method, pairs.sizes["task_size"]))
  layers = []
  for pair, seen in inspect_pairs(method, params, source, limit=pairs.count, **pairs.sizes):
    row = pictures_of(pair, seen)
    for title in ("infrared", "visible"):  # in the task stage, what T was given in their place
      del row[title]
    layers.append(row)
  return layers


def method_of(run: Run, num_classes: int) -> Method:
  """F, G and T as functions; ConfigError, naming the run, if its config makes none."""
  try:
    return build.method(run.config, build.task(run.config, num_classes))
  except UsageError as error:
    raise ConfigError(f"{run.path}: {error}") from error


def _params(run: Run, shapes: Params) -> Params:
  """The networks that the run has trained, in the given shapes."""
  of_f = _weights(run, "f", {"params": shapes.f})["params"] if shapes.f else {}
  of_g = _weights(run, "g", {"params": shapes.g})["params"] if shapes.g else {}
  of_t: dict[str, Any] = {"params": {}}
  if shapes.t:
    stats = {"batch_stats": shapes.t_stats} if shapes.t_stats else {}
    of_t = _weights(run, "t", {"params": shapes.t, **stats})
  return Params(of_f, of_g, of_t["params"], of_t.get("batch_stats", {}))


def _weights(run: Run, letter: str, like: dict[str, Any]) -> dict[str, Any]:
  file = run.path / "weights" / f"{letter}.safetensors"
  if not file.is_file():
    raise weightfiles.CheckpointError(f"{run.path} is not finished: it holds no {file.name}.")
  loaded, _ = weightfiles.load_weights(file)
  try:
    return weightfiles.match(loaded, like, str(file))
  except weightfiles.CheckpointError as error:
    if letter != "t" or " shape: " not in str(error):
      raise
    # The pairs are those of the first run.
    hint = "\n(was it trained for other classes than the first run's pairs have?)"
    raise weightfiles.CheckpointError(f"{error}{hint}") from error
