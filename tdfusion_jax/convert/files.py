"""Weight files in and out: the work behind `tdfusion convert`."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tdfusion_jax.convert import adopt, naming
from tdfusion_jax.convert.adopt import Changes, Ported
from tdfusion_jax.convert.naming import Origin
from tdfusion_jax.convert.pth import WeightFileError, read_pth
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.convert.recognise import recognise, strip_prefix
from tdfusion_jax.files import UsageError
from tdfusion_jax.tensorfiles import not_finite, read_safetensors, shown, write_safetensors
from tdfusion_jax.weightfiles import CheckpointError, load_weights, save_weights

# What a training run writes as `arch` of its files.
_OURS = {name: name for name in naming.STYLES} | {
  "average": "lossgen",
  "segmentation": "segformer",
  "detection": "yolov8",
}
_OPTIONS = {"head_eps", "align_corners", "gelu", "norm_eps"}  # what names and shapes do not reveal


class Loaded(NamedTuple):
  """What a weight file holds."""

  arrays: dict[str, np.ndarray]
  """In the names of the file; a file of this package is given upstream's names."""
  format: str
  metadata: dict[str, Any] | None
  """Of a file of this package, else None."""


def load(path: str | Path) -> Loaded:
  """Reads a weight file of any format that `tdfusion convert` knows.

  Nothing that the file asks for is run.

  Raises:
    CheckpointError: missing, truncated, another kind of file, or one that needs code to run.
  """
  path = Path(path)
  if path.is_dir():
    raise CheckpointError(f"{path} is a folder; name the weight file in it.")
  if not path.is_file():
    raise CheckpointError(f"weights file {path} does not exist.")
  if path.suffix != ".safetensors" and not _looks_like_safetensors(path):
    try:
      return Loaded(read_pth(path), "PyTorch", None)
    except WeightFileError as error:
      raise CheckpointError(str(error)) from error
  arrays, about = read_safetensors(path)
  if "arch" not in about:
    return Loaded(arrays, "safetensors", None)
  variables, metadata = load_weights(path)
  arch = _OURS.get(metadata["arch"])
  if arch is None:
    what = shown(repr(metadata["arch"]))
    raise CheckpointError(f"{path} holds {what}, which has no other format.")
  try:
    arrays = adopt.unport(variables, arch, "upstream", {})
    if metadata.get("part") == "backbone":
      arrays = {f"backbone.{key}": value for key, value in arrays.items()}
    metadata = {**metadata, "arch": arch, "passengers": _unpack(metadata.get("passengers", {}))}
  except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
    raise CheckpointError(
      f"{path} does not hold what its metadata states ({arch}): {error}"
    ) from error
  return Loaded(arrays, "tdfusion_jax", metadata)


def understand(
  loaded: Loaded,
  path: str | Path,
  *,
  arch: str | None,
  style: str | None,
  changes: Changes | None = None,
) -> Ported:
  """Weights in this package's form, with `changes`.

  Args:
    loaded: as from `load`.
    path: of the file, for messages.
    arch: which architecture it has to be; None recognises it.
    style: whose names it uses; None recognises them.
    changes: see `adopt.Changes`.

  Raises:
    CheckpointError: nobody's known names, or names, shapes or values that do not fit.
  """
  options: dict[str, Any] = {}
  if loaded.metadata is not None:
    arch, style = loaded.metadata["arch"], "upstream"
    kept = loaded.metadata.get("options", {})
    options = {key: kept[key] for key in _OPTIONS & set(kept)}
  try:
    ported = adopt.port(loaded.arrays, arch=arch, style=style, changes=changes, options=options)
  except ValueError as error:
    raise CheckpointError(f"{path}: {error}") from error
  if loaded.metadata is None:
    return ported
  passengers = loaded.metadata["passengers"]
  if changes and (changes.num_classes or changes.backbone_only):
    passengers = {key: value for key, value in passengers.items() if key.startswith("backbone.")}
  return ported._replace(passengers=passengers)


def convert(
  source: str | Path,
  out: str | Path,
  *,
  to: str | None = None,
  arch: str | None = None,
  style: str | None = None,
  changes: Changes | None = None,
  dtype: str = "float32",
) -> list[str]:
  """Converts the weight file `source` to `out`.

  Args:
    source: file of any known format.
    out: file to write: `.safetensors` of this package, or with `to` a PyTorch state_dict
      (`.safetensors`, or else what `torch.load` reads).
    to: whose names the state_dict gets; None writes this package's file.
    arch: which architecture it has to be; None recognises it.
    style: whose names `source` uses; None recognises it.
    changes: see `adopt.Changes`.
    dtype: of the floating-point arrays: one of `DTYPES`; "source" keeps the file's.

  Returns:
    Lines about what was done.

  Raises:
    UsageError: `out` is `source`, or has another ending than this package's files.
    CheckpointError: see `load` and `understand`; values that `dtype` cannot hold.
  """
  source, out = Path(source), Path(out)
  if out.exists() and source.exists() and out.samefile(source):
    raise UsageError(f"{out} is the file that is read; give another name.")
  if to is None and out.suffix != ".safetensors":
    raise UsageError(
      f"{out}: this package's weights are .safetensors files; --to writes PyTorch's."
    )
  loaded = load(source)
  ported = understand(loaded, source, arch=arch, style=style, changes=changes)
  variables = _cast(ported.variables, dtype)
  if to is None:
    save_weights(out, variables, _metadata(loaded, ported, source))
  else:
    _write_theirs(out, variables, ported, to)
  what = f"{source}: {loaded.format} format, {_describe(ported)}"
  return [what, *ported.notes, *_advice(ported, out, to)]


