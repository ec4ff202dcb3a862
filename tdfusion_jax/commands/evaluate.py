"""`tdfusion evaluate`: fusion metrics of one or several methods, side by side."""

import argparse
import difflib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tdfusion_jax import fusers
from tdfusion_jax.config import ConfigError
from tdfusion_jax.data import SOURCES, find_reader, get_source
from tdfusion_jax.data.transforms import luminance
from tdfusion_jax.evaluate import tables
from tdfusion_jax.files import is_plugin
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.images.files import (
  EXTENSIONS,
  LINEAR,
  ImageError,
  Scale,
  image_size,
  list_pairs,
  parse_scale,
  read_image,
)
from tdfusion_jax.metrics.fusion import METRICS, PAPER, PROFILES, Metric, fusion_metrics
from tdfusion_jax.metrics.own import own_metric

ABOUT = """Measures fused images against their sources: a trained run, a weight file, the weights that ship, or any
method's folder of fused images; several side by side. Values are computed on luminances (BT.601) of 8 bits."""
EXAMPLE = "tdfusion evaluate --ir test/ir --vi test/vi --run runs/first --fused rival=rival/out --out scores"
INTERRUPTED = "nothing was written"

_LINE_EVERY = 15.0  # seconds between lines of progress

Read = Callable[[], tuple[np.ndarray, np.ndarray]]
Sizes = dict[str, tuple[int, int] | None]
"""{name of a pair: (height, width), or None if only reading it will tell}."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `tdfusion evaluate`."""
  parser.add_argument("--ir", metavar="DIR", help="infrared images")
  parser.add_argument("--vi", metavar="DIR", help="visible images of the same names")
  whose = f"a data set in place of --ir and --vi: {', '.join(sorted(SOURCES))}, or your own as module:function"
  parser.add_argument("--dataset", metavar="NAME", help=whose)
  parser.add_argument("--root", metavar="DIR", help="where the data set is")
  parser.add_argument("--split", default="test", help="of the data set (default test)")
  parser.add_argument(
    "--run", action="append", default=[], metavar="[NAME=]RUN", help="run folder of a training"
  )
  parser.add_argument(
    "--weights", action="append", default=[], metavar="[NAME=]FILE", help=".safetensors file of F"
  )
  parser.add_argument(
    "--fused", action="append", default=[], metavar="[NAME=]DIR", help="any method's fused images"
  )
  parser.add_argument(
    "--stretch", action="store_true", help="stretch F's images to the full range, as published"
  )
  which = f"comma separated, or all (default {','.join(PAPER)}); your own as module:function"
  parser.add_argument("--metrics", default=",".join(PAPER), help=which)
  whose = "; ".join(f"{name}: {profile.about}" for name, profile in PROFILES.items())
  parser.add_argument(
    "--profile", default="tdfusion", metavar="NAME", help=f"where implementations disagree: {whose}"
  )
  parser.add_argument(
    "--scale",
    default="linear",
    metavar="HOW",
    help="range of infrared values, as it was for tdfusion fuse",
  )
  parser.add_argument(
    "--vi-scale", default="linear", metavar="HOW", help="the same for visible values"
  )
  parser.add_argument(
    "--resize", action="store_true", help="resize fused images of another size than their pair"
  )
  parser.add_argument(
    "--out", metavar="STEM", help="write STEM.md, .csv (per image), .json and .tex"
  )


def run(options: argparse.Namespace) -> int:
  """Measures and prints the table."""
  metrics = _metrics(options.metrics)
  names = tuple(metric.name for metric in metrics)
  if options.profile not in PROFILES:
    raise ConfigError(f"--profile: unknown {options.profile}; there are: {', '.join(PROFILES)}.")
  if options.out:
    _make_folder(Path(options.out))
  pairs, sizes = _pairs(options)
  methods = _methods(options, sizes)
  found = _measure(pairs, methods, metrics, options)
  means = {
    method: {name: _mean([row[name] for row in rows.values()]) for name in names}
    for method, rows in found.items()
  }
  lower = [metric.name for metric in metrics if not metric.higher_is_better]
  table = tables.markdown(means, lower)
  _tell_missing(found, names)
  how = f"{len(pairs)} pairs, means; profile {options.profile}: {PROFILES[options.profile].about}"
  print(f"{how}\nbest **bold**, second _slanted_\n\n{table}", end="")
  if options.out:
    _write(options, found, means, lower, table)
  return 0


