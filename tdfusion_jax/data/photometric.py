"""Random light and contrast of what T sees while it is trained (NumPy, host)."""

import numpy as np

_DELTA = 32 / 255  # of brightness
_CONTRAST = (0.5, 1.5)


def relit(
  ir: np.ndarray,
  vi: np.ndarray,
  rng: np.random.Generator,
  *,
  hsv_value: float = 0.0,
  distortion: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
  """Both images of a view, [h, w] float32 in [0, 1], in another light, the same for both.

  Args:
    ir: the infrared image, or a finished one.
    vi: the visible image, or the same finished one.
    rng: draws the light; drawn from only as far as asked for.
    hsv_value: gain of Ultralytics' `hsv_v`: every pixel times 1 + gain * U(-1, 1), at most 1. Of a
      gray image that is all of its HSV augmentation.
    distortion: what mmsegmentation's `PhotoMetricDistortion` comes to for a gray image: with
      probability 1/2 up to 32 of 255 brighter or darker, then with probability 1/2 a contrast from
      0.5 to 1.5 about black, both clipped to [0, 1].
  """
  changes: list[tuple[float, float]] = []  # (factor, shift)
  if hsv_value:
    changes.append((1 + hsv_value * rng.uniform(-1, 1), 0.0))
  if distortion:
    if rng.random() < 0.5:
      changes.append((1.0, rng.uniform(-_DELTA, _DELTA)))
    if rng.random() < 0.5:
      changes.append((rng.uniform(*_CONTRAST), 0.0))

  def changed(image: np.ndarray) -> np.ndarray:
    for factor, shift in changes:
      image = np.clip(image * np.float32(factor) + np.float32(shift), 0, 1)
    return image

  lit = changed(ir)
  return (lit, lit) if vi is ir else (lit, changed(vi))
