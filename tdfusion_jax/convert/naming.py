"""Other people's names for SegFormer and YOLOv8 against upstream's, both ways and bit for bit."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tdfusion_jax.convert import openmmlab

Arrays = dict[str, np.ndarray]


class Origin(NamedTuple):
  """What a state_dict is."""

  arch: str
  """fusion, lossgen, segformer or yolov8."""
  style: str
  """upstream, original, huggingface, transformers5, openmmlab or ultralytics."""
  backbone: bool
  """Whether it is a backbone without a head."""
  classifier: tuple[str, ...] = ()
  """Keys of an ImageNet classifier, which no network here has."""


STYLES = {
  "fusion": ("upstream",),
  "lossgen": ("upstream",),
  "segformer": ("upstream", "original", "huggingface", "transformers5", "openmmlab"),
  "yolov8": ("upstream", "ultralytics"),
}

_UPSTREAM = {"head_eps": 1e-3, "align_corners": True, "gelu": "tanh", "norm_eps": 1e-6}
_ORIGINAL = {"head_eps": 1e-5, "align_corners": False, "gelu": "erf", "norm_eps": 1e-6}
_HUGGINGFACE = {**_ORIGINAL, "norm_eps": 1e-5}
_OPENMMLAB = {**_ORIGINAL, "embed_eps": 1e-6, "head": "convs"}
# What names and shapes cannot reveal, by where the weights come from.
OPTIONS = {
  ("segformer", "upstream"): _UPSTREAM,
  ("segformer", "original"): _ORIGINAL,
  ("segformer", "huggingface"): _HUGGINGFACE,
  ("segformer", "transformers5"): _HUGGINGFACE,
  ("segformer", "openmmlab"): _OPENMMLAB,
}
_NVIDIA = "NVIDIA source licence (non-commercial) if these are NVIDIA's weights"
LICENCES = {
  ("segformer", "original"): _NVIDIA,
  ("segformer", "huggingface"): _NVIDIA,
  ("segformer", "transformers5"): _NVIDIA,
  ("yolov8", "ultralytics"): "AGPL-3.0 if these are Ultralytics' weights",
}
NO_LICENCE = "no licence stated by the file: the terms of its source apply"
CONV_SEG = ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias")

_HF_BLOCK = {
  "layer_norm_1": "norm1",
  "layer_norm_2": "norm2",
  "attention.self.query": "attn.q",
  "attention.self.sr": "attn.sr",
  "attention.self.layer_norm": "attn.norm",
  "attention.output.dense": "attn.proj",
  "mlp.dense1": "mlp.fc1",
  "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
  "mlp.dense2": "mlp.fc2",
}
_HF_KEY, _HF_VALUE = ("attention.self.key", "attention.self.value")
# From version 5 on, transformers has names in memory (`torch.save(model.state_dict())`) that are
# not those of the files on the hub, which it still reads and writes.
_TRANSFORMERS5 = {
  "layernorm_before": "layer_norm_1",
  "layernorm_after": "layer_norm_2",
  "attention.q_proj": "attention.self.query",
  "attention.k_proj": "attention.self.key",
  "attention.v_proj": "attention.self.value",
  "attention.o_proj": "attention.output.dense",
  "attention.sequence_reduction.sequence_reduction": "attention.self.sr",
  "attention.sequence_reduction.layer_norm": "attention.self.layer_norm",
  "mlp.fc1": "mlp.dense1",
  "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
  "mlp.fc2": "mlp.dense2",
}
_HF_HEAD = {
  "linear_fuse": "decode_head.linear_fuse.conv",
  "batch_norm": "decode_head.linear_fuse.bn",
  "classifier": "decode_head.linear_pred",
}
# By the number of the layer; "" is one without weights.
_ULTRALYTICS = (
  "backbone.stem",
  "backbone.dark2.0",
  "backbone.dark2.1",
  "backbone.dark3.0",
  "backbone.dark3.1",
  "backbone.dark4.0",
  "backbone.dark4.1",
  "backbone.dark5.0",
  "backbone.dark5.1",
  "backbone.dark5.2",
  "",
  "",
  "conv3_for_upsample1",
  "",
  "",
  "conv3_for_upsample2",
  "down_sample1",
  "",
  "conv3_for_downsample1",
  "down_sample2",
  "",
  "conv3_for_downsample2",
)
_DETECT = len(_ULTRALYTICS)
_BACKBONE = {"segformer": ("patch_embed", "block", "norm"), "yolov8": ("stem.", "dark")}


def to_upstream(arrays: Mapping[str, np.ndarray], origin: Origin) -> Arrays:
  """A state_dict in upstream's names, a backbone's under `backbone.`.

  Unknown keys stay as they are, for the strict match to list.

  Raises:
    ValueError: half of a Hugging Face key-value pair is missing.
  """
  kept = {key: value for key, value in arrays.items() if key not in origin.classifier}
  if origin.style == "huggingface":
    return _from_huggingface(kept)
  if origin.style == "transformers5":
    return _from_huggingface({_from_transformers5(key): value for key, value in kept.items()})
  if origin.style == "openmmlab":
    return openmmlab.to_upstream(kept)
  if origin.style == "ultralytics":
    return {_from_ultralytics(key): value for key, value in kept.items()}
  bare = _BACKBONE.get(origin.arch, ())
  if origin.backbone and bare:
    return {
      f"backbone.{key}" if key.startswith(bare) else key: value for key, value in kept.items()
    }
  return kept


def from_upstream(
  arrays: Mapping[str, np.ndarray], arch: str, style: str, *, backbone: bool = False
) -> Arrays:
  """The inverse of `to_upstream`.

  A backbone alone has no prefix in upstream's and the original's files, and in the others' the one
  it has there.

  Args:
    arrays: a state_dict in upstream's names.
    arch: a key of `STYLES`.
    style: one of its names.
    backbone: whether it is a backbone without a head.

  Raises:
    ValueError: `style` is none of the architecture's, or has another head.
  """
  if style not in STYLES[arch]:
    raise ValueError(f"{arch} has no naming {style!r}; there are: {', '.join(STYLES[arch])}.")
  _check_head(arrays, style)
  if style == "openmmlab":
    return openmmlab.from_upstream(arrays, backbone=backbone)
  if style == "huggingface":
    return _to_huggingface(arrays)
  if style == "transformers5":
    return {_to_transformers5(key): value for key, value in _to_huggingface(arrays).items()}
  if style == "ultralytics":
    return {_to_ultralytics(key): value for key, value in arrays.items()}
  if backbone:
    return {key.removeprefix("backbone."): value for key, value in arrays.items()}
  return dict(arrays)


def _check_head(arrays: Mapping[str, np.ndarray], style: str) -> None:
  """Raises ValueError if SegFormer's head is not the one that `style` has."""
  convs = any(key.startswith("decode_head.convs.") for key in arrays)
  linear = any(key.startswith("decode_head.linear_c") for key in arrays)
  # Upstream's names are ours in between, of either head.
  if (convs and style not in ("openmmlab", "upstream")) or (linear and style == "openmmlab"):
    raise ValueError(
      f"its head is {'' if convs else 'not '}OpenMMLab's, which {style}'s SegFormer "
      f"{'does not have' if convs else 'has'}; --backbone-only converts the backbone."
    )


