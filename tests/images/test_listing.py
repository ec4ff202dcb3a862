"""Names of files as different systems write them."""

import unicodedata

import pytest

from tdfusion_jax.data.images import safe_stem
from tdfusion_jax.images.listing import list_files, list_images, list_pairs
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
