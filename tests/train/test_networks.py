"""Networks of the user's own in the places of F and G, from training to files."""

import json
import shutil

import half
import jax
import jax.numpy as jnp
import numpy as np
import pixel_task
import pytest
from flax.traverse_util import flatten_dict
from runs import TINY, rows

from configs import load
from tdfusion_jax import cli, fusers
from tdfusion_jax.batch import LUMA
from tdfusion_jax.config import ConfigError
from tdfusion_jax.evaluate.stage import run_task_stage
from tdfusion_jax.files import UsageError
from tdfusion_jax.fusers import own
from tdfusion_jax.fusing.arrays import make_fuse_fn
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.writing import write_image
from tdfusion_jax.train import build
from tdfusion_jax.train.loop import train
from tdfusion_jax.weightfiles import CheckpointError, load_weights

OWN = {
  "fusion.network": "half:fuser",
  "loss.network": "half:weigher",
  "task.kind": "pixel_task:pixel_task",
}

NOTHING = {"train.epochs": 0, "train.pretrain_steps": 0, "log.validate_every": 0}
ONE_STEP = {
  "data.train_options.count": 4,
  "meta.pairs": 2,
  "meta.steps": 1,
  "train.epochs": 1,
  "train.pretrain_steps": 0,
  "log.validate_every": 0,
}


def config(options="", **changes):
  made = load("synthetic_seg", options)
  made.update_from_flattened_dict({**TINY, **OWN, "data.flip": False, **changes})
  with made.unlocked():
    if made.fusion.network:
      made.fusion.options.width = 6
    made.task.options = {}
  return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quick):
  run = tmp_path_factory.mktemp("own") / "run"
  start = build.experiment(config()).init()
  state = train(config(), run)
  for before, after in ((start.params.f, state.params.f), (start.params.g, state.params.g)):
    moved = jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 0), before, after)
    assert all(jax.tree.leaves(moved))
  return run


def test_g_and_f_learn_by_the_meta_step(finished):
  """Every array of both has moved, see `finished`; all of Algorithm 1's phases were there."""
  assert {row["phase"] for row in rows(finished)} == {"pretrain", "g", "ft", "val"}
  taught = [row["g_grad_norm"] for row in rows(finished) if row["phase"] == "g"]
  assert len(taught) == 6 and min(taught) > 0
  f, about = load_weights(finished / "weights" / "f.safetensors")
  assert f["params"]["down"]["kernel"].shape == (3, 3, 2, 6)
  assert about["arch"] == "half" and about["network"] == "half:fuser"
  assert about["network_options"] == {"width": 6}
  assert load_weights(finished / "weights" / "g.safetensors")[1]["network"] == "half:weigher"


def test_a_stopped_run_goes_on_as_if_unbroken(finished, tmp_path, monkeypatch):
  from tdfusion_jax.train.runfolder import RunFolder

  write = RunFolder.write

  def stop(self, row):
    write(self, row)
    if row["step"] == 9:
      raise RuntimeError("power cut")

  monkeypatch.setattr(RunFolder, "write", stop)
  with pytest.raises(RuntimeError, match="power cut"):
    train(config(), tmp_path)
  monkeypatch.undo()
  train(config(), tmp_path)
  assert rows(tmp_path) == rows(finished)
  for name in ("f", "g", "t"):
    file = f"weights/{name}.safetensors"
    ours, theirs = (flatten_dict(load_weights(run / file)[0]) for run in (tmp_path, finished))
    assert ours.keys() == theirs.keys() and len(ours) >= 2
    for path, value in ours.items():
      np.testing.assert_array_equal(value, theirs[path], err_msg=str(path))


@pytest.mark.parametrize(
  ("changes", "field"),
  [({"fusion.network": ""}, "fusion.network"), ({"loss.network": ""}, "loss.network")],
)
def test_a_run_folder_refuses_another_network(finished, changes, field):
  with pytest.raises(ConfigError, match=rf"{field}: 'half:\w+' there, '' now"):
    train(config(**changes), finished)