def _write(
  options: argparse.Namespace, found: dict, means: dict, lower: list[str], table: str
) -> None:
  stem = Path(options.out)
  rows = [
    {"method": m, "image": i, **scores}
    for m, images in found.items()
    for i, scores in images.items()
  ]
  about = {
    "profile": options.profile,
    "profile_about": PROFILES[options.profile].about,
    "channel": "luminance, BT.601 full range",
    "value_range": [0, 255],
    "stretch": options.stretch,
    "resize": options.resize,
    "lower_is_better": lower,
    "means": means,
    "images": found,
  }
  texts = {".md": table, ".tex": tables.latex(means, lower), ".csv": tables.comma_separated(rows)}
  for suffix, text in (texts | {".json": tables.json_text(about)}).items():
    Path(f"{stem}{suffix}").write_text(text)
  print(f"\nwritten: {', '.join(f'{stem}{s}' for s in ('.md', '.tex', '.csv', '.json'))}")


def _make_folder(stem: Path) -> None:
  """Before anything is measured, so that no work is lost."""
  try:
    stem.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise ConfigError(f"--out={stem}: {stem.parent} cannot be made ({error.strerror}).") from error


def _metrics(text: str) -> list[Metric]:
  """Names in `METRICS`, upper and lower case are the same, or the user's own as module:function; each once."""
  if text.strip().lower() == "all":
    return list(METRICS.values())
  asked = [word.strip() for word in text.split(",") if word.strip()]
  if not asked:
    raise ConfigError(f"--metrics names none; there are: {', '.join(METRICS)}, or all.")
  chosen: dict[str, Metric] = {}
  for word in asked:
    metric = own_metric(word, "--metrics") if is_plugin(word) else _known_metric(word)
    if chosen.setdefault(metric.name, metric).source != metric.source:
      raise ConfigError(
        f"--metrics: two are called {metric.name}; give the function of {word} another name."
      )
  return list(chosen.values())


def _known_metric(word: str) -> Metric:
  known = {name.lower(): metric for name, metric in METRICS.items()}
  if word.lower() not in known:
    near = difflib.get_close_matches(word.lower(), known, 1)
    hint = f" Do you mean {known[near[0]].name}?" if near else ""
    raise ConfigError(f"--metrics: unknown {word}.{hint} There are: {', '.join(METRICS)}.")
  return known[word.lower()]


def _tell_missing(found: dict[str, dict[str, dict]], names: tuple[str, ...]) -> None:
  """Images that have no value are in no mean, and that is said."""
  for method, rows in found.items():
    for name in names:
      without = [image for image, scores in rows.items() if not np.isfinite(scores[name])]
      if without:
        print(
          f"note: {method}: {name} has no finite value for {_some(without)}; not in its mean",
          file=sys.stderr,
        )


def _some(names: list[str]) -> str:
  return f"{len(names)} images ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _mean(values: list[float]) -> float:
  """Of what is finite: an image too small for a metric has none."""
  finite = [v for v in values if np.isfinite(v)]
  return float(np.mean(finite)) if finite else float("nan")


def _pairs(options: argparse.Namespace) -> tuple[list[tuple[str, Read]], Sizes]:
  """[(name, function that reads both luminances, [H, W] uint8 or float32 in [0, 1])], and their sizes."""
  if options.dataset:
    if options.ir or options.vi:
      raise ConfigError("give --dataset, or --ir and --vi, not both.")
    if (options.scale, options.vi_scale) != ("linear", "linear"):
      raise ConfigError("--scale and --vi-scale are for --ir and --vi; a data set has its own.")
    find_reader(options.dataset, "--dataset")  # named so in messages
    source = get_source(options.dataset, root=options.root, split=options.split)
    read: list = [(name, lambda i=i: _of_sample(source[i])) for i, name in enumerate(source.names)]
    return read, dict.fromkeys(source.names)
  if not (options.ir and options.vi):
    raise ConfigError("give --ir and --vi, or --dataset.")
  scale, vi_scale = parse_scale(options.scale), parse_scale(options.vi_scale)
  found = list_pairs(options.ir, options.vi)
  sizes: Sizes = {}
  wrong = []
  for name, ir, vi in found:
    sizes[name], other = image_size(ir), image_size(vi)
    if sizes[name] and other and sizes[name] != other:
      wrong.append(f"{ir} is {_size(sizes[name])}, {vi} {_size(other)}")
  if wrong:
    raise ImageError(f"the images of a pair differ in size: {_few(wrong)}")
  return [
    (name, lambda ir=ir, vi=vi: (_gray(ir, scale), _gray(vi, vi_scale))) for name, ir, vi in found
  ], sizes


def _of_sample(sample) -> tuple[np.ndarray, np.ndarray]:
  return sample.ir, sample.vi if sample.vi.ndim == 2 else luminance(sample.vi)


