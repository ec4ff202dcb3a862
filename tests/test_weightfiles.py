"""Checkpoints: what comes back, what is refused, what a killed process may leave behind."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tdfusion_jax import cli
from tdfusion_jax.weightfiles import CheckpointError, load_weights, match, save_weights


def test_weights_round_trip_with_metadata(tmp_path):
  params = {"params": {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}}
  save_weights(tmp_path / "w" / "f.safetensors", params, {"arch": "fusion", "step": 7})
  loaded, metadata = load_weights(tmp_path / "w" / "f.safetensors")
  np.testing.assert_array_equal(
    loaded["params"]["layer"]["kernel"], params["params"]["layer"]["kernel"]
  )
  assert metadata == {"arch": "fusion", "step": 7}
  assert [p.name for p in (tmp_path / "w").iterdir()] == ["f.safetensors"]


def test_equal_weights_are_equal_files(tmp_path):
  """Whatever order the library's metadata happen to be in; the file stays one that it reads."""
  params = {"params": {"b": np.arange(3, dtype=np.float64), "a": np.ones(2, np.float32)}}
  metadata = {"arch": "fusion", "step": 7, "name": "Grün", "seed": 0, "options": {"x": [1, None]}}
  written = set()
  for index in range(8):
    save_weights(tmp_path / f"{index}.safetensors", params, metadata)
    written.add((tmp_path / f"{index}.safetensors").read_bytes())
  assert len(written) == 1
  loaded, said = load_weights(tmp_path / "7.safetensors")
  assert said == metadata
  np.testing.assert_array_equal(loaded["params"]["b"], [0, 1, 2])
  np.testing.assert_array_equal(loaded["params"]["a"], [1, 1])


def test_missing_and_broken_weight_files_are_named(tmp_path):
  with pytest.raises(CheckpointError, match=r"none\.safetensors does not exist"):
    load_weights(tmp_path / "none.safetensors")
  (tmp_path / "bad.safetensors").write_bytes(b"12345678 not weights")
  with pytest.raises(CheckpointError, match=r"bad\.safetensors is not a readable"):
    load_weights(tmp_path / "bad.safetensors")


def test_match_lists_every_leftover_missing_shape_and_nan():
  like = {"a": np.zeros(2, np.float32), "b": np.zeros(3), "d": np.zeros(1)}
  loaded = {"a": np.ones(2), "b": np.zeros(4), "c": np.zeros(1), "e": np.array([np.nan])}
  with pytest.raises(CheckpointError) as error:
    match(loaded, like, "file")
  for line in ("missing: d", "left over: c", "shape: b is (4,), not (3,)", "not finite: e"):
    assert line in str(error.value)
  assert match({"a": np.ones(2)}, {"a": like["a"]}, "file")["a"].dtype == np.float32


def head_and_data(head, data=b""):
  """A `.safetensors` file with any head."""
  text = head if isinstance(head, bytes) else json.dumps(head).encode()
  return len(text).to_bytes(8, "little") + text + data


def entry(begin=0, end=8, shape=(2,), dtype: object = "F32"):
  return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


