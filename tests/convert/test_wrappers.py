"""Weights under every wrapper and prefix that projects put around them, and what is left out."""

import collections
import datetime
import decimal
import enum
import functools
import pathlib
import pickle
import re
import types
import uuid
from argparse import Namespace

import numpy as np
import published
import pytest
from pth_files import Raw, Writer, legacy_file, stub, zip_file
from safetensors.numpy import save_file

from tdfusion_jax import cli
from tdfusion_jax.convert.pth import WeightFileError, read_pth, read_sets
from tdfusion_jax.weightfiles import load_weights

# Names by which F is known; that all of them convert is shown below, on a whole network.
NAMES = ("encoder1.0.attn.temperature", "encoder1.0.ffn.project_in.weight", "project_out_0.weight")


def f(seed=0):
  rng = np.random.default_rng(seed)
  return {name: rng.random((2, 3)).astype(np.float32) for name in NAMES}


def with_prefix(prefix, state_dict=None):
  return {prefix + name: array for name, array in (state_dict or f()).items()}


def in_pieces(state_dict):
  """{"encoder1": {"0": {...}}, ...}."""
  tree = {}
  for name, array in state_dict.items():
    *parts, leaf = name.split(".")
    node = tree
    for part in parts:
      node = node.setdefault(part, {})
    node[leaf] = array
  return tree


def opcodes(value):
  return Raw(pickle.dumps(value, 2)[2:-1])


def dict_of_others(state_dict):
  """A subclass of dict of some project, such as a config's."""
  writer = Writer()
  items = b"".join(writer.value(part) for item in state_dict.items() for part in item)
  made = Raw(b"cbox\nBox\n)\x81(" + items + b"u")
  return writer, made


WRAPPED = {
  "params": {"params": f()},
  "params_ema": {"params_ema": f()},
  "net": {"net": f(), "epoch": 3},
  "network": {"network": f(), "optimizer": {"state": {0: {"exp_avg": np.ones(3)}}, "groups": [1]}},
  "model_state_dict": {"model_state_dict": f()},
  "weights": {"weights": f()},
  "generator": {"generator": f(), "discriminator": {"conv.weight": np.ones((9, 9))}},
  "twice nested": {"checkpoint": {"model": {"state_dict": f()}}},
  "in a list": {"models": [f()]},
  "at the top of a list": [f()],
  "pairs": list(f().items()),
  "numbers as keys": {0: f()},
  "in pieces": in_pieces(f()),
  "in pieces under model": {"model": in_pieces(f()), "step": 7},
  "module.model.": with_prefix("module.model."),
  "net._orig_mod.": with_prefix("net._orig_mod."),
  "model.module. under state_dict": {"state_dict": with_prefix("model.module.")},
  "a name of its own": with_prefix("my_fusion_network."),
  "a number": with_prefix("0."),
  "deepspeed": {"module": with_prefix("_forward_module.")},
  "averaged model": {"n_averaged": np.asarray(5), **with_prefix("module.")},
  "compiled parts": {
    name.replace("encoder1.", "encoder1._orig_mod."): a for name, a in f().items()
  },
  "with a loss": {
    **with_prefix("model."),
    "criterion.weight": np.ones(3),
    "metric.total": np.ones(1),
  },
  "no tensors among them": {**f(), "best_score": 0.25, "name": "mine", "nothing": None},
  "the same twice": {"model": f(), "ema": f()},
}


@pytest.mark.parametrize("write", [zip_file, legacy_file])
@pytest.mark.parametrize("name", WRAPPED)
def test_weights_are_found_under_any_wrapper(tmp_path, name, write):
  """The arrays that were put in, under the names before they were wrapped."""
  found = read_pth(write(tmp_path / "w.pth", WRAPPED[name]))
  expected = f()
  assert found.keys() == expected.keys()
  for key, array in expected.items():
    np.testing.assert_array_equal(found[key], array)


def test_objects_of_projects_are_looked_into(tmp_path):
  """A helper object that holds the weights as an attribute, and a dict of another class."""
  writer = Writer()
  helper = stub("timm.utils", "ModelEma", writer.value({"module": f(), "decay": 0.9}))
  assert_same(read_raw(tmp_path, writer, Raw(b"}" + writer.value("ema") + helper + b"s")))
  writer = Writer()
  slots = stub("mine", "Holder", b"N" + writer.value({"weights": f()}) + b"\x86")
  assert_same(read_raw(tmp_path, writer, slots))
  writer, box = dict_of_others(f())
  assert_same(read_raw(tmp_path, writer, box))