def _size(shape: Any) -> str:
  return f"{shape[1]}x{shape[0]}"


def _few(lines: list[str]) -> str:
  return "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")


def _round(image: np.ndarray) -> np.ndarray:
  return np.round(image * 255).astype(np.uint8)


def _gray(file: Path, scale: Scale = LINEAR) -> np.ndarray:
  """Luminance, [H, W] float32 in [0, 1], of any file that `tdfusion fuse` reads."""
  image = read_image(file, scale)
  return luminance(image * 255) if image.shape[-1] == 3 else image[..., 0]


def _methods(
  options: argparse.Namespace, sizes: Sizes
) -> dict[str, Callable[[str, Any, Any], np.ndarray]]:
  """{title: (name, ir, vi) -> fused luminance}."""
  methods: dict[str, Callable] = {}

  def add(text: str, make: Callable[[str], Callable]) -> None:
    title, value = named(text)
    if title in methods:
      raise ConfigError(f"two methods are called {title!r}; name them: NAME={value}")
    methods[title] = make(value)

  for text in options.run:
    add(text, lambda value: _network(options, checkpoint_dir=value))
  for text in options.weights:
    add(text, lambda value: _network(options, weights=value))
  for text in options.fused:
    add(text, lambda value: _folder(Path(value), sizes, options.resize))
  if not methods:
    methods["shipped weights"] = _network(options)
  return methods


def _network(options: argparse.Namespace, **which) -> Callable[[str, Any, Any], np.ndarray]:
  fuse_fn, params = fusers.load_fusion(**which)
  fuse = make_fuse_fn(fuse_fn, params, stretch=options.stretch)

  def fused(name: str, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
    del name
    a, b = (_unit(image)[None, ..., None] for image in (ir, vi))
    return np.clip(np.asarray(fuse(a, b))[0, ..., 0], 0, 1)

  return fused


def _unit(image: np.ndarray) -> np.ndarray:
  return image.astype(np.float32) / 255 if image.dtype == np.uint8 else image


def _folder(folder: Path, sizes: Sizes, resize: bool) -> Callable[[str, Any, Any], np.ndarray]:
  if not folder.is_dir():
    raise ImageError(f"{folder}: no such folder of fused images.")
  there: dict[str, Path] = {}
  for file in sorted(folder.iterdir()):
    if file.suffix.lower() in EXTENSIONS and file.stem in sizes:
      if file.stem in there:
        raise ImageError(f"{there[file.stem]} and {file} have the same name.")
      there[file.stem] = file
  missing = [name for name in sizes if name not in there]
  if missing:
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    raise ImageError(f"{folder}: no fused image for {len(missing)} of {len(sizes)} pairs: {shown}")
  found = {name: image_size(file) for name, file in there.items()}
  wrong = [
    f"{there[name]} is {_size(found[name])}, its pair {_size(size)}"
    for name, size in sizes.items()
    if size and found[name] and found[name] != size
  ]
  if wrong and not resize:
    raise ImageError(f"{_few(wrong)}; --resize would resize them.")

  def fused(name: str, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
    del vi
    image = _gray(there[name])
    if image.shape == ir.shape:
      return image
    if not resize:
      raise ImageError(
        f"{there[name]} is {_size(image.shape)}, its pair {_size(ir.shape)}; --resize would resize it."
      )
    resized = Image.fromarray(_unit(image)).resize(ir.shape[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.asarray(resized), 0, 1)

  return fused


def named(text: str) -> tuple[str, str]:
  """("NAME", "PATH") of "NAME=PATH"; a path alone goes by its last part, and so does one that exists and holds a "=".

  Raises:
    ConfigError: one of both is empty.
  """
  title, equals, value = text.partition("=")
  alone = not equals or (Path(text).exists() and not Path(value).exists())
  title, value = (Path(text).absolute().name, text) if alone else (title.strip(), value)
  if not title or not value:
    raise ConfigError(f"{text!r}: write NAME=PATH, or PATH alone.")
  return title, value


def _measure(
  pairs, methods, metrics: list[Metric], options: argparse.Namespace
) -> dict[str, dict[str, dict]]:
  """{method: {image: {metric: value}}}."""
  found: dict[str, dict[str, dict]] = {method: {} for method in methods}
  # Ours by name, so that the profile chooses how they are measured.
  asked = [metric.name if METRICS.get(metric.name) is metric else metric for metric in metrics]
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    for name, read in _progress(pairs):
      ir, vi = read()
      for method, fuse in methods.items():
        caught.clear()
        scores = fusion_metrics(
          ir[None], vi[None], fuse(name, ir, vi)[None], metrics=asked, profile=options.profile
        )
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