def test_its_run_and_its_weights(finished):
  """Expected: the network's own function of the weights in the file."""
  fuser, params = fusers.load_fusion(run=finished)
  assert fuser.name == "half" and not fusers.is_f(fuser)
  file = finished / "weights" / "f.safetensors"
  rng = np.random.default_rng(0)
  ir, vi = (rng.random((1, 7, 9, 1), np.float32) for _ in range(2))
  expected = half.fuser(6).fuse(load_weights(file)[0]["params"], ir, vi)
  assert np.ptp(expected) > 0.1
  np.testing.assert_allclose(make_fuse_fn(fuser, params)(ir, vi), expected, atol=1e-6)
  for network in ("half:fuser", half.fuser(6)):
    again = fusers.load_fusion(weights=file, network=network)
    np.testing.assert_allclose(make_fuse_fn(*again)(ir, vi), expected, atol=1e-6)


def test_a_weight_file_alone_has_no_code_imported(finished, tmp_path, monkeypatch):
  """Nor a copied folder without a config: the file notes a factory, and that must not be enough."""
  monkeypatch.setattr(own, "made_by", lambda *_, **__: pytest.fail("code was run"))
  monkeypatch.setattr(own, "plugin", lambda *_, **__: pytest.fail("code was imported"))
  (tmp_path / "weights").mkdir()
  file = tmp_path / "weights" / "f.safetensors"
  shutil.copy(finished / "weights" / "f.safetensors", file)
  for which in ({"weights": file}, {"run": tmp_path}):
    with pytest.raises(CheckpointError, match=r"(?s)alone.*--run RUN.*--network half:fuser"):
      fusers.load_fusion(**which)


@pytest.fixture
def pairs(tmp_path):
  """Arguments for two pairs of colour, and a folder to write to."""
  rng = np.random.default_rng(0)
  for side in ("ir", "vi"):
    for name in ("a", "b"):
      write_image(tmp_path / side / f"{name}.png", rng.random((10, 14, 3), np.float32))
  return [f"--ir={tmp_path / 'ir'}", f"--vi={tmp_path / 'vi'}"], tmp_path


def test_its_run_fuses_a_folder(finished, pairs, capsys):
  """Expected: `make_fuse_fn`, to 8 bits."""
  sides, folder = pairs
  command = ["fuse", *sides, f"--out={folder / 'out'}", "--cache=", "--no-check"]
  assert cli.main([*command, f"--run={finished}"]) == 0
  a, b = (read_image(folder / side / "b.png") for side in ("ir", "vi"))
  expected = make_fuse_fn(*fusers.load_fusion(run=finished))(a[None], b[None])[0]
  np.testing.assert_allclose(read_image(folder / "out" / "b.png"), expected, atol=0.51 / 255)
  weights = f"--weights={finished / 'weights' / 'f.safetensors'}"
  capsys.readouterr()
  assert cli.main([*command, weights]) == 2
  assert "--network half:fuser" in capsys.readouterr().err
  (folder / "out" / "b.png").unlink()
  assert cli.main([*command, weights, "--network=half:fuser", "--batch=2"]) == 0
  np.testing.assert_allclose(read_image(folder / "out" / "b.png"), expected, atol=0.51 / 255)


def test_its_run_makes_a_video_is_measured_and_shown(finished, pairs, capsys):
  pytest.importorskip("av")
  sides, folder = pairs
  run = f"--run={finished}"
  assert cli.main(["video", *sides, f"--out={folder / 'out.mp4'}", "--cache=", run]) == 0
  assert "2 frames written" in capsys.readouterr().out
  weights = f"--weights=file={finished / 'weights' / 'f.safetensors'}"
  network = "--network=half:fuser"
  assert cli.main(["evaluate", *sides, run, weights, network, "--metrics=EN"]) == 0
  *_, of_run, of_file = capsys.readouterr().out.splitlines()
  assert of_run.startswith("| run |") and of_file == of_run.replace("run", "file")
  assert cli.main(["report", str(finished), "--pairs=1", f"--out={folder / 'page.html'}"]) == 0
  assert "run: fused" in (folder / "page.html").read_text()


