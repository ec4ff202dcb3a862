"""From anybody's state_dict to Linen variables, with the changes a user asks for, and back."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tdfusion_jax.batch import LUMA
from tdfusion_jax.convert import (
  choose,
  classes,
  naming,
  restormer,
  rules,
  search,
  segformer,
  yolov8,
)
from tdfusion_jax.convert.recognise import recognise
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet
from tdfusion_jax.tensorfiles import not_finite, shown

TASK_NETWORKS: dict[str, Any] = {"segformer": segformer, "yolov8": yolov8}
FUSION_NETWORKS: dict[str, type[nn.Module]] = {"fusion": FusionNet, "lossgen": LossNet}

_STEMS = {
  "segformer": ("params", "backbone", "patch_embed1", "proj"),
  "yolov8": ("params", "backbone", "stem"),
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Ported(NamedTuple):
  """Weights in this package's form, and what is known about them."""

  variables: dict
  origin: naming.Origin
  options: dict[str, Any]
  """Keyword arguments of the network: variant, in_channels, num_classes, and what the code that the
  weights come from fixes."""
  passengers: dict[str, np.ndarray]
  """Arrays without a meaning here (batch counters, mmseg's unused layer), for the way back; in
  upstream's names."""
  notes: list[str]
  """What was left out or made anew, a line each."""
  classes: tuple[str, ...] = ()
  """What the rows of the classifier are called, where that is known."""


class Changes(NamedTuple):
  """What to change on the way; None or False leaves it."""

  in_channels: int | None = None
  num_classes: int | None = None
  backbone_only: bool = False
  fold_imagenet: bool = False
  keep_classes: tuple[str, ...] = ()
  """Names or numbers of the rows of the classifier that stay, see `classes.kept`."""
  class_names: tuple[str, ...] = ()
  """What the rows are called before, where that is known."""


def port(
  arrays: Mapping[str, np.ndarray],
  *,
  arch: str | None = None,
  style: str | None = None,
  changes: Changes | None = None,
  options: Mapping[str, Any] | None = None,
) -> Ported:
  """Recognises a state_dict and turns it into variables of NumPy arrays of its own dtypes.

  Args:
    arrays: {key: array} in anybody's names; what wrappers put before them is dropped.
    arch: which architecture it has to be; None recognises it.
    style: whose names they are; None recognises it.
    changes: see `Changes`.
    options: of the network, over what names, shapes and origin reveal.

  Raises:
    ValueError: unknown or ambiguous names, keys missing or left over, wrong shapes, values that are
      not finite.
  """
  given = {key: np.asarray(value) for key, value in arrays.items()}
  sets = search.find(given, arch, style)
  found = choose.choose(sets, "this state_dict") if sets else search.Found("", given, ())
  arrays = found.tensors
  origin = recognise(arrays, arch=arch, style=style)
  left_out = [f"left out: {choose.summary(found.left_out)}"] if found.left_out else []
  _check_finite(arrays)
  upstream = naming.to_upstream(arrays, origin)
  changes = changes or Changes()
  if origin.arch in FUSION_NETWORKS:
    if changes != Changes() or options:
      raise ValueError(
        f"{origin.arch} always has one channel per image and no classes: nothing can be changed."
      )
    shapes = _fusion_shapes(origin.arch)
    flat = rules.to_ours(restormer.untie(upstream), shapes, restormer.torch_key)
    return Ported(unflatten_dict(flat), origin, {}, {}, left_out)
  ported = _port_task(upstream, origin, changes, options or {})
  return ported._replace(notes=left_out + ported.notes)


