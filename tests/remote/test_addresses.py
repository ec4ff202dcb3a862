"""Addresses: what they name, attempts, and that what is stored is there whole or not at all."""

import pickle

import pytest

from tdfusion_jax.remote import addresses
from tdfusion_jax.remote.addresses import Address, RemoteError, is_address

pytest.importorskip("fsspec")


@pytest.fixture
def memory(monkeypatch):
  """A file system in memory that fails as often as a test says, and how long was waited."""
  import fsspec

  system = fsspec.filesystem("memory")
  system.store.clear()
  system.pseudo_dirs[:] = [""]
  waits = []
  monkeypatch.setattr(addresses.time, "sleep", waits.append)
  yield system, waits
  system.store.clear()


def failing(monkeypatch, system, name, times, error):
  whole, left = getattr(system, name), [times]

  def work(*arguments, **options):
    if left[0]:
      left[0] -= 1
      raise error
    return whole(*arguments, **options)

  monkeypatch.setattr(system, name, work)


def test_the_parts_of_an_address():
  file = Address("s3://bucket/some/") / "a.b.png"
  assert (str(file), file.name, file.stem, file.suffix) == (
    "s3://bucket/some/a.b.png",
    "a.b.png",
    "a.b",
    ".png",
  )
  assert file.parent == Address("s3://bucket/some") and file == pickle.loads(pickle.dumps(file))
  assert is_address("gs://b") and not is_address("photos/ir") and not is_address("C:\\photos")
  with pytest.raises(RemoteError, match="PROTOCOL://PLACE"):
    Address("zip://a::s3://b/c.zip")


def test_what_is_stored_comes_back(memory, tmp_path):
  file = Address("memory://box/in/a.bin")
  file.store(b"first")
  file.store(b"second")
  (Address("memory://box/in") / "sub" / "b").store(b"")
  assert Address("memory://box/in").names() == {"a.bin": True, "sub": False}
  assert Address("memory://nowhere").names() == {}
  file.fetch(tmp_path / "a")
  assert (tmp_path / "a").read_bytes() == b"second"
  with pytest.raises(RemoteError, match="memory://box/none does not exist"):
    Address("memory://box/none").fetch(tmp_path / "b")


def test_what_fails_for_the_moment_is_tried_again_after_longer_pauses(
  memory, monkeypatch, tmp_path
):
  system, waits = memory
  file = Address("memory://box/a")
  failing(monkeypatch, system, "pipe_file", 4, ConnectionResetError("reset"))
  file.store(b"whole")
  assert system.cat_file("/box/a") == b"whole" and len(waits) == 4
  for attempt, wait in enumerate(waits):  # doubled each time, between half of it and all of it
    assert 0.125 * 2**attempt <= wait <= 0.25 * 2**attempt
  failing(monkeypatch, system, "cat_file", 99, TimeoutError("slow"))
  with pytest.raises(RemoteError, match=r"memory://box/a: slow \(7 attempts\)"):
    file.fetch(tmp_path / "a")
  assert not (tmp_path / "a").exists()


def test_what_lasts_is_not_tried_again(memory, monkeypatch):
  system, waits = memory
  failing(monkeypatch, system, "ls", 1, PermissionError("access denied"))
  with pytest.raises(RemoteError, match="memory://box: access denied"):
    Address("memory://box").names()
  assert waits == []


def test_a_file_larger_than_any_image_is_not_fetched(memory, monkeypatch, tmp_path):
  Address("memory://box/a").store(b"12345")
  monkeypatch.setattr(addresses, "LARGEST", 4)
  with pytest.raises(RemoteError, match="more than any image that is read"):
    Address("memory://box/a").fetch(tmp_path / "a")


def test_where_a_write_may_be_seen_half_done_it_is_renamed(tmp_path, monkeypatch):
  file = Address(f"file://{tmp_path}/new/a.png")
  file.store(b"first")
  assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
  monkeypatch.setattr(addresses.time, "sleep", lambda seconds: None)
  failing(monkeypatch, addresses._system("file"), "mv", 99, OSError("gone"))
  with pytest.raises(RemoteError, match="gone"):
    file.store(b"second")
  assert (tmp_path / "new" / "a.png").read_bytes() == b"first"


def test_a_protocol_without_its_package_names_the_remedy():
  with pytest.raises(RemoteError, match="nothing://"):
    Address("nothing://a").names()