def test_its_run_is_exported(finished, tmp_path, capsys):
  """That its numbers are right is in tests/test_export.py."""
  assert cli.main(["export", f"--out={tmp_path}", f"--run={finished}"]) == 0
  names = sorted(p.name for p in tmp_path.iterdir())
  assert names == ["fusion.stablehlo", "fusion.stablehlo.json"]
  assert cli.main(["export", f"--out={tmp_path}", f"--run={finished}", "--format=onnx"]) == 2
  assert "ONNX is for F and the fast network alone" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("option", "message"),
  [
    ("--stream-from=1", "how far a pixel reaches in half is not known. Drop --stream-from"),
    ("--backend=onnx", "--backend jax computes half too"),
  ],
)
def test_what_needs_f_is_refused_with_the_reason(finished, pairs, capsys, option, message):
  sides, folder = pairs
  command = ["fuse", *sides, f"--out={folder / 'out'}", "--cache=", f"--run={finished}", option]
  assert cli.main(command) == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  ("network", "message"),
  [
    ("os:system", "annotate what it returns: def system"),
    ("half:unannotated", r"def unannotated\(\.\.\.\) -> .*Fuser"),
    ("half:another", "a fusers.Fuser is needed, not Weigher"),
    ("half:weigher", "annotate what it returns"),
    ("half:Fuse", "half has no Fuse. Is it fuser"),
    ("no_such_module:fuser", "there is no module no_such_module"),
    ("half", "write package.module:factory"),
  ],
)
def test_what_is_no_factory_of_networks(finished, tmp_path, network, message):
  """Also where a run folder names it, which may be from elsewhere: no other function is called."""
  with pytest.raises(UsageError, match=message):
    build.experiment(config(**{"fusion.network": network}))
  shutil.copytree(finished, tmp_path / "run")
  said = json.loads((tmp_path / "run" / "config.json").read_text())
  said["fusion"]["network"] = network
  (tmp_path / "run" / "config.json").write_text(json.dumps(said))
  if network != "half":
    with pytest.raises(UsageError, match=message):
      fusers.load_fusion(run=tmp_path / "run")


@pytest.mark.parametrize(
  "text",
  [
    "[" * 100_000,
    "[1]",
    '{"fusion": []}',
    '{"fusion": {"network": 3}}',
    '{"fusion": {"network": "half:fuser", "options": [3]}}',
  ],
)
def test_a_config_that_names_no_network_is_one_line(finished, tmp_path, text):
  shutil.copytree(finished, tmp_path / "run")
  (tmp_path / "run" / "config.json").write_text(text)
  with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
    fusers.load_fusion(run=tmp_path / "run")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"fusion.network": "half:fuser", "loss.none": True, "meta.fuse_in_outer": True}, "loss.none"),
    ({"fusion.network": "half:with_statistics"}, "batch_stats beside its parameters"),
    ({"fusion.network": "half:with_two_channels"}, r"1, 16, 16, 1. is needed, not .1, 16, 16, 2"),
    ({"fusion.network": "half:with_a_name_of_ours"}, "average belongs to ablation V"),
    ({"fusion.variant": "fast", "fusion.network": "half:fuser"}, "fusion.variant='fast'.*choose"),
    ({"fusion.variant": "slow", "fusion.network": ""}, "fusion.variant='slow': one of paper, fast"),
    (
      {
        "fusion.variant": "fast",
        "fusion.network": "",
        "loss.none": True,
        "meta.fuse_in_outer": True,
      },
      "fusion.variant='fast': does not go with loss.none",
    ),
  ],
)
def test_settings_that_cannot_be(changes, message):
  made = config(**changes)
  if "with" in changes["fusion.network"]:
    made.fusion.options = {}
  with pytest.raises(UsageError, match=message):
    build.experiment(made).init()


