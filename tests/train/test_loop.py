"""Runs: what they leave behind, and what they refuse."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from label_free import config
from runs import rows

from tdfusion_jax.config import ConfigError
from tdfusion_jax.train.loop import DivergedError, train
from tdfusion_jax.weightfiles import CheckpointError

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_leaves_what_it_promises(finished):
  folders = {"checkpoints", "pictures", "tensorboard", "weights", "weights_best"}
  files = {"config.json", "curves.png", "metrics.jsonl", "versions.json"}
  assert {p.name for p in finished.iterdir()} == folders | files
  sheets = sorted(p.name for p in (finished / "pictures").iterdir())
  assert sheets == ["epoch_000.png", "epoch_001.png", "epoch_002.png"]
  lines = rows(finished)
  assert [r["step"] for r in lines if r["phase"] == "ft"] == list(range(3, 11))
  assert len([r for r in lines if r["phase"] == "val"]) == 3
  assert all(np.isfinite(v) for r in lines for v in r.values() if isinstance(v, float))
  losses = [r["val/fusion_loss"] for r in lines if r["phase"] == "val"]
  assert 0 < losses[-1] < losses[0]
  assert json.loads((finished / "config.json").read_text())["data"]["task_size"] == [32, 32]
  assert json.loads((finished / "versions.json").read_text())["jax"]


def test_a_finished_run_has_nothing_left_to_do(finished):
  before = (finished / "metrics.jsonl").read_bytes()
  train(config(), finished)
  assert (finished / "metrics.jsonl").read_bytes() == before


def test_another_config_in_the_same_folder_is_an_error_naming_the_field(finished):
  with pytest.raises(ConfigError, match=r"optim\.f\.learning_rate: 0\.001 there, 0\.5 now"):
    train(config(**{"optim.f.learning_rate": 0.5}), finished)


def test_a_field_that_is_newer_than_the_run_had_its_default(finished, tmp_path):
  from tdfusion_jax.train.build import config_to_json
  from tdfusion_jax.train.runfolder import require_same

  written = json.loads((finished / "config.json").read_text())
  del written["meta"]["anchor"]
  (tmp_path / "config.json").write_text(json.dumps(written))
  require_same(config_to_json(config()), tmp_path)
  with pytest.raises(ConfigError, match=r"meta\.anchor: 0\.0 there, 0\.2 now"):
    require_same(config_to_json(config(**{"meta.anchor": 0.2})), tmp_path)


BAD_LINES = [
  b"not json",
  b"[1, 2]",
  b"\xff\xfe",
  b"{}",
  b'{"step": "3", "phase": "ft"}',
  b'{"step": 3, "phase": "ft", "task_loss": {}}',
  b'{"step": 3, "phase": "ft", "task_loss": "low"}',
  b'{"step": 3, "phase": "ft", "task_loss": ' + b"9" * 400 + b"}",
  b"[" * 5000,
]


@pytest.mark.parametrize("bad", BAD_LINES)
def test_one_bad_metric_line_costs_no_other(finished, tmp_path, caplog, bad):
  from tdfusion_jax.train.runfolder import read_metrics

  shutil.copytree(finished, tmp_path / "run")
  file = tmp_path / "run" / "metrics.jsonl"
  lines = file.read_bytes().splitlines()
  file.write_bytes(b"\n".join([*lines[:3], bad, *lines[3:]]) + b"\n")
  assert len(read_metrics(file)) == len(lines)
  assert "1 lines cannot be read" in caplog.text
  train(config(), tmp_path / "run")
  assert file.read_bytes().splitlines() == lines
  assert (tmp_path / "run" / "metrics.damaged").read_bytes() == bad + b"\n"


@pytest.mark.parametrize("text", [b"[1]", b"\xff", b"{", b"[" * 5000, b"3"])
def test_a_config_file_that_is_none_is_one_line(tmp_path, text):
  (tmp_path / "config.json").write_bytes(text)
  with pytest.raises(ConfigError, match=r"config\.json"):
    train(config(), tmp_path)


@pytest.mark.parametrize("workdir", ["", " "])
def test_an_empty_workdir_is_not_the_current_folder(tmp_path, monkeypatch, workdir):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError, match="--workdir is empty"):
    train(config(), workdir)
  assert not list(tmp_path.iterdir())


def test_a_run_that_goes_on_compiles_no_step_again(tmp_path, monkeypatch):
  """What is restored lies on its device as what is fresh does; else XLA compiles once more."""
  from tdfusion_jax.train.runfolder import RunFolder

  monkeypatch.setattr(RunFolder, "has_validation", lambda *_: True)
  before = jax.config.jax_persistent_cache_min_compile_time_secs
  folder = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  compilation_cache.reset_cache()
  try:
    cache = tmp_path / "cache"
    train(config(**{"train.compile_cache": str(cache), "train.epochs": 1}), tmp_path / "run")
    first = {p.name for p in cache.iterdir() if "step" in p.name}
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    train(config(**{"train.compile_cache": str(cache), "train.epochs": 1}), tmp_path / "run")
    assert first and {p.name for p in cache.iterdir() if "step" in p.name} == first
  finally:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def test_no_checkpoint_is_kept_of_what_is_not_finite(tmp_path):
  """A rate of 1e38 makes the first update infinite; no line is due before the checkpoint."""
  with pytest.raises(DivergedError, match="f_update_norm"):
    train(
      config(**{"optim.f.learning_rate": 1e38, "log.every": 50, "log.validate_every": 0}),
      tmp_path,
    )
  assert not [p for p in tmp_path.glob("checkpoints/*") if p.name.isdecimal()]


def test_a_run_folder_is_for_one_process(tmp_path):
  from tdfusion_jax.train.runfolder import RunFolder

  first = RunFolder(tmp_path, {"a": 1})
  with pytest.raises(ConfigError, match="is being trained by another process"):
    RunFolder(tmp_path, {"a": 1})
  first.close()
  RunFolder(tmp_path, {"a": 1}).close()


def test_a_mistyped_weight_file_leaves_no_mark(tmp_path):
  with pytest.raises(CheckpointError, match="no such file"):
    train(config(**{"init.f": str(tmp_path / "nope")}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_diverging_run_names_the_quantity(tmp_path):
  with pytest.raises(
    DivergedError, match=r"step \d+ \((pretrain|ft)\): .*f_update_norm.* not finite"
  ):
    train(config(**{"optim.f.rule": "sgd", "optim.f.learning_rate": 1e38}), tmp_path)


@pytest.mark.parametrize(
  ("arguments", "named"),
  [
    (
      ["--config=configs/synthetic_det.py", "--workdir=unused", "--config.data.name=llvipp"],
      "llvipp",
    ),
    (["--config=configs/synthetic_det.py", "--workdir=unused", "--config.data.nmae=llvip"], "nmae"),
    (["--config=configs/synthetic_det.py:bogus", "--workdir=unused"], "bogus"),
    (["--config=configs/none.py", "--workdir=unused"], "none.py"),
    (["--config=configs/synthetic_det.py"], "workdir"),
    (
      ["--config=configs/llvip_det.py", "--workdir=unused", "--config.data.root=nowhere"],
      "nowhere",
    ),
  ],
)
def test_a_wrong_command_ends_in_one_line_that_names_it(arguments, named, tmp_path):
  arguments = [a.replace("=unused", f"={tmp_path / 'run'}") for a in arguments]
  wrong = [sys.executable, "-m", "tdfusion_jax.main", *arguments]
  done = subprocess.run(
    wrong, env={**os.environ, "JAX_PLATFORMS": "cpu"}, cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
  assert "error:" in done.stderr and named in done.stderr
