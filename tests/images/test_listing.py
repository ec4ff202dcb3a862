"""Names of files as different systems write them."""

import os
import unicodedata

import pytest

from tdfusion_jax.data.images import safe_stem
from tdfusion_jax.images.listing import list_files, list_images, list_pairs, passed_over
from tdfusion_jax.images.reading import ImageError


@pytest.mark.parametrize("name", ["café", "Ångström", "가", "ṩ"])
def test_composed_and_decomposed_accents_are_one_name(tmp_path, name):
  """Python's own tables say what either form is."""
  together, apart = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
  for side, form in (("ir", together), ("vi", apart)):
    (tmp_path / side).mkdir()
    (tmp_path / side / f"{form}.PNG").touch()
  assert together != apart
  ((stem, ir, vi),) = list_pairs(tmp_path / "ir", tmp_path / "vi")
  assert stem == unicodedata.normalize("NFC", name)
  assert ir.is_file() and vi.is_file() and ir.name != vi.name
  listed = safe_stem(f"{unicodedata.normalize('NFD', name)}.png", tmp_path)
  assert listed == stem and list_files(tmp_path / "vi").files[listed] == vi


def test_both_forms_in_one_folder_are_named(tmp_path):
  for name in ("\u00e9", "e\u0301"):
    (tmp_path / f"{name}.png").touch()
  with pytest.raises(ImageError, match="have the same name"):
    list_images(tmp_path)


def test_files_that_are_not_looked_at_are_counted_and_named(tmp_path):
  for name in ("ir/a.png", "ir/b.png", "vi/a.png", "vi/b.gif", "vi/c.heic", "vi/.hidden"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
  (tmp_path / "vi/folder.png").mkdir()
  (tmp_path / "vi/lost.png").symlink_to(tmp_path / "nowhere")
  os.mkfifo(tmp_path / "vi/pipe.png")
  (line,) = passed_over(tmp_path / "ir", tmp_path / "vi", tmp_path / "vi", tmp_path / "ir/a.png")
  assert line == (
    f"{tmp_path / 'vi'}: 4 not looked at (1 .gif, 1 .heic, 1 broken link, 1 pipe, socket or device)"
  )
  with pytest.raises(ImageError, match="b.gif is not of a kind that is read"):
    list_pairs(tmp_path / "ir", tmp_path / "vi")


@pytest.mark.parametrize("ending", ["jp2", "pgm", "avif", "jfif", "TIFF"])
def test_every_kind_that_is_read_is_listed(ending, tmp_path):
  (tmp_path / f"a.{ending}").write_bytes(b"")
  assert list(list_files(tmp_path).files) == ["a"]