def test_options_need_a_network():
  made = config(**{"fusion.network": ""})
  with made.unlocked():
    made.fusion.options = {"width": 3}
  with pytest.raises(ConfigError, match=r"config\.fusion\.options needs config\.fusion\.network"):
    build.experiment(made)


def test_networks_that_are_given_in_python(tmp_path):
  """The run notes their names and goes on with no other; a name alone cannot rebuild them."""
  plain = {"fusion.network": "", "loss.network": "", **NOTHING}
  given = {"fuser": half.fuser(3), "weigher": half.weigher(3)}
  state = train(config(**plain), tmp_path, **given)
  assert state.params.f["mix"]["kernel"].shape == (3, 3, 3, 1)
  train(config(**plain), tmp_path, **given)
  with pytest.raises(ConfigError, match="fusion.network: 'half' there, '' now"):
    train(config(**plain), tmp_path, weigher=given["weigher"])
  with pytest.raises(ConfigError, match="given in Python; choose one"):
    train(config(), tmp_path, **given)
  with pytest.raises(CheckpointError, match="given to train.. in Python"):
    fusers.load_fusion(run=tmp_path)
  fuser, params = fusers.load_fusion(run=tmp_path, network=given["fuser"])
  assert fuser is given["fuser"] and params["down"]["bias"].shape == (3,)


def test_the_task_stage_fuses_with_the_network_of_the_run(finished, tmp_path):
  """Expected: `make_fuse_fn` of the run on a validation pair, to 8 bits."""
  changes = {"task.kind": "pixel_task:pixel_task", "train.epochs": 1}
  made = pixel_task.config(**changes, **{"fused.run": str(finished)})
  with made.unlocked():
    made.task.options = {}
  run_task_stage(made, tmp_path / "run")
  sample = build.source(made, "val")[1]
  ir, vi = (
    image[None, ..., None].astype(np.float32) / 255 for image in (sample.ir, sample.vi @ LUMA)
  )
  expected = make_fuse_fn(*fusers.load_fusion(run=finished))(ir, vi)[0]
  kept = read_image(tmp_path / "run" / "fused" / "test" / f"{sample.name}.png")
  assert kept.std() > 0.01
  np.testing.assert_allclose(kept, expected, atol=0.51 / 255)


def test_the_fast_variant_learns_by_the_meta_step(tmp_path):
  """One step of each kind moves every array; the run and its weight file know their network."""
  made = config(**{"fusion.variant": "fast", "fusion.network": "", **ONE_STEP})
  start = build.experiment(made).init()
  state = train(made, tmp_path)
  moved = jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 0), start.params.f, state.params.f)
  assert all(jax.tree.leaves(moved))
  taught = [row["g_grad_norm"] for row in rows(tmp_path) if row["phase"] == "g"]
  assert len(taught) == 1 and taught[0] > 0
  for which in ({"run": tmp_path}, {"weights": tmp_path / "weights" / "f.safetensors"}):
    fuser, params = fusers.load_fusion(**which)
    assert fuser.name == "fast" and fuser.architecture == fusers.FAST_ARCHITECTURE
    jax.tree.map(np.testing.assert_array_equal, params, state.params.f)


def test_ablation_v_with_a_network_of_ones_own(tmp_path):
  """F averages by the network in G's place; expected: that average, by hand."""
  made = config("ablation=V", **{"fusion.network": "", **NOTHING})
  train(made, tmp_path)
  fuser, params = fusers.load_fusion(run=tmp_path)
  ir, vi = jnp.full((1, 5, 6, 1), 0.25), jnp.full((1, 5, 6, 1), 0.75)
  w_a = np.asarray(half.weigher().weigh(params, ir, vi))[..., :1]
  assert fuser.name == "average" and np.ptp(w_a) > 0
  np.testing.assert_allclose(fuser(params, ir, vi), w_a * ir + (1 - w_a) * vi, atol=1e-6)
