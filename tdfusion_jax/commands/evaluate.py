"""`tdfusion evaluate`: fusion metrics of one or several methods, side by side."""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tdfusion_jax import build, tables
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data import SOURCES, get_source
from tdfusion_jax.data.transforms import luminance
from tdfusion_jax.fusing import make_fuse_fn
from tdfusion_jax.imageio import ImageError, list_pairs
from tdfusion_jax.metrics.fusion import METRICS, PAPER, PROFILES, fusion_metrics

ABOUT = """Measures fused images against their sources: a trained run, a weight file, the weights that ship, or any
method's folder of fused images; several side by side. Values are computed on 8-bit luminances."""
EXAMPLE = "tdfusion evaluate --ir test/ir --vi test/vi --run runs/first --fused rival=rival/out --out scores"
INTERRUPTED = "nothing was written"

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_LINE_EVERY = 15.0  # seconds between lines of progress

Read = Callable[[], tuple[np.ndarray, np.ndarray]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion evaluate`."""
  parser.add_argument("--ir", metavar="DIR", help="infrared images")
  parser.add_argument("--vi", metavar="DIR", help="visible images of the same names")
  parser.add_argument("--dataset", choices=sorted(SOURCES), help="a data set in place of --ir and --vi")
  parser.add_argument("--root", metavar="DIR", help="where the data set is")
  parser.add_argument("--split", default="test", help="of the data set (default test)")
  parser.add_argument("--run", action="append", default=[], metavar="[NAME=]RUN", help="run folder of a training")
  parser.add_argument("--weights", action="append", default=[], metavar="[NAME=]FILE", help=".safetensors file of F")
  parser.add_argument("--fused", action="append", default=[], metavar="[NAME=]DIR", help="any method's fused images")
  parser.add_argument("--stretch", action="store_true", help="stretch F's images to the full range, as published")
  parser.add_argument("--metrics", default=",".join(PAPER), help=f"comma separated, or all (default {','.join(PAPER)})")
  parser.add_argument("--profile", default="tdfusion", choices=sorted(PROFILES), help="where implementations disagree")
  parser.add_argument("--resize", action="store_true", help="resize fused images of another size than their pair")
  parser.add_argument("--out", metavar="STEM", help="write STEM.md, .csv (per image), .json and .tex")


def run(options: argparse.Namespace) -> int:
  """Measures and prints the table."""
  names = tuple(METRICS) if options.metrics == "all" else tuple(options.metrics.split(","))
  unknown = [name for name in names if name not in METRICS]
  if unknown:
    raise ConfigError(f"--metrics: unknown {', '.join(unknown)}; there are: {', '.join(METRICS)}.")
  pairs = _pairs(options)
  methods = _methods(options, [name for name, _ in pairs])
  found = _measure(pairs, methods, names, options)
  means = {
    method: {name: _mean([row[name] for row in rows.values()]) for name in names} for method, rows in found.items()
  }
  lower = [name for name in names if not METRICS[name].higher_is_better]
  table = tables.markdown(means, lower)
  print(f"{len(pairs)} pairs, means; best **bold**, second _slanted_\n\n{table}", end="")
  if options.out:
    _write(options, found, means, lower, table)
  return 0


def _write(options: argparse.Namespace, found: dict, means: dict, lower: list[str], table: str) -> None:
  stem = Path(options.out)
  stem.parent.mkdir(parents=True, exist_ok=True)
  rows = [{"method": m, "image": i, **scores} for m, images in found.items() for i, scores in images.items()]
  about = {"profile": options.profile, "stretch": options.stretch, "means": means, "images": found}
  texts = {".md": table, ".tex": tables.latex(means, lower), ".csv": tables.comma_separated(rows)}
  for suffix, text in (texts | {".json": tables.json_text(about)}).items():
    Path(f"{stem}{suffix}").write_text(text)
  print(f"\nwritten: {', '.join(f'{stem}{s}' for s in ('.md', '.tex', '.csv', '.json'))}")


def _mean(values: list[float]) -> float:
  """Of what is finite: an image too small for a metric has none."""
  finite = [v for v in values if np.isfinite(v)]
  return float(np.mean(finite)) if finite else float("nan")


def _pairs(options: argparse.Namespace) -> list[tuple[str, Read]]:
  """(name, function that reads both luminances, uint8)."""
  if options.dataset:
    if options.ir or options.vi:
      raise ConfigError("give --dataset, or --ir and --vi, not both.")
    source = get_source(options.dataset, root=options.root, split=options.split)
    return [(name, lambda i=i: _of_sample(source[i])) for i, name in enumerate(source.names)]
  if not (options.ir and options.vi):
    raise ConfigError("give --ir and --vi, or --dataset.")
  return [(name, lambda ir=ir, vi=vi: _both(ir, vi)) for name, ir, vi in list_pairs(options.ir, options.vi)]


def _of_sample(sample) -> tuple[np.ndarray, np.ndarray]:
  return sample.ir, _round(luminance(sample.vi))


def _both(ir: Path, vi: Path) -> tuple[np.ndarray, np.ndarray]:
  images = _gray(ir), _gray(vi)
  if images[0].shape != images[1].shape:
    raise ImageError(f"{ir} and {vi} differ in size ({_size(images[0])} and {_size(images[1])}).")
  return images


def _size(image: np.ndarray) -> str:
  return f"{image.shape[1]}x{image.shape[0]}"


def _round(image: np.ndarray) -> np.ndarray:
  return np.round(image * 255).astype(np.uint8)


def _gray(file: Path) -> np.ndarray:
  try:
    with Image.open(file) as image:
      return np.asarray(image.convert("L"))
  except (OSError, ValueError, Image.DecompressionBombError) as error:
    raise ImageError(f"{file}: cannot be read as an image ({error}).") from error


def _methods(options: argparse.Namespace, names: list[str]) -> dict[str, Callable[[str, Any, Any], np.ndarray]]:
  """{title: (name, ir, vi) -> fused uint8}."""
  methods: dict[str, Callable] = {}

  def add(text: str, make: Callable[[str], Callable]) -> None:
    title, equals, value = text.partition("=")
    title, value = (title, value) if equals else (Path(text.rstrip("/")).name, text)
    if title in methods:
      raise ConfigError(f"two methods are called {title!r}; name them: NAME={value}")
    methods[title] = make(value)

  for text in options.run:
    add(text, lambda value: _network(options, checkpoint_dir=value))
  for text in options.weights:
    add(text, lambda value: _network(options, weights=value))
  for text in options.fused:
    add(text, lambda value: _folder(Path(value), names, options.resize))
  if not methods:
    methods["shipped weights"] = _network(options)
  return methods


def _network(options: argparse.Namespace, **which) -> Callable[[str, Any, Any], np.ndarray]:
  fuse_fn, params = build.load_fusion(**which)
  fuse = make_fuse_fn(fuse_fn, params, stretch=options.stretch)

  def fused(name: str, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
    del name
    a, b = (image.astype(np.float32)[None, ..., None] / 255 for image in (ir, vi))
    return _round(np.clip(np.asarray(fuse(a, b))[0, ..., 0], 0, 1))

  return fused


def _folder(folder: Path, names: list[str], resize: bool) -> Callable[[str, Any, Any], np.ndarray]:
  if not folder.is_dir():
    raise ImageError(f"{folder}: no such folder of fused images.")
  there = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES}
  missing = [name for name in names if name not in there]
  if missing:
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    raise ImageError(f"{folder}: no fused image for {len(missing)} of {len(names)} pairs: {shown}")

  def fused(name: str, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
    del vi
    image = _gray(there[name])
    if image.shape == ir.shape:
      return image
    if not resize:
      raise ImageError(f"{there[name]} is {_size(image)}, its pair {_size(ir)}; --resize would resize it.")
    return np.asarray(Image.fromarray(image).resize(ir.shape[::-1], Image.Resampling.BICUBIC))

  return fused


def _measure(pairs, methods, names: tuple[str, ...], options: argparse.Namespace) -> dict[str, dict[str, dict]]:
  """{method: {image: {metric: value}}}."""
  found: dict[str, dict[str, dict]] = {method: {} for method in methods}
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, read in _progress(pairs):
      ir, vi = read()
      for method, fuse in methods.items():
        caught.clear()
        scores = fusion_metrics(ir[None], vi[None], fuse(name, ir, vi)[None], metrics=names, profile=options.profile)
        found[method][name] = {metric: float(value[0]) for metric, value in scores.items()}
        for warning in caught:
          print(f"warning: {method}, {name}: {warning.message}", file=sys.stderr)
  return found


def _progress(pairs: list) -> Iterator:
  began = last = time.monotonic()
  for done, pair in enumerate(pairs, 1):
    yield pair
    now = time.monotonic()
    if now - last >= _LINE_EVERY:
      last = now
      left = (len(pairs) - done) * (now - began) / done
      print(f"measured {done}/{len(pairs)}, {left / 60:.1f} min left", file=sys.stderr)
