"""What the options about values of files mean."""

import numpy as np
import pytest

from tdfusion_jax.files import UsageError
from tdfusion_jax.images.scaling import Scale, parse_scale, pixels


@pytest.mark.parametrize(
  ("words", "meant"),
  [
    (("linear",), Scale()),
    (("percentile",), Scale("percentile", 1, 99)),
    (("29000:31500", "4"), Scale("range", 29000, 31500, channels=(4,))),
    (("celsius:-10:45.5",), Scale("range", -10, 45.5, celsius=True)),
    (("linear", "1,2,3", "fill"), Scale(channels=(1, 2, 3), fill=True)),
    (("linear", "", "-9999"), Scale(fill=True, nodata=-9999)),
  ],
)
def test_what_options_mean(words, meant):
  assert parse_scale(*words) == meant


@pytest.mark.parametrize(
  ("words", "match"),
  [
    (("celsius",), "none of linear"),
    (("celsius:45:10",), "none of linear"),
    (("linear", "0"), "counted from 1"),
    (("linear", "1,2"), "one number or three"),
    (("linear", "", "none"), "fill, or a number"),
  ],
)
def test_options_that_mean_nothing(words, match):
  with pytest.raises(UsageError, match=match):
    parse_scale(*words)


def test_ranges_of_types():
  """Whole numbers by their bits, floats in [0, 1]; signed bytes have no usual range."""
  assert pixels(np.zeros((2, 2), np.uint16), "a").top == 65535
  assert pixels(np.zeros((2, 2), np.uint16), "a", most=4095.0).top == 4095
  assert pixels(np.zeros((2, 2), np.float64), "a").top == 1
  for wrong, match in ((np.int8([[1]]), "signed 8-bit"), (np.int16([[-1]]), "do not fit 16 bits")):
    with pytest.raises(UsageError, match=match):
      pixels(wrong, "a")
  with pytest.raises(UsageError, match="nothing but values that are no data"):
    pixels(np.full((2, 2), np.nan), "a", Scale(fill=True))