def read_raw(tmp_path, writer, content):
  import zipfile

  with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
    archive.writestr("x/data.pkl", b"\x80\x02" + content + b".")
    for number, array in enumerate(writer.arrays):
      archive.writestr(f"x/data/{number}", array.tobytes())
  return read_pth(tmp_path / "w.pth")


def assert_same(found):
  assert found.keys() == f().keys()
  for key, array in f().items():
    np.testing.assert_array_equal(found[key], array)


def test_two_sets_that_fit_are_listed_and_one_is_picked(tmp_path):
  file = zip_file(tmp_path / "w.pth", {"model": f(0), "averaged": {"module": f(1)}, "epoch": 3})
  listing = (
    r"w\.pth holds 2 sets of weights: model \(fusion, 3 tensors\), averaged\.module "
    r"\(fusion, 3 tensors\)\. Choose one with --key\."
  )
  with pytest.raises(WeightFileError, match=listing):
    read_pth(file)
  for key, seed in (("model", 0), ("averaged", 1), ("averaged.module", 1), ("module", 1)):
    np.testing.assert_array_equal(read_pth(file, key)[NAMES[0]], f(seed)[NAMES[0]])
  with pytest.raises(WeightFileError, match="no weights under epoch; there are: model"):
    read_pth(file, "epoch")


def test_two_networks_in_one_state_dict_are_two_sets(tmp_path):
  """Such as lucidrains' moving average, which is saved with the model."""
  both = {**with_prefix("online_model."), **with_prefix("ema_model.", f(1)), "step": np.ones(1)}
  file = zip_file(tmp_path / "w.pth", both)
  assert [found.key for found in read_sets(file)] == ["online_model", "ema_model"]
  np.testing.assert_array_equal(read_pth(file, "ema_model")[NAMES[0]], f(1)[NAMES[0]])
  g = {name.replace("project_out_0.weight", "out2.weight"): a for name, a in f().items()}
  file = zip_file(tmp_path / "w.pth", {"f": f(), "g": g})
  assert [found.key for found in read_sets(file, "lossgen")] == ["g"]


def test_of_ultralytics_the_moving_average_is_taken(tmp_path):
  """As Ultralytics itself does; the other can be asked for."""
  sets = [published.random(published.yolov8(classes=2), seed) for seed in (0, 1)]
  for order in (("model", "ema"), ("ema", "model")):
    content = {name: sets[name == "ema"] for name in order} | {"epoch": -1, "best_fitness": None}
    file = zip_file(tmp_path / "w.pt", content)
    key = "model.0.conv.weight"
    np.testing.assert_array_equal(read_pth(file)[key], sets[1][key])
    np.testing.assert_array_equal(read_pth(file, "model")[key], sets[0][key])


def test_a_set_that_is_complete_is_preferred_to_one_that_is_not(tmp_path):
  """An average of the trained parameters alone has no running statistics, so it cannot be it."""
  whole = published.random(published.segformer(original=True, classes=2))
  part = {name: array + 1 for name, array in whole.items() if "running" not in name}
  file = zip_file(tmp_path / "w.pth", {"average": part, "model": with_prefix("net.", whole)})
  out = tmp_path / "t.safetensors"
  assert cli.main(["convert", str(file), "--out", str(out)]) == 0
  kernel = load_weights(out)[0]["params"]["decode_head"]["linear_pred"]["kernel"]
  np.testing.assert_array_equal(kernel, whole["decode_head.linear_pred.weight"][:, :, 0, 0].T)


def test_convert_names_where_the_weights_are_and_what_is_left_out(tmp_path, capsys):
  whole = published.random(published.yolov8(classes=2, channels=1))
  content = {
    "state_dict": {**with_prefix("detector.", whole), "loss.weight": np.ones(3)},
    "epoch": 3,
    "\x1b[2Jname": "x",
  }
  file, out = zip_file(tmp_path / "w.ckpt", content), tmp_path / "t.safetensors"
  assert cli.main(["convert", str(file), "--out", str(out)]) == 0
  printed = capsys.readouterr().out
  assert "read from: state_dict.detector\n" in printed
  assert r"left out: state_dict.loss.weight, epoch, '\x1b[2Jname'" in printed
  assert load_weights(out)[0]["params"]["cv3_0_2"]["kernel"].shape == (64, 2)
  assert cli.main(["convert", "--inspect", str(file)]) == 0
  assert "read from: state_dict.detector\n" in capsys.readouterr().out


def test_prefixes_in_safetensors_files_too(tmp_path):
  whole = published.random(published.yolov8(classes=2, channels=1))
  save_file(with_prefix("module._orig_mod.", whole), tmp_path / "w.safetensors")
  out = tmp_path / "t.safetensors"
  assert cli.main(["convert", str(tmp_path / "w.safetensors"), "--out", str(out)]) == 0
  stem = load_weights(out)[0]["params"]["backbone"]["stem"]["kernel"]
  np.testing.assert_array_equal(stem, whole["model.0.conv.weight"].transpose(2, 3, 1, 0))


