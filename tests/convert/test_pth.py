"""The reader of PyTorch files: what it refuses.

That it reads real files is in tests/with_torch and test_goldens.
"""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from tdfusion_jax.convert.pth import WeightFileError, read_pth
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.convert.unpickle import Unpickler


class Payload:
  def __reduce__(self):
    return os.mkdir, ("ran",)


def archive(path, content: bytes):
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("x/data.pkl", content)
  return path


def test_code_in_a_weight_file_is_refused_by_name_and_does_not_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(WeightFileError, match=r"refused: the file asks for (posix|nt)\.mkdir"):
    read_pth(archive(tmp_path / "bad.pth", pickle.dumps({"w": Payload()})))
  assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
  ("content", "what"),
  [
    (b"", "it is empty"),
    (b"not a zip", "neither a zip archive nor a pickle"),
    (b"PK\x03\x04 truncated", "a zip archive without its end"),
    (b"\x80\x02}X\x01", "pickle data was truncated"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    (b"\n<!DOCTYPE html><html>", "a web page"),
    (b"\x89PNG\r\n\x1a\n", "neither a zip archive nor a pickle"),
    (b"\x80\x02\xff.", r"its pickle is damaged \(KeyError"),
  ],
)
def test_other_files_give_one_line_naming_the_file_and_what_it_is(tmp_path, content, what):
  (tmp_path / "w.pth").write_bytes(content)
  with pytest.raises(
    WeightFileError, match=rf"w\.pth is not a readable PyTorch weight file: .*{what}"
  ) as error:
    read_pth(tmp_path / "w.pth")
  assert "\n" not in str(error.value)


def test_a_pickle_without_tensors_is_no_state_dict(tmp_path):
  with pytest.raises(WeightFileError, match="does not hold a state_dict"):
    read_pth(archive(tmp_path / "w.pth", pickle.dumps({"epoch": 3})))


# Below: files that somebody built to do harm. Each must be refused, and leave nothing behind.


def reduce_of(module, name, argument, protocol=2):
  """A pickle that calls module.name(argument), written opcode by opcode."""
  text = argument.encode()
  call = b"X" + struct.pack("<I", len(text)) + text + b"\x85R."
  if protocol < 4:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + call
  short = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
  return b"\x80\x04" + short + b"\x93" + call


@pytest.mark.parametrize(
  ("module", "name"),
  [
    ("os", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("subprocess", "Popen"),
    ("torch.hub", "load"),
  ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_calls_are_refused_in_every_protocol_and_container(
  tmp_path, monkeypatch, module, name, protocol
):
  monkeypatch.chdir(tmp_path)
  content = reduce_of(module, name, "touch ran", protocol)
  archive(tmp_path / "zip.pth", content)
  (tmp_path / "old.pth").write_bytes(content)
  for file in ("zip.pth", "old.pth"):
    with pytest.raises(
      WeightFileError, match=f"refused: the file asks for {module}.{name} to be called"
    ):
      read_pth(tmp_path / file)
  assert sorted(p.name for p in tmp_path.iterdir()) == ["old.pth", "zip.pth"]


def test_a_path_out_of_the_archive_writes_nothing(tmp_path):
  """Nothing is ever unpacked to disk; the entry is no storage, so it is not even read."""
  inner = tmp_path / "inner"
  inner.mkdir()
  with zipfile.ZipFile(inner / "w.pth", "w") as file:
    file.writestr("x/data.pkl", pickle.dumps({"w": 1}))
    file.writestr("../../escaped", b"out")
    file.writestr("/tmp/escaped-too", b"out")
  with pytest.raises(WeightFileError, match="does not hold a state_dict"):
    read_pth(inner / "w.pth")
  assert [p.name for p in tmp_path.iterdir()] == ["inner"]


def test_a_storage_outside_its_folder_is_refused(tmp_path):
  pid = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
  pid += b"X\x05\x00\x00\x00../..X\x03\x00\x00\x00cpuK\x01tQ."
  with pytest.raises(WeightFileError, match="refused: an unknown kind of stored object"):
    read_pth(archive(tmp_path / "w.pth", b"\x80\x02" + pid))


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
  with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("x/data.pkl", bytes(50 << 20))
  assert (tmp_path / "bomb.pth").stat().st_size < 1 << 20
  with pytest.raises(WeightFileError, match="is compressed, which PyTorch never does; refused"):
    read_pth(tmp_path / "bomb.pth")


def tensor(size, stride, values=b"\0" * 4):
  """A file with one float tensor of the given size over `values`, and its pickle."""

  def pack(numbers):
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in numbers) + b"t"

  pid = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
  )
  made = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + pid
    + b"K\x00"
    + pack(size)
    + pack(stride)
    + b"\x89}tR"
  )
  return b"\x80\x02}X\x01\x00\x00\x00w" + made + b"s.", values


