"""Fusion metrics: one table of them, and one function that measures batches."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tdfusion_jax.metrics import edges, information, perceptual, similarity


class Metric(NamedTuple):
  """One row of the table. `measure(a, b, f)` takes gray images [H, W], values in [0, 255]."""

  name: str
  measure: Callable[[Any, Any, Any], Any]
  higher_is_better: bool
  bounds: str
  source: str


# These are made of several programs, see `windows.local_means`; every other metric is compiled as
# one.
_SEVERAL = ("SSIM", "VIF")


def _table(*rows: Metric) -> dict[str, Metric]:
  table = {row.name: row for row in rows}
  for name, row in table.items():
    if name not in _SEVERAL:
      table[name] = row._replace(measure=jax.jit(row.measure))
  return table


METRICS = _table(
  Metric("EN", information.entropy, True, "0 to 8 bits", "Roberts et al. 2008"),
  Metric("SD", similarity.standard_deviation, True, "0 to 127.5", "Rao 1997"),
  Metric("SF", edges.spatial_frequency, True, "from 0", "Eskicioglu and Fisher 1995"),
  Metric("AG", edges.average_gradient, True, "from 0", "Cui et al. 2015"),
  Metric("EI", edges.edge_intensity, True, "from 0", "Xydeas and Petrovic 2000"),
  Metric("MI", information.mutual_information, True, "0 to 16 bits", "Qu et al. 2002"),
  Metric("NMI", information.normalised_mutual_information, True, "0 to 2", "Hossny et al. 2008"),
  Metric("CE", information.cross_entropy, False, "from 0, bits", "Kumar et al. 1998"),
  Metric("Qncie", information.nonlinear_correlation, True, "0 to 1", "Wang et al. 2008"),
  Metric(
    "FMI_pixel", information.feature_information_pixel, True, "0 to 1", "Haghighat et al. 2011"
  ),
  Metric(
    "FMI_gradient",
    information.feature_information_gradient,
    True,
    "0 to 1",
    "Haghighat et al. 2011",
  ),
  Metric("CC", similarity.correlation_coefficient, True, "-1 to 1", "Shah et al. 2013"),
  Metric(
    "SCD",
    similarity.sum_of_correlations_of_differences,
    True,
    "-2 to 2",
    "Aslantas and Bendes 2015",
  ),
  Metric("MSE", similarity.mean_squared_error, False, "from 0", "Jagalingam and Hegde 2015"),
  Metric("PSNR", similarity.peak_signal_to_noise, True, "dB", "Jagalingam and Hegde 2015"),
  Metric("SSIM", similarity.ssim, True, "-1 to 1", "Wang et al. 2004"),
  Metric("MS_SSIM", similarity.multi_scale_ssim, True, "0 to 1", "Wang et al. 2003"),
  Metric("VIF", perceptual.vif, True, "from 0", "Sheikh and Bovik 2006"),
  Metric("VIFF", perceptual.vif_for_fusion, True, "from 0", "Han et al. 2013"),
  Metric("Qabf", edges.edge_preservation, True, "0 to 1", "Xydeas and Petrovic 2000"),
  Metric("Labf", edges.edge_loss, False, "0 to 1", "Petrovic and Xydeas 2005"),
  Metric("Nabf", edges.edge_artifacts, False, "0 to 1", "Shreyamsha Kumar 2013"),
  Metric("Q", similarity.piella, True, "-1 to 1", "Piella and Heijmans 2003"),
  Metric("Qw", similarity.piella_weighted, True, "-1 to 1", "Piella and Heijmans 2003"),
  Metric("Qy", similarity.yang, True, "0 to 1", "Yang et al. 2008"),
  Metric("Qcb", perceptual.chen_blum, True, "0 to 1", "Chen and Blum 2009"),
  Metric("Qcv", perceptual.chen_varshney, False, "from 0", "Chen and Varshney 2007"),
)
"""All metrics by name, for the profile "tdfusion": SSIM and VIF are means over both sources."""

PAPER = ("EN", "SF", "SCD", "VIF", "Qabf", "SSIM")
"""What the paper's table 1 reports."""


class Profile(NamedTuple):
  """A way of measuring."""

  measures: dict[str, Callable]
  """What differs from `METRICS`."""
  rounding: str
  """Of floating-point values to 8 bits, see `fusion_metrics`."""
  about: str