def inspect(path: str | Path) -> list[str]:
  """Lines about what a weight file holds: format, architecture, tensors, sizes, dtypes.

  Raises:
    CheckpointError: see `load`.
  """
  loaded = load(path)
  arrays = loaded.arrays
  if loaded.metadata is not None:
    flat: Any = flatten_dict(load_weights(path)[0])
    arrays = {"/".join(names): array for names, array in flat.items()}
  total = sum(array.size for array in arrays.values())
  kinds = sorted({str(array.dtype) for array in arrays.values()})
  lines = [
    f"{path}: {Path(path).stat().st_size} bytes, {loaded.format} format",
    f"{len(arrays)} tensors, {total} values, {', '.join(kinds)}",
  ]
  try:
    lines.append("holds " + _describe(understand(loaded, path, arch=None, style=None)))
  except CheckpointError as error:
    lines.append(f"cannot be converted as it is: {_guess(loaded)}{error}")
  lines += [f"not finite: {name}" for name in not_finite(arrays)]
  for key, value in (loaded.metadata or {}).items():
    if key != "passengers":
      lines.append(f"metadata {key}: {json.dumps(value)}")
  return lines + [
    f"  {name}  {tuple(array.shape)}  {array.dtype}" for name, array in arrays.items()
  ]


def _guess(loaded: Loaded) -> str:
  try:
    origin = recognise(strip_prefix(loaded.arrays))
  except ValueError:
    return ""
  return f"it looks like {origin.arch} ({origin.style}), but "


def _looks_like_safetensors(path: Path) -> bool:
  with path.open("rb") as file:
    start = file.read(9)
  head = int.from_bytes(start[:8], "little")  # the format: the size of its JSON, then the JSON
  return len(start) == 9 and start[8:] == b"{" and head < path.stat().st_size


def _cast(variables: dict, dtype: str) -> dict:
  if dtype == "source":
    return variables
  flat = flatten_dict(variables, sep=".")
  with np.errstate(over="ignore"):  # reported below, by name
    cast = {name: np.asarray(value).astype(dtype) for name, value in flat.items()}
  if bad := not_finite(cast):
    raise CheckpointError(f"{dtype} cannot hold the values of: {', '.join(bad)}")
  return unflatten_dict(cast, sep=".")


def _metadata(loaded: Loaded, ported: Ported, path: Path) -> dict[str, Any]:
  before = loaded.metadata or {}
  origin = ported.origin
  licence = naming.LICENCES.get((origin.arch, origin.style), naming.NO_LICENCE)
  return {
    "arch": origin.arch,
    "part": "backbone" if _is_backbone(ported) else "whole",
    "options": ported.options,
    "source_format": before.get("source_format", f"{loaded.format}, {origin.style} names"),
    "source_file": before.get("source_file", path.name),
    "source_sha256": before.get("source_sha256") or hashlib.sha256(path.read_bytes()).hexdigest(),
    "licence": before.get("licence", licence),
    "changes": [*before.get("changes", []), *ported.notes],
    "passengers": _pack(ported.passengers),
  }


def _pack(arrays: Mapping[str, np.ndarray]) -> dict[str, list]:
  packed = {}
  for key, array in arrays.items():
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    packed[key] = [str(array.dtype), list(array.shape), data]
  return packed


def _unpack(packed: Mapping[str, list]) -> dict[str, np.ndarray]:
  return {
    key: np.frombuffer(base64.b64decode(data), np.dtype(dtype)).reshape(shape)
    for key, (dtype, shape, data) in packed.items()
  }


def _write_theirs(out: Path, variables: dict, ported: Ported, to: str) -> None:
  try:
    state_dict = adopt.unport(variables, ported.origin.arch, to, ported.passengers)
    if out.suffix == ".safetensors":
      write_safetensors(out, state_dict, {"format": "pt"})
    else:
      write_pth(out, state_dict)
  except CheckpointError:
    raise
  except ValueError as error:
    raise CheckpointError(f"{out}: {error}") from error


def _is_backbone(ported: Ported) -> bool:
  return ported.origin.arch in adopt.TASK_NETWORKS and "num_classes" not in ported.options


def _describe(ported: Ported) -> str:
  origin: Origin = ported.origin
  part = ", backbone only" if _is_backbone(ported) else ""
  options = ", ".join(f"{key}={value}" for key, value in ported.options.items())
  return f"{origin.arch} ({origin.style} names{part})" + (f": {options}" if options else "")


def _advice(ported: Ported, out: Path, to: str | None) -> list[str]:
  if to is not None:
    return [f"written to {out}, {to} names"]
  return [f"written to {out}", _use(ported, out)]


def _use(ported: Ported, out: Path) -> str:
  arch, options = ported.origin.arch, ported.options
  if arch == "fusion":
    return f"use it: tdfusion fuse --weights {out} ..., or train from it with --config.init.f={out}"
  if arch == "lossgen":
    return f"use it: --config.init.g={out}"
  if _is_backbone(ported):
    return "this is a backbone alone: to start a task network from it, convert with --num-classes"
  words = [f"--config.init.t={out}", f"--config.task.variant={options['variant']}"]
  for key, value in options.items():
    if key in _OPTIONS:
      words.append(f"--config.task.options.{key}={value}")
  return f"use it: {' '.join(words)}  (for data of {options['num_classes']} classes)"
