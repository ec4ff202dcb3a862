"""OpenMMLab's names for SegFormer (mmsegmentation 0.19 and newer) against upstream's, bit for bit.

Its attention packs queries, keys and values into one layer, its MLPs are 1x1 convolutions, and its
head is another one, see `networks.convhead`, whose names here are OpenMMLab's but for the
classifier.
"""

import re
from collections.abc import Mapping

import numpy as np

Arrays = dict[str, np.ndarray]

_PARTS = {
  "norm1": "norm1",
  "norm2": "norm2",
  "attn.attn.out_proj": "attn.proj",
  "attn.sr": "attn.sr",
  "attn.norm": "attn.norm",
  "ffn.layers.0": "mlp.fc1",
  "ffn.layers.1": "mlp.dwconv.dwconv",
  "ffn.layers.4": "mlp.fc2",
}
_OURS = {ours: theirs for theirs, ours in _PARTS.items()}
_AS_CONVOLUTION = ("mlp.fc1", "mlp.fc2")
_CLASSIFIER, _OUR_CLASSIFIER = "decode_head.conv_seg.", "decode_head.linear_pred."


def to_upstream(arrays: Mapping[str, np.ndarray]) -> Arrays:
  """Unknown keys stay as they are, for the strict match to list.

  Raises:
    ValueError: an array does not have the axes that it is rearranged by.
  """
  out = {}
  for key, value in arrays.items():
    name = key.removeprefix("backbone.")
    if match := re.fullmatch(r"layers\.(\d)\.1\.(\d+)\.attn\.attn\.in_proj_(weight|bias)", name):
      prefix = f"backbone.block{int(match[1]) + 1}.{match[2]}.attn"
      if not value.ndim or value.shape[0] % 3:
        raise ValueError(f"{key} is {value.shape}, not queries, keys and values of equal size.")
      width = value.shape[0] // 3
      out[f"{prefix}.q.{match[3]}"] = value[:width]
      out[f"{prefix}.kv.{match[3]}"] = value[width:]
    elif match := re.fullmatch(r"layers\.(\d)\.1\.(\d+)\.(.+)\.(weight|bias)", name):
      part = _PARTS.get(match[3])
      ours = f"backbone.block{int(match[1]) + 1}.{match[2]}.{part}.{match[4]}"
      if part in _AS_CONVOLUTION and match[4] == "weight":
        if value.shape[2:] != (1, 1):
          raise ValueError(f"{key} is {value.shape}, no 1x1 convolution.")
        value = value[:, :, 0, 0]
      out[ours if part else key] = value
    elif match := re.fullmatch(r"layers\.(\d)\.0\.(projection|norm)\.(weight|bias)", name):
      part = "proj" if match[2] == "projection" else "norm"
      out[f"backbone.patch_embed{int(match[1]) + 1}.{part}.{match[3]}"] = value
    elif match := re.fullmatch(r"layers\.(\d)\.2\.(weight|bias)", name):
      out[f"backbone.norm{int(match[1]) + 1}.{match[2]}"] = value
    elif key.startswith(_CLASSIFIER):
      out[_OUR_CLASSIFIER + key.removeprefix(_CLASSIFIER)] = value
    else:
      out[key] = value
  return out


def from_upstream(arrays: Mapping[str, np.ndarray], *, backbone: bool) -> Arrays:
  """The inverse; a backbone alone has no prefix, as OpenMMLab publishes it."""
  prefix = "" if backbone else "backbone."
  out = {}
  for key, value in arrays.items():
    if match := re.fullmatch(r"backbone\.block(\d)\.(\d+)\.attn\.(q|kv)\.(weight|bias)", key):
      if match[3] == "q":
        values = arrays[key.replace(".attn.q.", ".attn.kv.")]
        block = f"{prefix}layers.{int(match[1]) - 1}.1.{match[2]}"
        out[f"{block}.attn.attn.in_proj_{match[4]}"] = np.concatenate([value, values])
    elif match := re.fullmatch(r"backbone\.block(\d)\.(\d+)\.(.+)\.(weight|bias)", key):
      if match[3] in _AS_CONVOLUTION and match[4] == "weight":
        value = value[:, :, None, None]
      block = f"{prefix}layers.{int(match[1]) - 1}.1.{match[2]}"
      out[f"{block}.{_OURS[match[3]]}.{match[4]}"] = value
    elif match := re.fullmatch(r"backbone\.patch_embed(\d)\.(proj|norm)\.(.+)", key):
      part = "projection" if match[2] == "proj" else "norm"
      out[f"{prefix}layers.{int(match[1]) - 1}.0.{part}.{match[3]}"] = value
    elif match := re.fullmatch(r"backbone\.norm(\d)\.(.+)", key):
      out[f"{prefix}layers.{int(match[1]) - 1}.2.{match[2]}"] = value
    elif key.startswith(_OUR_CLASSIFIER):
      out[_CLASSIFIER + key.removeprefix(_OUR_CLASSIFIER)] = value
    else:
      out[key] = value
  return out
