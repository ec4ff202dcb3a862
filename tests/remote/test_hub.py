"""Models of the hub, against a stand-in of its HTTP interface on this machine: there and back."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import hub_stand_in
import numpy as np
import pytest
import yaml
from flax.traverse_util import flatten_dict
from helpers import assert_same
from safetensors.numpy import load_file

import tdfusion_jax
from tdfusion_jax import cli, fusers
from tdfusion_jax.files import UsageError
from tdfusion_jax.images.writing import write_image
from tdfusion_jax.remote import hub
from tdfusion_jax.weightfiles import CheckpointError

huggingface_hub = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings(
  "ignore:Use .content=:DeprecationWarning"  # of its HTTP library, by huggingface_hub
)
RNG = np.random.default_rng(22)
FILES = {"model.safetensors", "config.json", "README.md"}


@pytest.fixture(scope="module")
def starter():
  return tdfusion_jax.FusionModel.from_pretrained("starter")


@pytest.fixture
def there(tmp_path, monkeypatch):
  """The hub, with a cache of its own and somebody logged in."""
  from huggingface_hub import constants

  with hub_stand_in.running() as server:
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub_stand_in.TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    huggingface_hub.close_session()
    yield server
    huggingface_hub.close_session()


@pytest.fixture
def pushed(there, starter):
  """The hub with me/night, whose commit is `there.commits["me/night"][0][0]`."""
  starter.push_to_hub("me/night")
  return there


def only(server, name="me/night"):
  ((oid, files),) = server.commits[name]
  return oid, files


def test_a_pushed_model_comes_back(there, starter):
  url = starter.push_to_hub("me/night")
  oid, files = only(there)
  assert url == f"{there.endpoint}/me/night/commit/{oid}" and set(files) == FILES
  # The hash, as the standard library computes it of what the hub holds.
  (large,) = there.large.values()
  noted = json.loads(files["config.json"])
  assert noted["weights"]["sha256"] == hashlib.sha256(large).hexdigest()
  assert noted["licence"] == "Apache-2.0" and noted["parameters"] == 59_856

  back = tdfusion_jax.FusionModel.from_pretrained("me/night")
  shipped = load_file(fusers.shipped_weights())  # by another reader
  found = flatten_dict(back.params, sep="/")
  assert found.keys() == {name.removeprefix("params/") for name in shipped}
  for name, array in found.items():
    np.testing.assert_array_equal(array, shipped[f"params/{name}"])
  assert back.metadata == starter.metadata
  ir, vi = RNG.random((2, 24, 30))
  fused = back(ir, vi)
  np.testing.assert_array_equal(fused, tdfusion_jax.fuse(ir, vi))
  assert np.ptp(fused) > 0.05


def test_the_card_goes_with_it(pushed):
  card = only(pushed)[1]["README.md"].decode()
  head = yaml.safe_load(card.split("---\n")[1])
  assert head["license"] == "apache-2.0" and head["library_name"] == "tdfusion_jax"
  assert fusers.shipped_card().strip() in card
  assert 'from_pretrained("me/night")' in card and "--weights hf:me/night`" in card
  back = tdfusion_jax.FusionModel.from_pretrained("hf:me/night")
  assert back.card == card
  back.push_to_hub("me/copy", licence="CC-BY-4.0")
  copy = only(pushed, "me/copy")[1]
  assert yaml.safe_load(copy["README.md"].decode().split("---\n")[1])["license"] == "cc-by-4.0"
  assert json.loads(copy["config.json"])["licence"] == "CC-BY-4.0"


def test_commands_take_the_name(pushed, tmp_path, capsys):
  """Expected: the bytes that --weights starter gives."""
  for side, channels in (("ir", 1), ("vi", 3)):
    write_image(tmp_path / f"{side}.png", RNG.random((20, 28, channels)).astype(np.float32))
  pair = ["--ir", str(tmp_path / "ir.png"), "--vi", str(tmp_path / "vi.png"), "--cache", ""]
  oid, _ = only(pushed)
  made = []
  for index, weights in enumerate(("starter", "hf:me/night", f"hf:me/night@{oid}")):
    out = tmp_path / f"{index}.png"
    assert cli.main(["fuse", *pair, "--out", str(out), "--weights", weights, "--no-check"]) == 0
    made.append(out.read_bytes())
  assert made[0] == made[1] == made[2]
  capsys.readouterr()
  assert cli.main(["models"]) == 0
  (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hf:me/n")][
    :1
  ]
  assert line.split()[:3] == ["hf:me/night", "Apache-2.0", "59,856"] and "16.13" in line


def test_what_is_in_the_cache_is_not_fetched_again(pushed):
  oid, _ = only(pushed)
  tdfusion_jax.FusionModel.from_pretrained("me/night", revision=oid)
  pushed.log.clear()
  tdfusion_jax.FusionModel.from_pretrained("me/night", revision=oid)
  assert pushed.log == []
  tdfusion_jax.FusionModel.from_pretrained("me/night")  # a branch may have moved: it is asked
  assert [line.split()[0] for line in pushed.log] == ["HEAD"]


def flipped(path, body):
  return bytes([*body[:-1], body[-1] ^ 1]) if path.startswith("/large/") else body


def test_a_damaged_download_is_refused(pushed):
  pushed.on_the_way = flipped
  with pytest.raises(CheckpointError, match="hf:me/night: fetched twice, .*is damaged: its sha256"):
    tdfusion_jax.FusionModel.from_pretrained("me/night")
  assert sum(line.startswith("GET /large/") for line in pushed.log) == 2
  with pytest.raises(CheckpointError, match="damaged"):  # nothing else reads it either
    fusers.load_fusion(weights="hf:me/night")


def test_what_was_damaged_once_is_fetched_anew(pushed, starter):
  left = [1]

  def once(path, body):
    return flipped(path, body) if path.startswith("/large/") and left and left.pop() else body

  pushed.on_the_way = once
  back = tdfusion_jax.FusionModel.from_pretrained("me/night")
  assert not left
  assert_same(back.params, starter.params)


def test_a_download_that_ends_early_is_refused(pushed):
  pushed.on_the_way = lambda path, body: body[:-9] if path.startswith("/large/") else body
  with pytest.raises(UsageError, match="hf:me/night: .*Start again"):
    tdfusion_jax.FusionModel.from_pretrained("me/night")


def test_weights_that_are_no_weights_are_refused(there):
  """A hash that fits says where a file comes from, not what is in it."""
  there.private["me/odd"] = False
  config = {"model_type": "tdfusion_jax", "weights": {"sha256": hashlib.sha256(b"no").hexdigest()}}
  files = {"config.json": json.dumps(config).encode(), "model.safetensors": b"no"}
  there.commit("me/odd", files)
  with pytest.raises(CheckpointError, match="model.safetensors"):
    tdfusion_jax.FusionModel.from_pretrained("me/odd")
  there.commit("me/odd", {"config.json": b'{"model_type": "bert"}'})
  with pytest.raises(CheckpointError, match="has no model.safetensors with its config.json"):
    tdfusion_jax.FusionModel.from_pretrained("me/odd")


def test_all_files_are_of_one_commit(pushed):
  """Somebody pushes other weights between the config and the weights: those of the first count."""
  oid, files = only(pushed)

  def meanwhile(path):
    if path.endswith("model.safetensors") and len(pushed.commits["me/night"]) == 1:
      pushed.commit("me/night", {"config.json": b"{}", "model.safetensors": b"others"})

  pushed.before = meanwhile
  file = fusers.fusion_file(weights="hf:me/night")
  assert file.parent.name == oid and len(pushed.commits["me/night"]) == 2
  expected = json.loads(files["config.json"])["weights"]["sha256"]
  assert hashlib.sha256(file.read_bytes()).hexdigest() == expected


@pytest.mark.parametrize(
  ("source", "message"),
  [
    ("hf:me/none", "hf:me/none: there is no such repository, or it is not for everybody: check"),
    ("me/none", "There is no folder me/none here either"),
    ("hf:me/night@v9", "hf:me/night@v9: there is no such revision: name a branch, a tag or a com"),
    ("hf:me/empty", "has no config.json: it is no repository that FusionModel.push_to_hub"),
    ("hf:night", r"hf:night: write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION\."),
    ("hf:me/night@", "write hf:OWNER/NAME"),
    ("hf:../night", "write hf:OWNER/NAME"),
  ],
)
def test_what_is_missing_is_named_with_the_remedy(pushed, source, message):
  pushed.private["me/empty"] = False
  pushed.commit("me/empty", {"weights.bin": b""})
  with pytest.raises(UsageError, match=message):
    tdfusion_jax.FusionModel.from_pretrained(source)


def test_a_revision_is_named_once(there):
  with pytest.raises(UsageError, match="name the revision once"):
    tdfusion_jax.FusionModel.from_pretrained("hf:me/night@v1", revision="v2")
  with pytest.raises(UsageError, match="starter is no repository of the hub, and has no revision"):
    tdfusion_jax.FusionModel.from_pretrained("starter", revision="v2")


def test_a_private_repository_needs_its_owner(there, starter, monkeypatch):
  starter.push_to_hub("me/secret", private=True)
  tdfusion_jax.FusionModel.from_pretrained("me/secret")
  monkeypatch.setenv("HF_TOKEN", "")
  with pytest.raises(UsageError, match="not for everybody: check the name, or log in"):
    fusers.fusion_file(weights="hf:me/secret@other")


@pytest.mark.parametrize(
  ("name", "token", "message"),
  [("me/night", "", "log in"), ("others/night", hub_stand_in.TOKEN, "choose another repository")],
)
def test_a_push_that_is_not_allowed_says_so(there, starter, monkeypatch, name, token, message):
  monkeypatch.setenv("HF_TOKEN", token)
  with pytest.raises(UsageError, match=f"hf:{name}: you may not push there: .*{message}"):
    starter.push_to_hub(name)
  assert there.large == {}


def test_weights_without_a_licence_go_into_private_repositories_alone(there, starter):
  bare = tdfusion_jax.FusionModel(starter.fuser, starter.params)
  with pytest.raises(UsageError, match="nothing states the terms of these weights"):
    bare.push_to_hub("me/bare")
  bare.metadata["licence"] = fusers.NAMES["refusion"].licence
  with pytest.raises(UsageError, match="nothing states the terms"):
    bare.push_to_hub("me/bare")
  assert there.commits == {}
  bare.push_to_hub("me/bare", private=True)
  assert there.private["me/bare"]
  starter.push_to_hub("me/open")
  with pytest.raises(UsageError, match="is there already and public"):
    bare.push_to_hub("me/open", private=True)
  assert len(there.commits["me/open"]) == 1


def test_a_hub_that_is_not_there(there, monkeypatch):
  from huggingface_hub.utils import _http

  monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
  monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
  with pytest.raises(UsageError, match="http://127.0.0.1:9 cannot be reached: check the network"):
    fusers.fusion_file(weights="hf:me/night")
  with pytest.raises(UsageError, match="nothing can be sent and http://127.0.0.1:9 cannot be"):
    hub.push("me/night", Path("."))


OFFLINE = """
from tdfusion_jax.fusers import pretrained
from tdfusion_jax.remote import hub
for name in ("me/night", "me/none", "me/night"):
  try:
    file = pretrained.fetched(hub.parse(name))
    print("found", file.name)
    file.resolve().write_bytes(b"damaged since")
  except Exception as error:
    print(type(error).__name__, error)
"""


def test_the_offline_setting_is_respected(pushed, tmp_path):
  """Real variables, in a process of its own; the hub hears nothing."""
  fusers.fusion_file(weights="hf:me/night")
  pushed.log.clear()
  settings = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
  how = {"env": os.environ | settings, "capture_output": True, "text": True, "check": True}
  ran = subprocess.run([sys.executable, "-c", OFFLINE], **how)
  found, missing, damaged = ran.stdout.splitlines()
  assert found == "found model.safetensors"
  assert missing.endswith(
    "hf:me/none: config.json is not in the cache and HF_HUB_OFFLINE is set: unset it for once."
  )
  assert damaged.startswith("DamagedError") and "its sha256 is" in damaged
  assert damaged.endswith("cannot be fetched anew and HF_HUB_OFFLINE is set: unset it for once.")
  assert pushed.log == []


def test_without_the_package_the_remedy_is_named(monkeypatch, capsys):
  for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(UsageError, match=r"pip install 'tdfusion-jax\[hub\]'"):
    fusers.fusion_file(weights="hf:me/night")
  assert cli.main(["models"]) == 0 and "starter" in capsys.readouterr().out
