"""Exported files equal F, in processes without this package, at odd sizes and two batch sizes."""

import json
import subprocess
import sys
from pathlib import Path

import half
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from random_fusion import random_params

from tdfusion_jax import cli, export, fusers
from tdfusion_jax.fusing import arrays
from tdfusion_jax.images.reading import read_image
from tdfusion_jax.images.writing import write_image
from tdfusion_jax.weightfiles import save_weights

TOOLS = Path(__file__).resolve().parent.parent / "tools"
SIZES = [(1, 33, 47), (2, 31, 5)]
RUN = """
import runpy, sys
sys.modules["tdfusion_jax"] = None  # importing it fails
import numpy as np
loader = runpy.run_path(sys.argv[1])
model = loader["load"](sys.argv[2])
data = np.load(sys.argv[3])
pairs = [name[2:] for name in data if name[:2] == "ir"]
np.savez(sys.argv[4], **{k: model(data["ir" + k], data["vi" + k]) for k in pairs})
"""


@pytest.fixture(scope="module")
def params():
  return random_params()


@pytest.fixture(scope="module")
def exported(params, tmp_path_factory):
  """A folder with both files, made by the command."""
  pytest.importorskip("onnxruntime")
  folder = tmp_path_factory.mktemp("exported")
  patch = pytest.MonkeyPatch()
  patch.setattr(export, "_CHECKED", ((2, 15, 17),))  # each size compiles twice; here one will do
  save_weights(folder / "f.safetensors", {"params": params}, {"arch": "fusion"})
  assert cli.main(["export", "--out", str(folder), "--weights", str(folder / "f.safetensors")]) == 0
  patch.undo()
  return folder


def run_elsewhere(exported, tmp_path, kind, sizes):
  rng = np.random.default_rng(1)
  pairs = {str(i): rng.random((2, *size, 1), np.float32) for i, size in enumerate(sizes)}
  np.savez(
    tmp_path / "in.npz",
    **{side + k: v[j] for k, v in pairs.items() for j, side in enumerate(("ir", "vi"))},
  )
  files = [
    TOOLS / f"load_{kind}.py",
    exported / f"fusion.{kind}",
    tmp_path / "in.npz",
    tmp_path / "out.npz",
  ]
  subprocess.run([sys.executable, "-c", RUN, *map(str, files)], check=True)
  with np.load(tmp_path / "out.npz") as outs:
    return [(pairs[k], outs[k]) for k in pairs]


def check(results, params):
  fuse = jax.jit(fusers.fuse_net)
  for (ir, vi), out in results:
    assert out.shape == ir.shape and out.dtype == np.float32
    np.testing.assert_allclose(out, fuse(params, ir, vi), atol=1e-5)
    assert np.ptp(out) > 1e-2


def test_onnx_runs_by_itself(exported, params, tmp_path):
  check(run_elsewhere(exported, tmp_path, "onnx", SIZES), params)


def test_stablehlo_runs_by_itself(exported, params, tmp_path):
  check(run_elsewhere(exported, tmp_path, "stablehlo", SIZES[1:]), params)


@pytest.mark.slow  # compiles every size twice
@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_five_odd_sizes_and_two_batch_sizes(exported, params, tmp_path, kind):
  sizes = [(b, h, w) for b in (1, 2) for h, w in ((7, 9), (31, 5), (33, 47), (53, 29), (1, 63))]
  check(run_elsewhere(exported, tmp_path, kind, sizes), params)


@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_cards_say_what_the_file_is(exported, kind):
  import hashlib

  card = json.loads((exported / f"fusion.{kind}.json").read_text())

  def digest(name):
    return hashlib.sha256((exported / name).read_bytes()).hexdigest()

  assert card["sha256"] == digest(f"fusion.{kind}") and card["weights"]["sha256"] == digest(
    "f.safetensors"
  )
  assert card["inputs"]["ir"]["range"] == [0, 1] and "0.299" in card["colour"]["luminance"]
  assert 0 < card["check"]["largest difference"] <= card["check"]["tolerance"] == 1e-5
  assert (TOOLS.parent / card["colour"]["loader"]).is_file()
  assert sorted(p.name for p in exported.iterdir() if p.name.startswith(".")) == []


def test_the_loader_colours_as_the_package_does(exported, tmp_path):
  """The example's three lines of colour against `fusing`."""
  rng = np.random.default_rng(2)
  write_image(tmp_path / "ir.png", rng.random((17, 21, 1)))
  write_image(tmp_path / "vi.png", rng.random((17, 21, 3)))
  paths = [str(tmp_path / f"{name}.png") for name in ("ir", "vi", "out")]
  command = [sys.executable, str(TOOLS / "load_onnx.py"), str(exported / "fusion.onnx"), *paths]
  subprocess.run(command, check=True)
  ours = arrays.make_fuse_fn(*fusers.load_fusion(weights=exported / "f.safetensors"))
  expected = ours(*(read_image(path)[None] for path in paths[:2]))[0]
  np.testing.assert_allclose(read_image(paths[2]), expected, atol=0.51 / 255)
  with Image.open(paths[2]) as image:
    assert image.mode == "RGB"