def unport(
  variables: Mapping, arch: str, style: str, passengers: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """The inverse of `port`.

  Args:
    variables: as `port` gives them.
    arch: "fusion", "lossgen" or a key of `TASK_NETWORKS`.
    style: whose names the state_dict gets.
    passengers: as of `Ported`.

  Returns:
    A state_dict, complete for `load_state_dict(strict=True)`.

  Raises:
    ValueError: unknown arch, or a style that it does not have.
  """
  flat = flatten_dict(variables)
  if arch in FUSION_NETWORKS:
    return naming.from_upstream(
      restormer.tie(rules.to_theirs(flat, restormer.torch_key)), arch, style
    )
  network = TASK_NETWORKS[arch]
  upstream = rules.to_theirs(flat, network.torch_key)
  backbone = all(path[1] == "backbone" for path in flat)
  fixed = network.fixed(upstream)
  if style == "original" and not backbone:
    fixed |= _conv_seg(upstream)
  fixed = {key: passengers.get(key, value) for key, value in fixed.items()}
  return naming.from_upstream({**upstream, **fixed}, arch, style, backbone=backbone)


def _port_task(upstream: dict, origin: naming.Origin, changes: Changes, given: Mapping) -> Ported:
  network = TASK_NETWORKS[origin.arch]
  notes = [f"left out: {key}, an ImageNet classifier" for key in origin.classifier]
  fixed = network.fixed(upstream)
  if "decode_head.linear_pred.weight" in upstream and set(naming.CONV_SEG) & set(upstream):
    fixed |= _conv_seg(upstream)
  passengers = {key: upstream.pop(key) for key in fixed if key in upstream}
  for key, value in passengers.items():
    if value.shape != fixed[key].shape:
      raise ValueError(f"{key} is {value.shape}, not {fixed[key].shape}.")
    if key == yolov8.DFL and not np.array_equal(value, fixed[key]):
      raise ValueError(
        f"{key} is not 0, 1, ... {yolov8.BINS - 1}: this YOLOv8 has no such distance kernel."
      )
  passengers = {key: value for key, value in passengers.items() if not _same(value, fixed[key])}
  fixed_by_origin = naming.OPTIONS.get((origin.arch, origin.style), {})
  options = {**network.options_from(upstream), **fixed_by_origin, **given}
  part = {"num_classes": 1} if origin.backbone else {}  # for a head that is not looked at
  shapes = _shapes(network.build(**{**part, **options}), network.sample_inputs(**options))
  if origin.backbone:
    shapes = {path: shape for path, shape in shapes.items() if path[1] == "backbone"}
  flat = rules.to_ours(upstream, shapes, network.torch_key)
  flat, options, more = _change(flat, options, origin, changes)
  names = changes.class_names
  if changes.keep_classes and not changes.backbone_only:
    flat, options, names = _with_kept_classes(flat, options, origin.arch, changes)
    more.append(f"kept of the classifier's rows: {', '.join(map(shown, names))}")
  if (
    changes.num_classes or changes.keep_classes or changes.backbone_only
  ):  # shapes or keys of the head are others now
    passengers = {key: value for key, value in passengers.items() if key.startswith("backbone.")}
  if len(names) != options.get("num_classes"):
    names = ()
  return Ported(unflatten_dict(flat), origin, options, passengers, notes + more, tuple(names))


def _same(one: np.ndarray, other: np.ndarray) -> bool:
  return one.dtype == other.dtype and np.array_equal(one, other)


def _change(
  flat: dict, options: dict, origin: naming.Origin, changes: Changes
) -> tuple[dict, dict, list[str]]:
  notes, flat, options = [], dict(flat), dict(options)
  if changes.fold_imagenet:
    _fold_imagenet(flat, origin.arch)
    notes.append("input layer: ImageNet's normalisation folded in; its images are in [0, 1]")
  wanted = changes.in_channels
  if wanted and wanted != options["in_channels"]:
    path = (*_STEMS[origin.arch], "kernel")
    flat[path] = _rechannel(flat[path], wanted)
    how = "summed over channels" if wanted == 1 else "repeated with the weights of luminance"
    notes.append(f"input layer: {options['in_channels']} -> {wanted} channels, {how}")
    options["in_channels"] = wanted
  if changes.backbone_only:
    options.pop("num_classes", None)
    return {path: value for path, value in flat.items() if path[1] == "backbone"}, options, notes
  if changes.num_classes and changes.num_classes != options.get("num_classes"):
    options["num_classes"] = changes.num_classes
    flat, made = _with_new_classes(flat, options, origin.arch)
    notes.append(f"made anew, not trained: {', '.join(made)} ({changes.num_classes} classes)")
  return flat, options, notes


def _rechannel(kernel: np.ndarray, wanted: int) -> np.ndarray:
  """[k, k, C, O] for `wanted` channels; a gray image (all channels equal) gives the same."""
  have = kernel.shape[2]
  if (have, wanted) == (3, 1):
    return kernel.astype(np.float64).sum(axis=2, keepdims=True).astype(kernel.dtype)
  if (have, wanted) == (1, 3):
    return (kernel * np.asarray(LUMA).reshape(1, 1, 3, 1)).astype(kernel.dtype)
  raise ValueError(f"{have} input channels cannot become {wanted}: 3 to 1 and 1 to 3 are possible.")


def _fold_imagenet(flat: dict, arch: str) -> None:
  """conv((x - mean) / std) as a convolution of x. Only the padding at the border differs."""
  kernel, bias = ((*_STEMS[arch], leaf) for leaf in ("kernel", "bias"))
  if bias not in flat or flat[kernel].shape[2] != 3:
    raise ValueError(
      "ImageNet's normalisation folds only into a SegFormer with three input channels."
    )
  mean, std = (np.asarray(v).reshape(1, 1, 3, 1) for v in (_IMAGENET_MEAN, _IMAGENET_STD))
  scaled = flat[kernel].astype(np.float64) / std
  flat[bias] = (flat[bias] - (scaled * mean).sum(axis=(0, 1, 2))).astype(flat[bias].dtype)
  flat[kernel] = scaled.astype(flat[kernel].dtype)


def _with_new_classes(flat: dict, options: dict, arch: str) -> tuple[dict, list[str]]:
  """`flat` with every array of the head that depends on the number of classes fresh from seed 0."""
  module = TASK_NETWORKS[arch]
  network, inputs = module.build(**options), module.sample_inputs(**options)
  shapes = _shapes(network, inputs)
  fitting = {path for path, shape in shapes.items() if path in flat and flat[path].shape == shape}
  new = {path for path in shapes if path not in fitting or module.is_classifier(path)}

  @jax.jit  # leaves out what is not asked for
  def make(key):
    made = flatten_dict(network.init(key, *inputs))
    return {"/".join(path): made[path] for path in sorted(new)}

  made = make(jax.random.key(0))
  kind = next(iter(flat.values())).dtype
  fresh = {path: np.asarray(made["/".join(path)]).astype(kind) for path in new}
  names = sorted({".".join(path[1:-1]) or path[-1] for path in new})
  return {path: fresh[path] if path in new else flat[path] for path in shapes}, names


def _with_kept_classes(
  flat: dict, options: dict, arch: str, changes: Changes
) -> tuple[dict, dict, list[str]]:
  """(variables, options, names) with the rows of the classifier that `changes` asks for."""
  if "num_classes" not in options:
    raise ValueError("a backbone alone has no classes to keep.")
  pairs = classes.kept(changes.keep_classes, options["num_classes"], changes.class_names)
  rows = [row for _, row in pairs]
  module = TASK_NETWORKS[arch]
  # Classes are the last axis of kernel and bias.
  less = {
    path: np.ascontiguousarray(value[..., rows]) if module.is_classifier(path) else value
    for path, value in flat.items()
  }
  options = {key: value for key, value in options.items() if key != "class_width"}
  options |= {"num_classes": len(rows), **module.head_options(flat, len(rows))}
  return less, options, [name for name, _ in pairs]


def _conv_seg(upstream: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The unused layer of mmseg's decode head, which `strict=True` needs all the same."""
  last = upstream["decode_head.linear_pred.weight"]
  return {
    naming.CONV_SEG[0]: np.zeros_like(last),
    naming.CONV_SEG[1]: np.zeros(last.shape[0], last.dtype),
  }


def _check_finite(arrays: Mapping[str, np.ndarray]) -> None:
  bad = not_finite(arrays)
  if bad:
    names = "\n  ".join(shown(name) for name in bad[:60])
    raise ValueError(f"these weights hold values that are not finite:\n  {names}")


@functools.cache
def _fusion_shapes(arch: str) -> dict[rules.Path, tuple[int, ...]]:
  return _shapes(FUSION_NETWORKS[arch](), restormer.sample_inputs())


def _shapes(network: nn.Module, inputs: tuple) -> dict[rules.Path, tuple[int, ...]]:
  variables = jax.eval_shape(lambda *args: network.init(jax.random.key(0), *args), *inputs)
  flat: Any = flatten_dict(variables)
  return {path: leaf.shape for path, leaf in flat.items()}
