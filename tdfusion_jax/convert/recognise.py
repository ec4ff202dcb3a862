"""Which network a state_dict belongs to, and whose names it uses."""

from collections.abc import Collection, Mapping

import numpy as np

from tdfusion_jax.convert.naming import CONV_SEG, STYLES, Source

_HEAD = ("head.weight", "head.bias")
_CLASSIFIER = ("classifier.weight", "classifier.bias")


def strip_prefix(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Drops the `module.` of DataParallel where every key has it."""
  if arrays and all(key.startswith("module.") for key in arrays):
    return {key.removeprefix("module."): value for key, value in arrays.items()}
  return dict(arrays)


def recognise(
  keys: Collection[str], *, arch: str | None = None, style: str | None = None
) -> Source:
  """What the keys of a state_dict belong to.

  Args:
    keys: names without `module.`.
    arch: only this architecture.
    style: only this naming.

  Raises:
    ValueError: nothing fits, or several do, which are listed.
  """
  if arch is not None and arch not in STYLES:
    raise ValueError(f"architecture {arch!r} is not known; there are: {', '.join(STYLES)}.")
  every = sorted({name for names in STYLES.values() for name in names})
  if style is not None and style not in (STYLES[arch] if arch else every):
    raise ValueError(
      f"naming {style!r} is not known here; there are: {', '.join(STYLES[arch] if arch else every)}."
    )
  candidates = [
    s for s in _candidates(set(keys)) if arch in (None, s.arch) and style in (None, s.style)
  ]
  if len(candidates) == 1:
    return candidates[0]
  if not candidates:
    some = ", ".join(sorted(keys)[:5])
    wish = " ".join(filter(None, [arch, style])) or "known network"
    raise ValueError(f"these names belong to no {wish}; the first are: {some}.")
  listed = ", ".join(f"{s.arch} ({s.style})" for s in candidates)
  raise ValueError(f"these names fit several sources: {listed}. Say which, with --arch and --from.")


def _candidates(keys: set[str]) -> list[Source]:
  has = lambda *names: keys.issuperset(names)  # noqa: E731
  found = []
  if any(key.startswith("encoder1.0.attn.") for key in keys):
    if any(key.startswith(("project_out_0.", "project_out_1.")) for key in keys):
      found.append(Source("fusion", "upstream", False))
    if any(key.startswith(("out1.", "out2", "out3.")) for key in keys):
      found.append(Source("lossgen", "upstream", False))
  if has("backbone.patch_embed1.proj.weight"):
    whole = any(key.startswith("decode_head.") for key in keys)
    # Both name alike, but the original carries mmseg's unused layer along.
    styles = (
      ("original",)
      if keys.intersection(CONV_SEG)
      else ("upstream",)
      if whole
      else ("upstream", "original")
    )
    found += [Source("segformer", style, not whole) for style in styles]
  if has("patch_embed1.proj.weight"):
    present = tuple(key for key in _HEAD if key in keys)
    styles = ("original",) if present else ("upstream", "original")
    found += [Source("segformer", style, True, present) for style in styles]
  for prefix in ("segformer.", ""):
    for style, first in (
      ("huggingface", "encoder.patch_embeddings.0"),
      ("transformers5", "stages.0.patch_embeddings"),
    ):
      if has(f"{prefix}{first}.proj.weight"):
        whole = any(key.startswith("decode_head.") for key in keys)
        present = tuple(key for key in _CLASSIFIER if key in keys)
        found.append(Source("segformer", style, not whole, present))
  if has("backbone.stem.conv.weight"):
    found.append(Source("yolov8", "upstream", not has("cv3.0.2.weight")))
  if has("stem.conv.weight", "dark2.0.conv.weight"):
    found.append(Source("yolov8", "upstream", True))
  for prefix in ("model.", "model.model."):
    if has(f"{prefix}0.conv.weight", f"{prefix}2.cv1.conv.weight"):
      found.append(
        Source("yolov8", "ultralytics", not any(key.startswith(f"{prefix}22.") for key in keys))
      )
  return found