def test_the_loader_reads_16_bits_and_says_how_it_is_used(exported, tmp_path):
  """The same picture in 8 and in 16 bits."""
  rng, outs = np.random.default_rng(3), []
  image = rng.integers(0, 256, (9, 11), np.uint8)
  Image.fromarray(rng.integers(0, 256, (9, 11), np.uint8)).save(tmp_path / "vi.png")
  tool = [sys.executable, str(TOOLS / "load_onnx.py")]
  for bits, array in ((8, image), (16, image.astype(np.uint16) * 257)):
    Image.fromarray(array).save(tmp_path / f"ir{bits}.png")
    paths = [str(tmp_path / name) for name in (f"ir{bits}.png", "vi.png", f"out{bits}.png")]
    subprocess.run([*tool, str(exported / "fusion.onnx"), *paths], check=True)
    outs.append(read_image(paths[2]))
  np.testing.assert_allclose(outs[0], outs[1], atol=1.01 / 255)
  assert np.ptp(outs[0]) > 0.1
  said = subprocess.run(tool, capture_output=True, text=True)
  assert said.returncode == 1 and said.stderr.startswith("usage: ")


def test_a_wrong_graph_is_not_written(params, tmp_path, monkeypatch):
  file = tmp_path / "f.safetensors"
  file.write_bytes(b"")
  monkeypatch.setattr(export, "_references", lambda *_: [])
  monkeypatch.setitem(sys.modules, "onnx", None)
  with pytest.raises(export.ExportError, match="pip install"):
    export.export_fusion(
      fusers.fusion_network(), params, tmp_path, weights_file=file, formats=("onnx",)
    )
  monkeypatch.undo()
  ir = np.zeros((1, 2, 2, 1), np.float32)
  monkeypatch.setattr(export, "_references", lambda *_: [(ir, ir, ir + 2e-5)])
  monkeypatch.setattr(export, "_run_onnx", lambda data: lambda ir, vi: ir)
  monkeypatch.setattr(export, "_onnx", lambda *_: b"x")
  with pytest.raises(export.ExportError, match="onnx: differs from F by 2.0e-05"):
    export.export_fusion(
      fusers.fusion_network(), params, tmp_path, weights_file=file, formats=("onnx",)
    )
  assert [p.name for p in tmp_path.iterdir()] == ["f.safetensors"]
  with pytest.raises(export.ExportError, match="for F and the fast network alone, .* average"):
    export.export_fusion(fusers.average(fusers.loss_network()), params, tmp_path, weights_file=file)


def test_any_network_becomes_stablehlo(tmp_path):
  """Expected: the network itself, at a size that the check of the export did not see."""
  fuser = half.fuser()
  params = fusers.init_variables(fuser.network, jax.random.key(0))["params"]
  file = tmp_path / "f.safetensors"
  save_weights(file, {"params": params}, {"arch": "half"})
  options = {"weights_file": file, "formats": ("stablehlo",)}
  (made,) = export.export_fusion(fuser, params, tmp_path, **options)
  card = json.loads(made.card.read_text())
  assert card["model"].startswith("half, in the place of F")
  assert card["check"]["against"] == "half in JAX, float32"
  (((ir, vi), out),) = run_elsewhere(tmp_path, tmp_path, "stablehlo", SIZES[1:])
  assert np.ptp(out) > 0.1
  np.testing.assert_allclose(out, fuser(params, ir, vi), atol=1e-6)


@pytest.mark.parametrize("kind", export.FORMATS)
def test_the_fast_network_runs_by_itself(tmp_path, monkeypatch, kind):
  """Expected: the network in JAX; the graph is written by hand, from the weights alone."""
  pytest.importorskip("onnxruntime")
  monkeypatch.setattr(export, "_CHECKED", ((2, 15, 17),))  # each size compiles twice
  fuser = fusers.fast_network()
  params = fusers.init_variables(fuser.network, jax.random.key(0))["params"]
  # Larger than fresh ones, so that all that is computed shows in the fused image.
  params = jax.tree.map(lambda x: x + 0.05 * jax.random.normal(jax.random.key(1), x.shape), params)
  file = tmp_path / "fast.safetensors"
  save_weights(file, {"params": params}, {"arch": "fast"})
  assert cli.main(["export", f"--out={tmp_path}", f"--weights={file}", f"--format={kind}"]) == 0
  (((ir, vi), out),) = run_elsewhere(tmp_path, tmp_path, kind, SIZES[1:])
  assert np.ptp(out) > 0.1
  expected = fuser(params, jnp.asarray(ir), jnp.asarray(vi))
  np.testing.assert_allclose(out, expected, atol=1e-5)


def test_a_network_of_one_size_is_refused_with_the_reason(tmp_path):
  def fuse(params, ir, vi):
    return (ir + vi) / jnp.zeros(int(ir.shape[1])).size

  fuser = fusers.Fuser("fixed", half.Half(1, 1), fuse)
  file = tmp_path / "f.safetensors"
  file.write_bytes(b"x")
  options = {"weights_file": file, "formats": ("stablehlo",)}
  with pytest.raises(
    export.ExportError, match=r"fixed cannot be lowered for all sizes.*jax\.export"
  ):
    export.export_fusion(fuser, {}, tmp_path, **options)
  assert [p.name for p in tmp_path.iterdir()] == ["f.safetensors"]