class Mode(enum.Enum):
  FAST = 1


class Level(enum.IntFlag):
  LOW = 1


PLAIN = {
  "counter": collections.Counter({10: 1, 20: 2}),
  "ordered": collections.OrderedDict(a=1),
  "default": collections.defaultdict(list, {"a": [1]}),
  "deque": collections.deque([1, 2], 3),
  "chain": collections.ChainMap({"a": 1}),
  "dates": [datetime.datetime(2024, 5, 6, 7), datetime.date(2024, 5, 6), datetime.timedelta(1)],
  "zone": datetime.datetime(2024, 5, 6, tzinfo=datetime.UTC),
  "namespaces": [Namespace(lr=1e-4), types.SimpleNamespace(a=1)],
  "paths": [pathlib.Path("a/b"), pathlib.PurePosixPath("c"), pathlib.PureWindowsPath("d")],
  "numpy": [np.float32(1.5), np.int64(3), np.bool_(True), np.arange(3), np.dtype("f4")],
  "random": [
    np.random.default_rng(0),
    np.random.RandomState(0),
    np.random.RandomState(0).get_state(),
  ],
  "enumerations": [Mode.FAST, Level.LOW],
  "numbers": [1 + 2j, decimal.Decimal("1.5"), slice(1, 2), range(3)],
  "bytes": [b"ab", bytearray(b"cd")],
  "partial": functools.partial(Mode, 1),
  "others": [uuid.UUID(int=3), re.compile("a"), {1, 2}, frozenset("ab"), None, 1 << 70],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_beside_the_weights_are_read_past(tmp_path, name, protocol):
  """What schedulers, trainers and argument parsers leave in checkpoints; by Python's pickler."""
  content = pickle.dumps(PLAIN[name], protocol)
  content = content[2:-1] if protocol > 1 else content[:-1]
  if protocol > 3 and content[:1] == b"\x95":  # without the frame around it
    content = content[9:]
  file = zip_file(tmp_path / "w.pth", {"rest": Raw(content), "state_dict": f()})
  assert_same(read_pth(file))


def test_half_the_call_is_still_a_call(tmp_path):
  """getattr of a class of a project is an enumeration's member; of anything else it is refused."""
  for module, name in (("os", "system"), ("builtins", "eval")):
    content = Raw(
      b"cbuiltins\ngetattr\n(" + f"c{module}\n{name}\n".encode() + b"X\x01\x00\x00\x00atR"
    )
    file = zip_file(tmp_path / "w.pth", {"state_dict": f(), "rest": content})
    with pytest.raises(WeightFileError, match="asks for builtins.getattr to be called"):
      read_pth(file)


def test_tensors_of_other_kinds_are_left_out(tmp_path):
  """A complex tensor beside the weights: PyTorch has a storage of it, no network here a place."""
  storage = b"X\x07\x00\x00\x00storagectorch\nComplexFloatStorage\n"
  pid = b"(" + storage + b"X\x01\x00\x00\x009X\x03\x00\x00\x00cpuK\x01tQ"
  other = Raw(b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + b"K\x00(K\x01t(K\x01t\x89}tR")
  file = zip_file(tmp_path / "w.pth", {**f(), "fft": other})
  assert_same(read_pth(file))
  assert read_sets(file)[0].left_out == ("fft",)


@pytest.mark.parametrize(
  "content",
  [
    b"}q\x00X\x01\x00\x00\x00ah\x00s",
    b"]q\x00h\x00a",
    b"]q\x00" + b"0](h\x00h\x00eq\x00" * 60,
    b")" + b"2\x86" * 100_000,
  ],
  ids=["x[a] = x", "x = [x]", "60 times x = [x, x]", "100000 times x = (x, x)"],
)
def test_endless_and_shared_containers_end(tmp_path, content):
  """Beside weights, which are found; of [x, x] within each other there would be 2^60."""
  file = zip_file(tmp_path / "w.pth", {"state_dict": f(), "rest": Raw(content)})
  assert_same(read_pth(file))


def test_tensors_shared_endlessly_often_are_refused(tmp_path):
  writer = Writer()
  shared = writer.value(np.ones(1)) + b"q\x00" + b"0](h\x00h\x00eq\x00" * 60
  with pytest.raises(WeightFileError, match=r"w\.pth holds a model of more than 100000 modules"):
    read_raw(tmp_path, writer, shared)
