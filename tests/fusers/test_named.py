"""Weights by name: what each name stands for, and what a name that stands for nothing says."""

import shutil
from pathlib import Path

import pytest

from tdfusion_jax import cli, fusers, weightfiles
from tdfusion_jax.fusers import cards, named
from tdfusion_jax.fusers.listing import entries
from tdfusion_jax.weightfiles import CheckpointError


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  return tmp_path / "tdfusion_jax" / "weights"


def put_refusion(cache, source_sha256):
  variables, metadata = weightfiles.load_weights(fusers.shipped_weights())
  metadata["source_sha256"] = source_sha256
  weightfiles.save_weights(cache / "refusion.safetensors", variables, metadata)


def test_names_files_and_paths(cache):
  assert fusers.fusion_file() == fusers.fusion_file(weights="starter") == fusers.shipped_weights()
  assert fusers.fusion_file(weights="mine.safetensors") == Path("mine.safetensors")
  shutil.copy(fusers.shipped_weights(), "starter")  # a file called like a name
  assert fusers.fusion_file(weights="starter") == fusers.shipped_weights()
  assert fusers.fusion_file(weights="./starter") == Path("starter")
  assert fusers.fusion_file(weights=Path("starter")) == Path("starter")


def test_weights_that_may_not_ship_are_converted_once(cache):
  command = f"tdfusion convert ReFusion_IVIF.pth --out {cache / 'refusion.safetensors'}"
  with pytest.raises(CheckpointError, match="refusion: these weights have no stated licence") as no:
    fusers.load_fusion(weights="refusion")
  assert command in str(no.value)
  put_refusion(cache, "0" * 64)
  assert fusers.fusion_file(weights="refusion") == cache / "refusion.safetensors"


def test_a_name_that_is_none_lists_those_that_are(cache):
  with pytest.raises(CheckpointError, match="startre: .* starter, fast, refusion, hf:OWNER/NAME"):
    fusers.load_fusion(weights="startre")
  (cache.parent / "runs" / "weights").mkdir(parents=True)
  (cache.parent / "runs" / "weights" / "f.safetensors").write_bytes(b"")
  with pytest.raises(CheckpointError, match="it is a run folder: --run"):
    fusers.load_fusion(weights=cache.parent / "runs")


def test_without_a_home_the_remedy_is_named(monkeypatch):
  def no_home():
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.setattr(Path, "home", no_home)
  with pytest.raises(CheckpointError, match="refusion: Could not .* Set XDG_CACHE_HOME"):
    fusers.load_fusion(weights="refusion")
  assert fusers.fusion_file(weights="starter").is_file()


def test_scores_are_those_of_the_card(cache):
  """Expected: read off the card's rows of all first pairs."""
  card = fusers.shipped_card()
  (row,) = [line for line in card.splitlines() if line.startswith(f"| {named.PAIRS} |")]
  expected = [float(cell.strip(" *")) for cell in row.split("|")[3:-1]]
  scores = fusers.known_of("starter", {})["scores"]
  assert list(scores) == ["EN", "SF", "SCD", "VIF", "Qabf", "SSIM"]
  assert list(scores.values()) == expected
  assert cards.scores_of(card, "nobody", named.PAIRS) == cards.scores_of(card, "these", "no") == {}
  # Other weights under that name were never measured.
  assert "scores" not in fusers.known_of("refusion", {"source_sha256": "0" * 64})


def test_the_list_says_what_is_there_and_what_is_missing(cache, capsys):
  starter, fast, refusion = [entry for entry in entries() if not entry.name.startswith("hf:")]
  assert fast.parameters == 68_484 and fast.scores and not fast.remark
  assert starter.parameters == 59_856 and starter.licence == "Apache-2.0" and not starter.remark
  assert refusion.file is None and refusion.scores and "tdfusion convert" in refusion.remark
  put_refusion(cache, fusers.NAMES["refusion"].source_sha256)
  assert cli.main(["models"]) == 0
  shown = capsys.readouterr().out
  for entry in (starter, refusion):
    line = next(line for line in shown.splitlines() if line.startswith(f"{entry.name} "))
    assert entry.licence in line and "59,856" in line and "242" in line
    assert all(f"{score:g}" in line.split() for score in entry.scores.values())
  assert f"refusion: {cache / 'refusion.safetensors'}" in shown
  (cache / "refusion.safetensors").write_bytes(b"no weights")
  assert cli.main(["models"]) == 0
  (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("refusion:")]
  assert "refusion.safetensors" in line
