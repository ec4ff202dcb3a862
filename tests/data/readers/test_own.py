"""Readers of the user's own: found by their names, their options and first pair checked."""

import ast
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tdfusion_jax.batch import Boxes, Sample
from tdfusion_jax.data import DatasetError, check_reader_options, find_reader, get_source
from tdfusion_jax.data.readers.own import OwnSource, check_source
from tdfusion_jax.data.source import find
from tdfusion_jax.files import UsageError

READER = """
import numpy as np
from tdfusion_jax.batch import Sample
from tdfusion_jax.data import Source


class Own:
  names, classes, kind = ["a", "b"], ("ground", "thing"), "segmentation"

  def __init__(self, root, split, level):
    self.root, self.split, self.level = root, split, level

  def __len__(self):
    return 2

  def __getitem__(self, index):
    gray = np.full((4, 6), self.level + index, np.uint8)
    return Sample(self.names[index], gray, np.stack([gray] * 3, -1), np.eye(4, 6, dtype=np.uint8))

  def describe(self):
    return "two pairs"


def reader(
  root, split="train", level: int = 7, *, more: "Nowhere" = None, many: list[int] = ()
) -> Source:
  return Own(root, split, level)


def anything(root, split="train", **options) -> Source:
  return Own(root, split, options["level"])


def unmarked(root, split="train"):
  raise SystemExit("called")


def wrong(root, split="train") -> Source:
  return [1, 2]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  (tmp_path / "own_reader.py").write_text(READER)
  yield
  sys.modules.pop("own_reader", None)


def test_a_reader_of_ones_own_is_called_with_root_split_and_options(mine):
  source = get_source("own_reader:reader", root="there", split="test", level=9)
  assert (find(source, "root"), find(source, "split"), len(source)) == ("there", "test", 2)
  assert source[1].ir[0, 0] == 10  # level + index
  assert get_source("own_reader:anything", root=None, level=3)[0].ir[0, 0] == 3


def test_its_options_are_checked_by_its_signature(mine):
  check_reader_options("own_reader:reader", {"level": 1, "more": 2, "many": [3]})
  with pytest.raises(DatasetError, match="no option 'levle'; known: level, more, many"):
    check_reader_options("own_reader:reader", {"levle": 1})


def test_an_annotated_option_of_another_type_is_named(mine, tmp_path):
  (tmp_path / "own_reader.py").write_text(
    "from tdfusion_jax.data import Source\n"
    "def reader(root, split='train', level: int = 7, word: bytes = b'') -> Source: ...\n"
  )
  with pytest.raises(DatasetError, match="level='x' is not a whole number"):
    check_reader_options("own_reader:reader", {"level": "x"})
  with pytest.raises(DatasetError, match="word=3 is not bytes"):
    check_reader_options("own_reader:reader", {"word": 3})


def test_what_is_no_reader_is_named(mine):
  with pytest.raises(UsageError, match="config.data.name='own_reader:raeder': .* Is it reader?"):
    get_source("own_reader:raeder")
  with pytest.raises(UsageError, match="annotate what it returns: .* -> data.source.Source"):
    get_source("own_reader:unmarked")
  with pytest.raises(UsageError, match="--dataset='nowhere:reader': there is no module nowhere"):
    find_reader("nowhere:reader", "--dataset")
  with pytest.raises(
    DatasetError, match="known: llvip, .*, or your own as package.module:function"
  ):
    get_source("lvip")
  with pytest.raises(
    DatasetError, match="'own_reader:wrong': its source has no names, classes, kind, describe"
  ):
    get_source("own_reader:wrong")


IMAGE = np.zeros((4, 6), np.uint8)
COLOUR = np.zeros((4, 6, 3), np.uint8)
BOX, ONE = np.array([[1.0, 1, 3, 2]], np.float32), np.array([0], np.int32)


class Given:
  """A source of one pair as given."""

  names, classes = ["only"], ("ground", "thing")

  def __init__(self, sample, kind="segmentation", names=None):
    self.sample, self.kind, self.names = sample, kind, names or self.names

  def __len__(self):
    return 1

  def __getitem__(self, index):
    return self.sample

  def describe(self):
    return "given"


@pytest.mark.parametrize(
  ("sample", "kind"),
  [
    (Sample("only", IMAGE, IMAGE, IMAGE), "segmentation"),
    (Sample("only", IMAGE, COLOUR, np.full((4, 6), 255, np.int32)), "segmentation"),
    (Sample("only", IMAGE, COLOUR, None), "segmentation"),
    (Sample("only", IMAGE, COLOUR, Boxes(BOX, ONE)), "detection"),
    (Sample("only", IMAGE, COLOUR, Boxes(BOX[:0], ONE[:0])), "detection"),
    (Sample("only", IMAGE, COLOUR), None),
  ],
)
def test_right_pairs_pass(sample, kind):
  check_source(Given(sample, kind), "own")


@pytest.mark.parametrize(
  ("sample", "kind", "message"),
  [
    ((IMAGE, IMAGE), "segmentation", "a batch.Sample is needed, not tuple"),
    (
      Sample("only", IMAGE, IMAGE, None),
      "masks",
      "kind 'masks' is not segmentation, detection or None",
    ),
    (
      Sample("only", COLOUR, COLOUR),
      None,
      r"ir \[H, W\] and vi .* not \(4, 6, 3\) and \(4, 6, 3\)",
    ),
    (Sample("only", IMAGE, np.moveaxis(COLOUR, -1, 0)), None, r"not \(4, 6\) and \(3, 4, 6\)"),
    (Sample("only", IMAGE / 255, COLOUR), None, "ir is float64; uint8 in 0 to 255 is needed"),
    (
      Sample("only", IMAGE, IMAGE, IMAGE.T),
      "segmentation",
      r"labels of whole numbers, \[4, 6\], are needed",
    ),
    (
      Sample("only", IMAGE, IMAGE, IMAGE + 2),
      "segmentation",
      "labels 2 to 2 are not in 0 to 1, or 255 for unknown",
    ),
    (
      Sample("only", IMAGE, IMAGE, BOX),
      "detection",
      "batch.Boxes are needed, not ndarray",
    ),
    (Sample("only", IMAGE, IMAGE, Boxes(BOX, ONE[:0])), "detection", r"not \(1, 4\) and \(0,\)"),
    (
      Sample("only", IMAGE, IMAGE, Boxes(BOX, ONE + 2)),
      "detection",
      "classes 2 to 2 are not in 0 to 1",
    ),
    (Sample("only", IMAGE, IMAGE, Boxes(-BOX, ONE)), "detection", "a box ends before it begins"),
  ],
)
def test_wrong_pairs_are_named(sample, kind, message):
  with pytest.raises(DatasetError, match=message) as error:
    check_source(Given(sample, kind), "own")
  assert str(error.value).startswith("data set 'own'")


def test_names_fit_the_pairs():
  with pytest.raises(DatasetError, match="1 pairs and 2 names, 1 of them different"):
    check_source(Given(Sample("only", IMAGE, IMAGE), None, ["same", "same"]), "own")


class Parsing:
  """A source that parses as `numpy.load` does, and leaves Python something to collect meanwhile."""

  names, classes, kind = ["a"], ("ground",), "segmentation"

  def __len__(self):
    return 1

  def __getitem__(self, index):
    circle = []
    circle.append(circle)
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), }"
    gray = np.zeros(ast.literal_eval(header)["shape"], np.uint8)
    return Sample("a", gray, gray)

  def describe(self):
    return "one"


def read_by_threads(source, threads=4, times=2000):
  with ThreadPoolExecutor(threads) as pool:
    futures = [
      pool.submit(lambda: [source[0] for _ in range(times)] and None) for _ in range(threads)
    ]
  return [future.exception() for future in futures]


@pytest.fixture
def much_to_collect():
  before, interval = gc.get_threshold(), sys.getswitchinterval()
  gc.set_threshold(5)
  sys.setswitchinterval(1e-6)
  yield
  gc.set_threshold(*before)
  sys.setswitchinterval(interval)


def test_threads_that_parse_at_once_do_not_break_a_pair(much_to_collect):
  if not any(isinstance(error, SystemError) for error in read_by_threads(Parsing())):
    pytest.skip("this Python counts a tree's depth by thread")
  assert read_by_threads(OwnSource(Parsing())) == [None] * 4


def test_another_system_error_is_the_users_to_see():
  class Broken(Parsing):
    def __getitem__(self, index):
      raise SystemError("a broken extension")

  with pytest.raises(SystemError, match="a broken extension"):
    OwnSource(Broken())[0]
