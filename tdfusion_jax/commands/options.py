"""Options that several verbs share. What is slow to load is loaded where it is used."""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tdfusion_jax.files import UsageError, cache_folder, reason

WEIGHTS = (
  ".safetensors file of F, a name (starter, fast, refusion; see tdfusion models), or "
  "hf:OWNER/NAME[@REVISION], a repository of the Hugging Face Hub"
)


def add_network(parser: argparse.ArgumentParser) -> None:
  """`--run` or `--weights`, and `--network`: which F is used."""
  from tdfusion_jax import fusers

  which = parser.add_mutually_exclusive_group(required=not fusers.shipped_weights().is_file())
  which.add_argument(
    "--run", "--checkpoint", metavar="RUN", help="run folder of a training (or --checkpoint)"
  )
  which.add_argument("--weights", metavar="FILE", help=WEIGHTS)
  parser.add_argument(
    "--network",
    default="",
    metavar="MODULE:FACTORY",
    help="for --weights of a network of your own: what makes it, a function that returns a "
    "fusers.Fuser (a run folder names its own)",
  )


def load_network(options: argparse.Namespace) -> tuple[Callable, Any]:
  """(fuser, params) that the options of `add_network` name.

  Raises:
    CheckpointError, UsageError: see `fusers.load_fusion`.
  """
  from tdfusion_jax import fusers

  return fusers.load_fusion(run=options.run, weights=options.weights, network=options.network)


_CHANNEL = "take channel N of the {} files, counted from 1, of files with several"


def add_scale(parser: argparse.ArgumentParser) -> None:
  """`--scale`, `--ir-channel`, `--nodata`: what infrared files hold."""
  add = parser.add_argument
  add(
    "--scale",
    default="linear",
    metavar="HOW",
    help="range of infrared values: linear (of the file's type, the default), percentile (1 to "
    "99), percentile:LOW:HIGH, LOW:HIGH in the file's units, such as 29000:31500, or "
    "celsius:LOW:HIGH of radiometric files",
  )
  add("--ir-channel", default="", metavar="N", help=_CHANNEL.format("infrared"))
  add(
    "--nodata",
    default="",
    metavar="HOW",
    help="of both images: fill (NaN, and the value that a file declares as no data, become the "
    "lowest other value), or a number to be filled likewise; by default such files are refused",
  )


def add_vi_scale(parser: argparse.ArgumentParser) -> None:
  """`--vi-scale` and `--vi-channels`: what visible files hold."""
  add = parser.add_argument
  add("--vi-scale", default="linear", metavar="HOW", help="the same for visible values")
  which = "the same for the visible files, of one or three channels: 1,2,3"
  add("--vi-channels", default="", metavar="N,N,N", help=which)


def scales(options: argparse.Namespace) -> tuple[Any, Any]:
  """Two `images.scaling.Scale`, of infrared and of visible files.

  As `add_scale` and `add_vi_scale` have them.

  Raises:
    UsageError: one says nothing that is known.
  """
  from tdfusion_jax.images.scaling import parse_scale

  ir = parse_scale(options.scale, options.ir_channel, options.nodata)
  vi = getattr(options, "vi_scale", "linear")
  return ir, parse_scale(vi, getattr(options, "vi_channels", ""), options.nodata)


def add_computing(parser: argparse.ArgumentParser) -> None:
  """`--dtype` and `--cache`."""
  add_dtype(parser)
  add_cache(parser)


def add_dtype(parser: argparse.ArgumentParser) -> None:
  """`--dtype`."""
  parser.add_argument(
    "--dtype", choices=("float32", "bfloat16"), default="float32", help="what F computes in"
  )


def add_cache(parser: argparse.ArgumentParser) -> None:
  """`--cache`."""
  parser.add_argument(
    "--cache",
    metavar="DIR",
    help="keeps compiled programs (default: tdfusion_jax in $XDG_CACHE_HOME or ~/.cache); '' keeps "
    "none",
  )


def dtype(options: argparse.Namespace) -> Any:
  """That `make_fuse_fn` accepts; None is the images' own."""
  import ml_dtypes

  return ml_dtypes.bfloat16 if options.dtype == "bfloat16" else None


def use_cache(options: argparse.Namespace) -> None:
  """Starts the cache of compiled programs; without a home folder there is none, with a warning."""
  from tdfusion_jax.ops import compiling

  folder = options.cache
  if folder is None:
    try:
      folder = str(cache_folder())
    except RuntimeError as error:
      print(f"warning: no compiled programs are kept: {error} See --cache.", file=sys.stderr)
      folder = ""
  compiling.use_cache(folder)


def named(text: str) -> tuple[str, str]:
  """("NAME", "PATH") of "NAME=PATH".

  A path alone goes by its last part; so does a path that exists and holds a "=".

  Raises:
    UsageError: one of both is empty.
  """
  name, equals, value = text.partition("=")
  alone = not equals or (Path(text).exists() and not Path(value).exists())
  name, value = (Path(text).absolute().name, text) if alone else (name.strip(), value)
  if not name or not value:
    raise UsageError(f"{text!r}: write NAME=PATH, or PATH alone.")
  return name, value


def all_named(texts: Iterable[str]) -> dict[str, str]:
  """{name: path} of several; see `named`.

  Raises:
    UsageError: two have one name.
  """
  paths: dict[str, str] = {}
  for text in texts:
    name, path = named(text)
    if name in paths:
      raise UsageError(f"two are called {name}; name them: NAME={path}")
    paths[name] = path
  return paths


def make_parent(path: str | Path, field: str) -> None:
  """Makes the folder that `path` goes into, before long work of which the result would be lost.

  Raises:
    UsageError: it cannot be made.
  """
  folder = Path(path).parent
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UsageError(f"{field}={path}: {folder} cannot be made: {reason(error)}") from error
