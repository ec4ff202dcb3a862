"""Options of readers are checked by name and type, before anything is read."""

import pytest

from tdfusion_jax.data import DatasetError, check_reader_options, get_source


@pytest.mark.parametrize(
  ("name", "options", "match"),
  [
    ("synthetic_det", {"count": "abc"}, "'synthetic_det': count='abc' is not a whole number"),
    ("synthetic_det", {"size": 64}, r"size=64 is not 2 values, such as \(96, 96\)"),
    ("synthetic_seg", {"size": (64, 64.5)}, "size="),
    ("synthetic_seg", {"night": "dark"}, "night='dark' is not a number"),
    (
      "synthetic_seg",
      {"kind": "detection"},
      "no option 'kind'; known: size, count, seed, night, noise",
    ),
    ("llvip", {"every": 1.5}, "every=1.5 is not a whole number"),
    ("llvip", {"every": True}, "every=True is not a whole number"),
    ("llvip", {"split_file": 3}, "split_file=3 is not a path"),
    ("llvip", {"labelled_only": "no"}, "labelled_only='no' is not True or False"),
    ("llvip", {"root": "/"}, "no option 'root'; known: every, split_file, labelled_only"),
    ("folder", {"classes": 3}, "classes=3 is not a list of names"),
    ("folder", {"unlabelled_images": "empty"}, "is not one of 'skip', 'keep', 'background'"),
    ("folder", {"classes": ["person", 1]}, "is not a list of names"),
    ("msrs", {"every": 2}, "no option 'every'; known: none"),
  ],
)
def test_wrong_options_are_named(name, options, match):
  with pytest.raises(DatasetError, match=match) as error:
    check_reader_options(name, options)
  assert "\n" not in str(error.value)


def test_right_options_pass():
  check_reader_options("llvip", {"every": 2, "split_file": "list.txt", "labelled_only": False})
  check_reader_options("llvip", {"split_file": None})
  check_reader_options("folder", {"classes": ("person", "car")})
  check_reader_options(
    "synthetic_seg", {"size": [64, 96], "night": 1}
  )  # as JSON has them; whole numbers are numbers
  source = get_source("synthetic_det", size=(64, 96), count=2, night=1.0)
  assert source[1].ir.shape == (64, 96)


def test_sources_check_their_options(tmp_path):
  with pytest.raises(DatasetError, match="evry"):
    get_source("llvip", root=tmp_path, evry=2)
