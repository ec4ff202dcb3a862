"""Which infrared frame meets which visible one."""

from collections.abc import Iterator

import numpy as np

from tdfusion_jax.fusing.footage.pyav import VideoError
from tdfusion_jax.fusing.footage.sources import Footage


def check_names(ir: Footage, vi: Footage) -> None:
  """Frames in two folders belong together by place.

  Where they share names, a missing one would shift all others.
  """
  names = [set(source.names) for source in (ir, vi)]
  shared, lonely = names[0] & names[1], sorted(names[0] ^ names[1])
  if shared and lonely:
    where = [ir.name if name in names[0] else vi.name for name in lonely]
    shown = ", ".join(
      f"{name} (in {folder} only)" for name, folder in zip(lonely[:3], where, strict=False)
    )
    raise VideoError(
      f"{len(lonely)} frames have no partner: {shown}{', ...' if len(lonely) > 3 else ''}."
    )


def pairs(ir: Footage, vi: Footage) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
  """(infrared frame nearest in time, visible frame, its time); ends with the shorter of the two."""
  half = 0.5 / float(ir.rate)
  others = iter(ir)
  here = next(others, None)
  following = next(others, None)
  first: tuple[float, float] | None = None
  for frame in vi:
    if here is None:
      return
    if first is None:
      first = (here.seconds, frame.seconds)  # cameras and cut files start at any time
    now = frame.seconds - first[1]
    while following is not None and following.seconds - first[0] <= now + half:
      here, following = following, next(others, None)
    if following is None and now - (here.seconds - first[0]) > 2 * half:
      return
    yield here.array, frame.array, now