DEEP = b"[" * 100_000
BAD_FILES = {
  "empty": (b"", "its head of 0 bytes does not fit into 0 bytes"),
  "huge head": ((1 << 60).to_bytes(8, "little") + b"{}", "does not fit into 10 bytes"),
  "no json": (head_and_data(b"\xff\xfe{}"), "can't decode"),
  "a list": (head_and_data([]), "no mapping of names"),
  "deep head": (head_and_data(DEEP), "nested too deeply"),
  "deep metadata": (head_and_data(b'{"__metadata__":' + DEEP), "nested too deeply"),
  "metadata that is no text": (head_and_data({"__metadata__": {"a": {"b": 1}}}), "have to be text"),
  "metadata of numbers": (head_and_data({"__metadata__": {"a": 1}}), "have to be text"),
  "eight-bit floats": (head_and_data({"w": entry(0, 2, dtype="F8_E4M3")}, b"ab"), "dtype F8_E4M3"),
  "a dtype that is a list": (head_and_data({"w": entry(dtype=[1])}, bytes(8)), "is not supported"),
  "overlap": (head_and_data({"a": entry(), "b": entry(4, 12)}, bytes(12)), "overlap"),
  "same place twice": (head_and_data({"a": entry(), "b": entry()}, bytes(8)), "overlap"),
  "a gap": (head_and_data({"a": entry(), "b": entry(12, 20)}, bytes(20)), "leave a gap"),
  "too short": (
    head_and_data({"a": entry()}, bytes(7)),
    "7 bytes of tensors, where its head has 8",
  ),
  "too long": (head_and_data({"a": entry()}, bytes(9)), "9 bytes of tensors, where its head has 8"),
  "negative": (head_and_data({"a": entry(shape=(-2,))}, bytes(8)), "no valid shape"),
  "true": (head_and_data({"a": entry(0, 4, shape=(True,))}, bytes(4)), "no valid shape"),
  "other size": (head_and_data({"a": entry(shape=(3,))}, bytes(8)), "than its shape needs"),
  "nothing, enormous": (head_and_data({"a": entry(0, 0, (0, 1 << 62, 1 << 62))}), "a.safetensors"),
  "no entry": (head_and_data({"a": 3}), "has no dtype, shape and data_offsets"),
  "name twice": (
    head_and_data(b'{"a":1,"a":2}'),
    "a is there twice",
  ),
  "tensor and group": (
    head_and_data({"a": entry(), "a/b": entry(8, 16)}, bytes(16)),
    "a is a tensor and the group of a/b as well",
  ),
  "arch that is a list": (head_and_data({"__metadata__": {"arch": '["f"]'}}), "has to be text"),
  "options that are text": (
    head_and_data({"__metadata__": {"arch": '"segmentation"', "options": '"x"'}}),
    "'options' has to be a mapping",
  ),
  "metadata deep within": (
    head_and_data({"__metadata__": {"arch": DEEP.decode()}}),
    "metadata arch is nested too deeply",
  ),
  "escapes": (head_and_data({"\x1b[2J\u202e": 3}), r"'\x1b[2J\u202e' has no dtype"),
  "a long name": (head_and_data({"a" * 5000: 3}), "a" * 97 + "... has no"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_damaged_and_hostile_files_are_one_error_line_in_every_reader(tmp_path, capsys, name):
  """By the format's description: heads, offsets, shapes and metadata that it does not allow."""
  content, message = BAD_FILES[name]
  file = tmp_path / "a.safetensors"
  file.write_bytes(content)
  with pytest.raises(CheckpointError) as error:
    load_weights(file)
  assert message in str(error.value)
  for command in (
    ["convert", "--inspect", str(file)],
    ["convert", str(file), "--out", str(tmp_path / "b.safetensors")],
  ):
    status = cli.main(command)
    printed = capsys.readouterr()
    if status == 0:  # what other programs write may have names that only we cannot group
      assert name == "tensor and group" and "--inspect" in command
      continue
    assert status == 2 and str(file) in printed.err and printed.err.count("\n") == 1
    assert "\x1b" not in printed.err
  assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_other_programs_write_is_read(tmp_path):
  """Written by the format's own library: no hash, plain text as metadata, tensors of no values."""
  arrays = {
    "half": np.arange(3, dtype=np.float16),
    "count": np.asarray(5, np.int64),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "empty too": np.zeros((2, 0), np.float64),
  }
  save_file(arrays, tmp_path / "a.safetensors", {"format": "pt", "number": "3"})
  loaded, metadata = load_weights(tmp_path / "a.safetensors")
  assert metadata == {"format": "pt", "number": 3} and loaded.keys() == arrays.keys()
  for name, array in arrays.items():
    assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
    np.testing.assert_array_equal(loaded[name], array)


def test_the_formats_library_reads_what_is_written(tmp_path):
  import ml_dtypes

  rng = np.random.default_rng(0)
  kinds = (np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_, ml_dtypes.bfloat16)
  arrays = {np.dtype(k).name: (9 * rng.random((2, 3))).astype(k) for k in kinds}
  arrays |= {"scalar": np.asarray(2.5), "view": rng.random((3, 4)).T, "none": np.zeros((0, 2))}
  save_weights(tmp_path / "a.safetensors", {"params": arrays}, {"arch": "x"})
  theirs = load_file(tmp_path / "a.safetensors")
  ours = load_weights(tmp_path / "a.safetensors")[0]["params"]
  assert len(theirs) == len(arrays)
  for name, array in arrays.items():
    for read in (theirs[f"params/{name}"], ours[name]):
      assert read.shape == array.shape and read.dtype == array.dtype
      assert read.tobytes() == np.asarray(array, order="C").tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_inverted_bytes_are_noticed(tmp_path, seed):
  """16 bytes at random anywhere behind the length of the head; the original loads."""
  rng = np.random.default_rng(seed)
  params = {"params": {"a": rng.random(1000).astype(np.float32), "b": rng.random(9)}}
  file = tmp_path / "a.safetensors"
  save_weights(file, params, {"arch": "fusion", "options": {"eps": 1e-5}})
  load_weights(file)
  content = bytearray(file.read_bytes())
  for position in rng.integers(8 if seed % 2 else 600, len(content), 16):
    content[position] ^= 0xFF
  file.write_bytes(content)
  with pytest.raises(CheckpointError, match=r"a\.safetensors is (damaged|not a readable)"):
    load_weights(file)


def test_a_changed_value_name_or_option_is_damage(tmp_path):
  """Each change leaves a well-formed file; without its hash the file would load."""
  file = tmp_path / "a.safetensors"
  save_weights(file, {"params": {"weight": np.ones(4, np.float32)}}, {"arch": "fusion", "eps": 1})
  content = file.read_bytes()
  for before, after in (
    (np.float32(1).tobytes(), np.float32(1.5).tobytes()),
    (b"params/weight", b"params/height"),
    (b'"eps":"1"', b'"eps":"2"'),
    (b'"F32"', b'"I32"'),
  ):
    changed = content.replace(before, after, 1)
    assert changed != content and len(changed) == len(content)
    file.write_bytes(changed)
    with pytest.raises(CheckpointError, match="is damaged"):
      load_weights(file)
    file.write_bytes(changed.replace(b'"sha256"', b'"sha255"'))
    load_weights(file)


def test_the_shipped_weights_carry_their_hash():
  from tdfusion_jax import fusers

  for name in ("f", "g", "fast"):
    file = fusers.shipped_weights().with_name(f"{name}.safetensors")
    size = int.from_bytes(file.read_bytes()[:8], "little")
    head = json.loads(file.read_bytes()[8 : 8 + size])
    assert len(head["__metadata__"]["sha256"]) == 64
    load_weights(file)


def test_many_misfits_and_strange_names_do_not_flood_the_terminal():
  loaded = {f"{i}\x1b[31m": np.zeros(1) for i in range(500)}
  with pytest.raises(CheckpointError) as error:
    match(loaded, {"a": np.zeros(1)}, "file")
  lines = str(error.value).splitlines()
  assert len(lines) == 62 and lines[-1] == "  and 441 more" and "\x1b" not in str(error.value)
  with pytest.raises(CheckpointError, match="does not fit the network: missing: a$"):
    match({}, {"a": np.zeros(1)}, "file")