@pytest.mark.parametrize(
  ("size", "stride", "message"),
  [
    (
      (1 << 40, 1 << 20),
      (0, 0),
      "more than 4 GiB; refused",
    ),  # one number, repeated: a bomb of strides
    ((2,), (1,), "reaches beyond its 1 stored values"),
    ((1,), (-1,), "has no valid size"),
    ((1, 1), (1,), "has no valid size"),
  ],
)
def test_tensors_beyond_their_stored_values_are_refused(tmp_path, size, stride, message):
  content, values = tensor(size, stride)
  with zipfile.ZipFile(tmp_path / "w.pth", "w") as file:
    file.writestr("x/data.pkl", content)
    file.writestr("x/data/0", values)
  with pytest.raises(WeightFileError, match=message):
    read_pth(tmp_path / "w.pth")


def test_one_number_repeated_is_no_way_around_the_size_of_a_file(tmp_path):
  content, values = tensor((1 << 15, 1 << 13), (0, 0))  # 1 GiB, of a few hundred bytes
  with zipfile.ZipFile(tmp_path / "w.pth", "w") as file:
    file.writestr("x/data.pkl", content)
    file.writestr("x/data/0", values)
  with pytest.raises(
    WeightFileError, match="tensors of 1073741824 bytes, far more than the file itself; refused"
  ):
    read_pth(tmp_path / "w.pth")


@pytest.mark.parametrize(
  "container",
  [
    b"}%bK\x01s.",
    b"}(%bK\x01u.",
    b"(%bK\x01d.",
    b"\x8f(%b\x90.",
    b"(%b\x91.",
    b"c__builtin__\nset\n]%ba\x85R.",
  ],
  ids=["setitem", "setitems", "dict", "additems", "frozenset", "set"],
)
def test_keys_that_would_take_forever_to_hash_are_refused(tmp_path, container):
  """x = (); 60 times x = (x, x): 2^60 leaves. Nested in depth, they would end the process."""
  shared = b")" + b"2\x86" * 60
  with pytest.raises(WeightFileError, match="refused: nested tuples as a key"):
    read_pth(archive(tmp_path / "w.pth", b"\x80\x04" + container.replace(b"%b", shared)))


@pytest.mark.parametrize("protocol", range(6))
def test_keys_and_sets_of_plain_values_are_read(protocol):
  """What checkpoints hold beside their tensors: hyper-parameters, sets of names, pairs as keys."""
  about = {
    "betas": {(1, 2): {"a"}, 3: frozenset({("b", 4)})},
    5: {6, 7},
    "nested": ((1, (2, 3)), [None, 0.5]),
  }
  assert Unpickler(io.BytesIO(pickle.dumps(about, protocol))).load() == about


def test_a_file_cannot_give_attributes_to_our_functions(tmp_path):
  from tdfusion_jax.convert import unpickle

  content = b"\x80\x02ctorch._utils\n_rebuild_parameter\n}X\x03\x00\x00\x00fooK\x01sb."
  with pytest.raises(WeightFileError, match="refused: state for what has none"):
    read_pth(archive(tmp_path / "w.pth", content))
  assert not hasattr(unpickle._rebuild_parameter, "foo")


@pytest.mark.parametrize("count", [2, 1 << 60])
def test_a_block_beyond_the_end_of_an_old_file_is_refused_before_it_is_read(tmp_path, count):
  pid = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x08"
  )
  made = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + pid
    + struct.pack("<q", count)
    + b"NtQK\x00(K\x01t(K\x01t\x89}tR"
  )
  content = b"".join(
    pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
  )
  content += (
    b"\x80\x02}X\x01\x00\x00\x00w"
    + made
    + b"s."
    + pickle.dumps(["0"], 2)
    + struct.pack("<q", count)
  )
  (tmp_path / "w.pth").write_bytes(content + bytes(4))
  with pytest.raises(WeightFileError, match="cut short: stored block 0 reaches beyond the end"):
    read_pth(tmp_path / "w.pth")


def test_modules_nested_in_a_circle_are_refused(tmp_path):
  """module._modules["a"] = module, through the pickle's memo."""
  modules = b"}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00ssb."
  with pytest.raises(WeightFileError, match="more than 100000 modules; refused"):
    read_pth(archive(tmp_path / "w.pth", b"\x80\x02cfoo\nModule\n)\x81q\x00" + modules))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_one_line(tmp_path, keep):
  write_pth(tmp_path / "w.pth", {"w": np.ones((100, 100), np.float32)})
  whole = (tmp_path / "w.pth").read_bytes()
  assert read_pth(tmp_path / "w.pth")["w"].sum() == 10_000
  (tmp_path / "w.pth").write_bytes(whole[: int(len(whole) * keep)])
  with pytest.raises(
    WeightFileError, match=r"w\.pth is not a readable PyTorch weight file"
  ) as error:
    read_pth(tmp_path / "w.pth")
  assert "\n" not in str(error.value)
