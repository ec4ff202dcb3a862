"""Do the two images of a pair show the same view, and if not, can they be made to?

The score compares directions of edges, which both modalities share even where one is bright and the
other dark. The gradient (gx, gy) of each image, reduced to 160 pixels, becomes the complex number
(gx + i gy)^2, whose phase is the edge's direction without its sign, divided by its size plus the
size that 70 % of the pixels stay under, so that strong edges count alike. The real part of the
normalised cross-correlation of the two fields peaks at the displacement; the peak's height over the
correlation's standard deviation says whether there is a common scene at all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tdfusion_jax.images.reading import ImageError

_SIZE = 160  # pixels of the longer side that are compared
_REACH = 0.2  # displacements looked for, as a part of the longer side
CERTAIN = 4.5
"""Standard deviations that a peak needs to be believed.

Pairs of RoadScene, LLVIP, MSRS and TNO have 5 to 28, different scenes 2 to 4.
"""
_SHIFTED = 0.012  # of the longer side; registered pairs of those sets stay within 0.005
_CLEARLY = 1.2  # times the correlation at rest


class Misalignment(NamedTuple):
  """How far apart two images seem to be."""

  down: float
  right: float
  """Pixels by which the infrared content lies below and to the right of the visible one."""
  certainty: float
  """Height of the correlation's peak in standard deviations; believed from `CERTAIN` on."""
  rest: float
  """The correlation where the images lie now, at most 1."""
  gain: float
  """The peak over the correlation at rest; 1 if rest is best."""


def misalignment(ir: np.ndarray, vi: np.ndarray) -> Misalignment:
  """Compares the edges of [H, W, C] images of equal size, in [0, 1]; a few milliseconds."""
  height, width = ir.shape[:2]
  factor = max(height, width) / min(_SIZE, max(height, width))
  a, b = (_directions(_small(image, factor)) for image in (ir, vi))
  rows, columns = a.shape
  a, b = a - a.mean(), b - b.mean()
  correlation = np.fft.ifft2(_spectrum(a) * np.conj(_spectrum(b))).real
  reach = max(1, round(_REACH * max(rows, columns)))
  # Shifts of -reach to reach on both axes, no shift in the middle.
  near = np.roll(correlation, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
  down, right = np.unravel_index(np.argmax(near), near.shape)
  peak = float(near.max())
  rest = float(near[reach - 1 : reach + 2, reach - 1 : reach + 2].max())
  spread = float(near.std())
  energy = float(np.linalg.norm(a) * np.linalg.norm(b))
  return Misalignment(
    down=float((down - reach) * factor),
    right=float((right - reach) * factor),
    certainty=peak / spread if spread > 0 else 0.0,
    rest=rest / max(energy, 1e-12),
    gain=float(peak / rest if rest > 0 else np.inf),
  )


def doubt(ir: np.ndarray, vi: np.ndarray) -> str:
  """What makes a pair look unregistered, or an empty string."""
  if min(ir.shape[:2]) < 32:
    return ""  # too few edges to judge by
  found = misalignment(ir, vi)
  if found.certainty < CERTAIN:
    return (
      f"the images share hardly any edges (certainty {found.certainty:.1f}); "
      "do they show the same view?"
    )
  if np.hypot(found.down, found.right) > _SHIFTED * max(ir.shape[:2]) and found.gain > _CLEARLY:
    down, right = round(found.down), round(found.right)
    return (
      f"the images look unregistered: infrared lies about {right:+d} pixels across "
      f"and {down:+d} down from visible"
    )
  return ""


def aligner(how: str) -> Callable | None:
  """(ir, vi) -> (ir made to fit vi, vi) for `none`, `resize` (when sizes differ) or `homography`.

  Raises:
    ImageError: another name, or homography without OpenCV.
  """
  if how == "none":
    return None
  if how == "resize":
    return _resize
  if how != "homography":
    raise ImageError(f"align {how!r} is none of none, resize, homography.")
  try:
    import cv2
  except ImportError:
    raise ImageError(
      "aligning by homography needs OpenCV: pip install 'tdfusion-jax[align]'"
    ) from None

  def warp(ir: np.ndarray, vi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _warped(cv2, _resized(ir, *vi.shape[:2]), vi), vi

  return warp


def _resize(ir: np.ndarray, vi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  return _resized(ir, *vi.shape[:2]), vi


def _small(image: np.ndarray, factor: float) -> np.ndarray:
  gray = np.ascontiguousarray(image[..., image.shape[-1] // 2])  # green holds most of the luminance
  size = (max(1, round(gray.shape[1] / factor)), max(1, round(gray.shape[0] / factor)))
  return np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BOX))


def _directions(gray: np.ndarray) -> np.ndarray:
  field = np.zeros(gray.shape, np.complex64)
  field[:, 1:-1] += gray[:, 2:] - gray[:, :-2]
  field[1:-1] += 1j * (gray[2:] - gray[:-2])
  field *= field
  size = np.abs(field)
  return field / (size + np.percentile(size, 70) + np.float32(1e-6))


def _spectrum(field: np.ndarray) -> np.ndarray:
  """Of twice the size, so that shifts do not wrap around."""
  rows, columns = field.shape
  return np.fft.fft2(field, (2 * rows, 2 * columns))


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
  if image.shape[:2] == (height, width):
    return image
  channels = [Image.fromarray(np.ascontiguousarray(image[..., i])) for i in range(image.shape[-1])]
  resized = [np.asarray(c.resize((width, height), Image.Resampling.BILINEAR)) for c in channels]
  return np.clip(np.stack(resized, axis=-1), 0, 1)


def _warped(cv2: Any, ir: np.ndarray, vi: np.ndarray) -> np.ndarray:
  """`ir` under the homography that brings its edges onto those of `vi`; borders repeat.

  Raises:
    ImageError: no homography was found.
  """
  height, width = vi.shape[:2]
  start = misalignment(ir, vi)
  matrix = np.eye(3, dtype=np.float32)  # from visible to infrared pixels
  if start.certainty >= CERTAIN:
    matrix[:2, 2] = start.right, start.down
  stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
  for longest in (160, 320, 640):
    factor = max(height, width) / min(longest, max(height, width))
    to_small = np.diag([1 / factor, 1 / factor, 1]).astype(np.float32)
    edges = [
      cv2.GaussianBlur(np.abs(_directions(_small(image, factor))), (0, 0), 1.5)
      for image in (vi, ir)
    ]
    small = to_small @ matrix @ np.linalg.inv(to_small)
    try:
      _, small = cv2.findTransformECC(
        *edges, small.astype(np.float32), cv2.MOTION_HOMOGRAPHY, stop, None, 5
      )
    except cv2.error:
      raise ImageError(
        "the images could not be aligned: their edges do not match under any homography."
      ) from None
    matrix = np.linalg.inv(to_small) @ small @ to_small
  flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  warped = cv2.warpPerspective(
    ir, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
  )
  warped = np.clip(warped.reshape(height, width, -1), 0, 1)
  if misalignment(warped, vi).rest > start.rest:
    return warped
  if doubt(ir, vi):
    raise ImageError("the images could not be aligned: no homography brings their edges closer.")
  return ir