def _from_huggingface(arrays: Arrays) -> Arrays:
  out, halves = {}, {}
  for key, value in arrays.items():
    name = key.removeprefix("segformer.")
    if match := re.fullmatch(r"encoder\.block\.(\d)\.(\d+)\.(.+)\.(weight|bias)", name):
      stage, index, part, leaf = match.groups()
      prefix = f"backbone.block{int(stage) + 1}.{index}"
      if part in (_HF_KEY, _HF_VALUE):
        halves.setdefault(f"{prefix}.attn.kv.{leaf}", {})[part] = value
        continue
      out[f"{prefix}.{_HF_BLOCK[part]}.{leaf}" if part in _HF_BLOCK else key] = value
    elif match := re.fullmatch(
      r"encoder\.patch_embeddings\.(\d)\.(proj|layer_norm)\.(weight|bias)", name
    ):
      stage, part, leaf = match.groups()
      out[f"backbone.patch_embed{int(stage) + 1}.{part.removeprefix('layer_')}.{leaf}"] = value
    elif match := re.fullmatch(r"encoder\.layer_norm\.(\d)\.(weight|bias)", name):
      out[f"backbone.norm{int(match[1]) + 1}.{match[2]}"] = value
    elif match := re.fullmatch(r"decode_head\.linear_c\.(\d)\.proj\.(weight|bias)", name):
      out[f"decode_head.linear_c{int(match[1]) + 1}.proj.{match[2]}"] = value
    elif (match := re.fullmatch(r"decode_head\.(\w+)\.(\w+)", name)) and match[1] in _HF_HEAD:
      out[f"{_HF_HEAD[match[1]]}.{match[2]}"] = value
    else:
      out[key] = value
  for key, pair in halves.items():
    if len(pair) != 2:
      raise ValueError(f"only one of {_HF_KEY} and {_HF_VALUE} is there for {key}.")
    out[key] = np.concatenate([pair[_HF_KEY], pair[_HF_VALUE]])
  return out