PROFILES = {
  "tdfusion": Profile(
    {}, "round", "SSIM and VIF averaged over both sources, values rounded to 8 bits"
  ),
  "sum": Profile(
    {"SSIM": similarity.ssim_sum, "VIF": perceptual.vif_sum},
    "round",
    "SSIM and VIF summed over both sources, as many papers do; values rounded to 8 bits",
  ),
  "truncate": Profile(
    {}, "truncate", "as tdfusion, but values cut off to 8 bits, as a cast to uint8 does"
  ),
  "float": Profile({}, "none", "as tdfusion, but values left as they are, in [0, 255]"),
  "vifb": Profile(
    {
      "Qcb": jax.jit(perceptual.chen_blum_picture),
      "Qcv": jax.jit(perceptual.chen_varshney_picture),
    },
    "round",
    "Qcv and Qcb with what is known of the settings of the toolbox VIFB (2020), not compared with "
    "its output; the rest as tdfusion",
  ),
}
"""Where implementations are known to disagree."""

_ROUNDINGS = ("round", "truncate", "none")


def _measure_of(metric: str | Metric, profile: str) -> tuple[str, Callable]:
  if isinstance(metric, Metric):
    return metric.name, metric.measure
  return metric, PROFILES[profile].measures.get(metric, METRICS[metric].measure)


def fusion_metrics(
  ir,
  vi,
  fused,
  *,
  metrics: Sequence[str | Metric] = PAPER,
  profile: str = "tdfusion",
  rounding: str | None = None,
) -> dict[str, np.ndarray]:
  """Measures fused images against their sources; jit-compiled once for each size.

  Args:
    ir: [B, H, W] gray images: uint8, or floating point in [0, 1].
    vi: gray images or luminances (BT.601 Y), likewise, of equal size.
    fused: likewise.
    metrics: names in `METRICS`, or metrics of your own, which see floating point in [0, 255].
    profile: a key of `PROFILES`.
    rounding: of floating-point images to 8-bit values: "round", "truncate" (what a cast does), or
      "none"; None: as the profile has it. Histograms count whole values in any case.

  Returns:
    {name: [B] float32}. NaN where an image is too small for a metric. A flat image has defined
    values (no edges, no correlation) and a warning.

  Raises:
    ValueError: unknown names, sizes that differ, or values outside [0, 1].
  """
  unknown = [name for name in metrics if isinstance(name, str) and name not in METRICS]
  if unknown:
    raise ValueError(f"unknown metric {', '.join(unknown)}; there are: {', '.join(METRICS)}.")
  if profile not in PROFILES:
    raise ValueError(f"profile {profile!r} is not one of {', '.join(PROFILES)}.")
  rounding = PROFILES[profile].rounding if rounding is None else rounding
  images = {
    name: _bytes(name, image, rounding)
    for name, image in (("ir", ir), ("vi", vi), ("fused", fused))
  }
  _check(images)
  measures = dict(_measure_of(metric, profile) for metric in metrics)
  scores = []
  for rows in zip(*images.values(), strict=True):
    a, b, f = map(jnp.asarray, rows)
    # Not read yet: JAX computes the metrics of one image while those of the next are being asked
    # for.
    scores.append({name: measure(a, b, f) for name, measure in measures.items()})
  return {name: np.array([of_image[name] for of_image in scores], np.float32) for name in measures}


def _check(images: dict[str, np.ndarray]) -> None:
  """Refuses images that do not fit each other; warns of flat ones."""
  shapes = [image.shape for image in images.values()]
  if len(set(shapes)) > 1 or len(shapes[0]) != 3 or 0 in shapes[0]:
    raise ValueError(
      f"ir, vi and fused are [B, H, W] of one size, not {', '.join(map(str, shapes))}."
    )
  for name, image in images.items():
    flat = int(np.sum(image.max((1, 2)) == image.min((1, 2))))
    if flat:
      message = f"{flat} of {len(image)} {name} images are flat: their scores mean little."
      warnings.warn(message, stacklevel=3)


def _bytes(name: str, image, rounding: str) -> np.ndarray:
  """float32 in [0, 255]."""
  if rounding not in _ROUNDINGS:
    raise ValueError(f"rounding {rounding!r} is not one of {', '.join(_ROUNDINGS)}.")
  image = np.asarray(image)
  if image.dtype == np.uint8:
    return image.astype(np.float32)
  if not np.issubdtype(image.dtype, np.floating):
    raise ValueError(f"{name}: uint8, or floating point in [0, 1], not {image.dtype}.")
  if image.size and not (image.min() >= 0 and image.max() <= 1):
    raise ValueError(
      f"{name}: floating-point values are in [0, 1], not {image.min():g} to {image.max():g}."
    )
  scaled = image.astype(np.float32) * 255
  return {"round": np.round, "truncate": np.floor, "none": lambda x: x}[rounding](scaled)
