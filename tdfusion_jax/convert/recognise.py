"""Which network a state_dict belongs to, and whose names it uses."""

from collections.abc import Collection

from tdfusion_jax.convert.naming import CONV_SEG, STYLES, Origin
from tdfusion_jax.tensorfiles import shown

_HEAD = ("head.weight", "head.bias")
_CLASSIFIER = ("classifier.weight", "classifier.bias")
# (style, where its first layer is)
_HUGGING_FACE = (
  ("huggingface", "encoder.patch_embeddings.0"),
  ("transformers5", "stages.0.patch_embeddings"),
)


def recognise(
  keys: Collection[str], *, arch: str | None = None, style: str | None = None
) -> Origin:
  """What the keys of a state_dict belong to.

  Args:
    keys: names without what wrappers put before them.
    arch: only this architecture.
    style: only this naming.

  Raises:
    ValueError: nothing fits, or several do, which are listed.
  """
  if arch is not None and arch not in STYLES:
    raise ValueError(f"architecture {arch!r} is not known; there are: {', '.join(STYLES)}.")
  styles = STYLES[arch] if arch else sorted({name for names in STYLES.values() for name in names})
  if style is not None and style not in styles:
    raise ValueError(f"naming {style!r} is not known here; there are: {', '.join(styles)}.")
  candidates = fitting(keys, arch, style)
  if len(candidates) == 1:
    return candidates[0]
  if not candidates:
    some = ", ".join(shown(key) for key in sorted(keys)[:5])
    wish = " ".join(filter(None, [arch, style])) or "known network"
    raise ValueError(f"these names belong to no {wish}; the first are: {some}.")
  listed = ", ".join(f"{each.arch} ({each.style})" for each in candidates)
  raise ValueError(f"these names fit several sources: {listed}. Choose one with --arch and --from.")


def fitting(
  keys: Collection[str], arch: str | None = None, style: str | None = None
) -> list[Origin]:
  """What the keys may belong to, of the architecture and in the naming that is asked for."""
  return [
    candidate
    for candidate in _candidates(set(keys))
    if arch in (None, candidate.arch) and style in (None, candidate.style)
  ]


def _candidates(keys: set[str]) -> list[Origin]:
  return [*_restormers(keys), *_segformers(keys), *_yolos(keys)]


def _any_starts(keys: set[str], *prefixes: str) -> bool:
  return any(key.startswith(prefixes) for key in keys)


def _restormers(keys: set[str]) -> list[Origin]:
  """F and G, which begin alike and end in layers of their own."""
  candidates = []
  if _any_starts(keys, "encoder1.0.attn."):
    if _any_starts(keys, "project_out_0.", "project_out_1."):
      candidates.append(Origin("fusion", "upstream", False))
    if _any_starts(keys, "out1.", "out2", "out3."):
      candidates.append(Origin("lossgen", "upstream", False))
  return candidates


def _segformers(keys: set[str]) -> list[Origin]:
  whole = _any_starts(keys, "decode_head.")
  candidates = []
  if "backbone.patch_embed1.proj.weight" in keys:
    # Both name alike, but the original carries mmseg's unused layer along.
    styles = ["upstream"] if whole else ["upstream", "original"]
    if not keys.isdisjoint(CONV_SEG):
      styles = ["original"]
    candidates += [Origin("segformer", style, not whole) for style in styles]
  if "patch_embed1.proj.weight" in keys:
    present = tuple(key for key in _HEAD if key in keys)
    styles = ["original"] if present else ["upstream", "original"]
    candidates += [Origin("segformer", style, True, present) for style in styles]
  for prefix in ("backbone.", ""):
    if f"{prefix}layers.0.0.projection.weight" in keys:
      candidates.append(Origin("segformer", "openmmlab", not whole))
  present = tuple(key for key in _CLASSIFIER if key in keys)
  for prefix in ("segformer.", ""):
    for style, first in _HUGGING_FACE:
      if f"{prefix}{first}.proj.weight" in keys:
        candidates.append(Origin("segformer", style, not whole, present))
  return candidates


def _yolos(keys: set[str]) -> list[Origin]:
  candidates = []
  if "backbone.stem.conv.weight" in keys:
    candidates.append(Origin("yolov8", "upstream", "cv3.0.2.weight" not in keys))
  if keys.issuperset(("stem.conv.weight", "dark2.0.conv.weight")):
    candidates.append(Origin("yolov8", "upstream", True))
  for prefix in ("model.", "model.model."):
    if keys.issuperset((f"{prefix}0.conv.weight", f"{prefix}2.cv1.conv.weight")):
      # Their layer 22 is the head.
      candidates.append(Origin("yolov8", "ultralytics", not _any_starts(keys, f"{prefix}22.")))
  return candidates
