"""The reader of PyTorch files: what it refuses. (That it reads real files is in tests/with_torch and test_goldens.)"""

import os
import pickle
import zipfile

import pytest

from tdfusion_jax.convert.pth import WeightFileError, read_pth


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


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 truncated"])
def test_other_files_give_one_line_naming_the_file(tmp_path, content):
  (tmp_path / "w.pth").write_bytes(content)
  with pytest.raises(WeightFileError, match=r"w\.pth is not a readable PyTorch weight file"):
    read_pth(tmp_path / "w.pth")


def test_a_pickle_without_tensors_is_no_state_dict(tmp_path):
  with pytest.raises(WeightFileError, match="does not hold a state_dict"):
    read_pth(archive(tmp_path / "w.pth", pickle.dumps({"epoch": 3})))
