"""Weight files in and out: the work behind `tdfusion convert`."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tdfusion_jax.convert import adopt, choose, naming
from tdfusion_jax.convert.adopt import Changes, Ported
from tdfusion_jax.convert.naming import Origin
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.convert.reading import Loaded, load
from tdfusion_jax.convert.recognise import recognise
from tdfusion_jax.files import UsageError
from tdfusion_jax.tensorfiles import not_finite, shown, write_safetensors
from tdfusion_jax.weightfiles import CheckpointError, load_weights, save_weights

_OPTIONS = {
  "head_eps",
  "align_corners",
  "gelu",
  "norm_eps",
  "embed_eps",
  "head",
  "class_width",
}  # of the network, to be given again where training starts from the weights


class Part(NamedTuple):
  """One set of tensors of a file that holds several."""

  file: str | Path
  key: str
  """Where it is in the file, such as "ema"."""


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
    names = loaded.metadata.get("classes", [])
    if names and all(isinstance(name, str) for name in names):
      changes = (changes or Changes())._replace(class_names=tuple(names))
  try:
    ported = adopt.port(loaded.arrays, arch=arch, style=style, changes=changes, options=options)
  except ValueError as error:
    raise CheckpointError(f"{path}: {error}") from error
  if loaded.metadata is None:
    return ported
  passengers = loaded.metadata["passengers"]
  if changes and (changes.num_classes or changes.keep_classes or changes.backbone_only):
    passengers = {key: value for key, value in passengers.items() if key.startswith("backbone.")}
  return ported._replace(passengers=passengers)


def convert(
  source: str | Path | Part,
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
    source: file of any known format; a `Part` names one set of tensors among several.
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
  source, key = source if isinstance(source, Part) else (source, "")
  source, out = Path(source), Path(out)
  if out.exists() and source.exists() and out.samefile(source):
    raise UsageError(f"{out} is the file that is read; give another name.")
  if to is None and out.suffix.lower() != ".safetensors":
    raise UsageError(
      f"{out}: this package's weights are .safetensors files; --to writes PyTorch's."
    )
  loaded = load(source, key, arch, style)
  ported = understand(loaded, source, arch=arch, style=style, changes=changes)
  variables = _cast(ported.variables, dtype)
  if to is None:
    save_weights(out, variables, _metadata(loaded, ported, source))
  else:
    _write_theirs(out, variables, ported, to)
  what = f"{source}: {loaded.format} format, {_describe(ported)}"
  return [what, *_aside(loaded), *ported.notes, *_advice(ported, out, to)]


def _aside(loaded: Loaded) -> list[str]:
  """Lines about where in the file the weights are, and what else is there."""
  lines = [f"read from: {shown(loaded.key)}"] if loaded.key else []
  return lines + ([f"left out: {choose.summary(loaded.left_out)}"] if loaded.left_out else [])


def inspect(path: str | Path, key: str = "") -> list[str]:
  """Lines about what a weight file holds: format, architecture, tensors, sizes, dtypes.

  Args:
    path: the file.
    key: which set of tensors, of a file that holds several.

  Raises:
    CheckpointError: see `load`.
  """
  loaded = load(path, key)
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
  lines += _aside(loaded)
  lines += [f"not finite: {shown(name)}" for name in not_finite(arrays)]
  for key, value in (loaded.metadata or {}).items():
    if key != "passengers":
      lines.append(f"metadata {shown(key)}: {json.dumps(value)}")
  return lines + [
    f"  {shown(name)}  {tuple(array.shape)}  {array.dtype}" for name, array in arrays.items()
  ]


def _guess(loaded: Loaded) -> str:
  try:
    origin = recognise(loaded.arrays)
  except ValueError:
    return ""
  return f"it looks like {origin.arch} ({origin.style}), but "


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
    **({"classes": list(ported.classes)} if ported.classes else {}),
  }


def _pack(arrays: Mapping[str, np.ndarray]) -> dict[str, list]:
  packed = {}
  for key, array in arrays.items():
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    packed[key] = [str(array.dtype), list(array.shape), data]
  return packed


def _write_theirs(out: Path, variables: dict, ported: Ported, to: str) -> None:
  if to == "upstream" and ported.options.get("head") == "convs" and not _is_backbone(ported):
    raise CheckpointError(
      f"{out}: its head is OpenMMLab's, which upstream's SegFormer does not have; --backbone-only "
      "converts the backbone."
    )
  try:
    state_dict = adopt.unport(variables, ported.origin.arch, to, ported.passengers)
    if out.suffix.lower() == ".safetensors":
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
  named = f": {', '.join(map(shown, ported.classes))}" if ported.classes else ""
  return f"use it: {' '.join(words)}  (for data of {options['num_classes']} classes{named})"