def _to_huggingface(arrays: Mapping[str, np.ndarray]) -> Arrays:
  block = {theirs: ours for ours, theirs in _HF_BLOCK.items()}
  head = {theirs: ours for ours, theirs in _HF_HEAD.items()}
  out = {}
  for key, value in arrays.items():
    if match := re.fullmatch(r"backbone\.block(\d)\.(\d+)\.(.+)\.(weight|bias)", key):
      prefix = f"segformer.encoder.block.{int(match[1]) - 1}.{match[2]}"
      if match[3] == "attn.kv":
        for part, half in zip((_HF_KEY, _HF_VALUE), np.split(value, 2), strict=True):
          out[f"{prefix}.{part}.{match[4]}"] = half
      else:
        out[f"{prefix}.{block[match[3]]}.{match[4]}"] = value
    elif match := re.fullmatch(r"backbone\.patch_embed(\d)\.(proj|norm)\.(.+)", key):
      part = "proj" if match[2] == "proj" else "layer_norm"
      out[f"segformer.encoder.patch_embeddings.{int(match[1]) - 1}.{part}.{match[3]}"] = value
    elif match := re.fullmatch(r"backbone\.norm(\d)\.(.+)", key):
      out[f"segformer.encoder.layer_norm.{int(match[1]) - 1}.{match[2]}"] = value
    elif match := re.fullmatch(r"decode_head\.linear_c(\d)\.(.+)", key):
      out[f"decode_head.linear_c.{int(match[1]) - 1}.{match[2]}"] = value
    else:
      module, _, leaf = key.rpartition(".")
      out[f"decode_head.{head[module]}.{leaf}"] = value
  return out


def _from_transformers5(key: str) -> str:
  """`segformer.stages.0.blocks.1.mlp.fc1.bias` -> `segformer.encoder.block.0.1.mlp.dense1.bias`."""
  name = key.removeprefix("segformer.")
  if match := re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(.+)\.(weight|bias)", name):
    stage, index, part, leaf = match.groups()
    if part not in _TRANSFORMERS5:
      return key
    return f"segformer.encoder.block.{stage}.{index}.{_TRANSFORMERS5[part]}.{leaf}"
  if match := re.fullmatch(r"stages\.(\d)\.(patch_embeddings|layer_norm)\.(.+)", name):
    return f"segformer.encoder.{match[2]}.{match[1]}.{match[3]}"
  return re.sub(r"^decode_head\.linear_projections\.", "decode_head.linear_c.", key)


def _to_transformers5(key: str) -> str:
  parts = {theirs: ours for ours, theirs in _TRANSFORMERS5.items()}
  if match := re.fullmatch(r"segformer\.encoder\.block\.(\d)\.(\d+)\.(.+)\.(weight|bias)", key):
    return f"segformer.stages.{match[1]}.blocks.{match[2]}.{parts[match[3]]}.{match[4]}"
  if match := re.fullmatch(r"segformer\.encoder\.(patch_embeddings|layer_norm)\.(\d)\.(.+)", key):
    return f"segformer.stages.{match[2]}.{match[1]}.{match[3]}"
  return key.replace("decode_head.linear_c.", "decode_head.linear_projections.")


def _from_ultralytics(key: str) -> str:
  match = re.fullmatch(r"(?:model\.){1,2}(\d+)\.(.+)", key)
  if not match:
    return key
  index, rest = int(match[1]), match[2]
  if index == _DETECT:
    return rest
  name = _ULTRALYTICS[index] if index < _DETECT else ""
  return f"{name}.{rest}" if name else key


def _to_ultralytics(key: str) -> str:
  for index, name in enumerate(_ULTRALYTICS):
    if name and key.startswith(name + "."):
      return f"model.{index}{key[len(name) :]}"
  return f"model.{_DETECT}.{key}"
