"""The command that fuses: what it writes, says and answers."""

import numpy as np
import pytest
from helpers import real_data
from mean_pairs import folders
from random_fusion import random_params

from tdfusion_jax import cli
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.weightfiles import save_weights


@pytest.fixture
def weights(tmp_path):
  """F with random weights, as a training exports it."""
  save_weights(
    tmp_path / "run" / "weights" / "f.safetensors", {"params": random_params()}, {"arch": "fusion"}
  )
  return tmp_path / "run"


def test_the_command_fuses_reports_and_exits(tmp_path, weights, capsys):
  ir, vi, out = folders(tmp_path, {"a": (16, 24), "b": (16, 24)})
  command = [
    "fuse",
    "--ir",
    str(ir),
    "--vi",
    str(vi),
    "--out",
    str(out),
    "--checkpoint",
    str(weights),
  ]
  assert cli.main(command) == 0
  assert read_image(out / "a.png").shape == (16, 24, 3) and "2 written" in capsys.readouterr().out
  (ir / "a.png").write_bytes(b"broken")
  assert cli.main(command) == 1
  assert "a.png: cannot be read" in capsys.readouterr().err
  (ir / "a.png").unlink()
  assert cli.main(command) == 2
  assert "has no partner" in capsys.readouterr().err
  assert cli.main([*command[:-1], str(tmp_path / "nowhere")]) == 2
  assert "is not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "fuse"])
def test_every_verb_has_help_with_an_example(verb, capsys):
  with pytest.raises(SystemExit) as end:
    cli.main([verb, "--help"])
  assert end.value.code == 0 and f"example: tdfusion {verb}" in capsys.readouterr().out


@pytest.mark.slow  # F on a real pair of full size
def test_real_colour_pairs_fuse_in_colour(tmp_path, weights):
  folder = real_data() / "RoadScene"
  for side in ("ir", "vi"):
    (tmp_path / side).mkdir()
    first = sorted((folder / side).iterdir())[0]
    (tmp_path / side / first.name).write_bytes(first.read_bytes())
  command = [
    "fuse",
    "--ir",
    str(tmp_path / "ir"),
    "--vi",
    str(tmp_path / "vi"),
    "--out",
    str(tmp_path / "out"),
  ]
  assert cli.main([*command, "--checkpoint", str(weights)]) == 0
  (out,) = (tmp_path / "out").iterdir()
  fused, visible = read_image(out), read_image(next((tmp_path / "vi").iterdir()))
  assert fused.shape == visible.shape and np.ptp(fused, axis=-1).mean() > 0.01
