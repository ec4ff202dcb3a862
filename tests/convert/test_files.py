"""Weight files of every format, there and back; changes on the way; recognition, its errors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from tdfusion_jax import weightfiles
from tdfusion_jax.cli import main
from tdfusion_jax.convert.adopt import Changes
from tdfusion_jax.convert.files import convert
from tdfusion_jax.convert.pth import read_pth
from tdfusion_jax.convert.pth_write import write_pth
from tdfusion_jax.weightfiles import CheckpointError

FORMATS = {
  "segformer original": (published.segformer(original=True), "segformer", "original"),
  "segformer upstream": (
    published.segformer(original=False, channels=1, classes=9),
    "segformer",
    "upstream",
  ),
  "segformer huggingface": (published.huggingface(), "segformer", "huggingface"),
  "segformer transformers5": (published.transformers5(classes=4), "segformer", "transformers5"),
  "segformer b2": (published.huggingface(published.MIT_B2, 5), "segformer", "huggingface"),
  "segformer openmmlab": (published.openmmlab(classes=4, channels=1), "segformer", "openmmlab"),
  "yolov8 ultralytics": (published.yolov8(), "yolov8", "ultralytics"),
  "yolov8 upstream": (
    published.yolov8(layers=published.UPSTREAM_LAYERS, head="", classes=6),
    "yolov8",
    "upstream",
  ),
}


def equal(theirs, expected):
  assert theirs.keys() == expected.keys()
  for key, array in expected.items():
    assert theirs[key].dtype == array.dtype and theirs[key].shape == array.shape, key
    np.testing.assert_array_equal(theirs[key], array, err_msg=key)


@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back_is_bit_exact(tmp_path, name):
  """Batch counters and mmseg's unused layer, which mean nothing here, come back as well."""
  shapes, arch, style = FORMATS[name]
  arrays = published.random(shapes)
  write_pth(tmp_path / "in.pth", arrays)
  lines = convert(tmp_path / "in.pth", tmp_path / "ours.safetensors")
  assert f"{arch} ({style} names)" in lines[0]
  convert(tmp_path / "ours.safetensors", tmp_path / "back.pth", to=style)
  equal(read_pth(tmp_path / "back.pth"), arrays)


def test_f_there_and_back_as_upstream_saves_it(tmp_path):
  """Upstream's file has every convolution twice, and here the prefix of DataParallel."""
  _, state_dict = fusion_state_dict()
  write_pth(tmp_path / "in.pth", {f"module.{k}": v for k, v in state_dict.items()})
  convert(tmp_path / "in.pth", tmp_path / "f.safetensors")
  convert(tmp_path / "f.safetensors", tmp_path / "back.pth", to="upstream")
  equal(read_pth(tmp_path / "back.pth"), state_dict)
  _, metadata = weightfiles.load_weights(tmp_path / "f.safetensors")
  assert metadata["arch"] == "fusion" and len(metadata["source_sha256"]) == 64


def fusion_state_dict(arch="fusion"):
  from conversions import CASES, variables_of

  from tdfusion_jax import convert

  variables = variables_of(*CASES[arch][:2])
  return variables, convert.to_torch(variables, arch)


def test_fuse_takes_converted_weights(tmp_path):
  from tdfusion_jax import fusers

  variables, state_dict = fusion_state_dict()
  write_pth(tmp_path / "in.pth", state_dict)
  convert(tmp_path / "in.pth", tmp_path / "f.safetensors")
  _, params = fusers.load_fusion(weights=tmp_path / "f.safetensors")
  ours = flatten_dict(variables["params"])
  for path, value in flatten_dict(params).items():
    np.testing.assert_array_equal(value, ours[path])


def test_huggingface_safetensors_and_half_precision_there_and_back(tmp_path):
  arrays = published.random(published.huggingface(classes=4), dtype=np.float16)
  save_file(arrays, tmp_path / "model.safetensors", {"format": "pt"})
  convert(tmp_path / "model.safetensors", tmp_path / "t.safetensors")
  variables, metadata = weightfiles.load_weights(tmp_path / "t.safetensors")
  assert {v.dtype for v in flatten_dict(variables).values()} == {np.dtype(np.float32)}
  assert metadata["options"]["norm_eps"] == 1e-5 and metadata["options"]["gelu"] == "erf"
  assert "NVIDIA" in metadata["licence"]
  convert(tmp_path / "t.safetensors", tmp_path / "b.safetensors", to="huggingface", dtype="float16")
  equal(load_file(tmp_path / "b.safetensors"), arrays)


def test_a_half_precision_yolov8_comes_back_in_half_precision(tmp_path):
  """Its fixed distance kernel too, which is not stored; one of another precision keeps it."""
  for kernel in (np.float16, np.float32):
    arrays = published.random(published.yolov8(classes=3), dtype=np.float16)
    arrays["model.22.dfl.conv.weight"] = arrays["model.22.dfl.conv.weight"].astype(kernel)
    write_pth(tmp_path / "in.pt", arrays)
    convert(tmp_path / "in.pt", tmp_path / "t.safetensors", dtype="source")
    convert(tmp_path / "t.safetensors", tmp_path / "back.pt", to="ultralytics", dtype="source")
    equal(read_pth(tmp_path / "back.pt"), arrays)


def test_keys_and_values_of_huggingface_become_upstreams_kv(tmp_path):
  """Upstream's kv is one layer: first the keys' rows, then the values'."""
  arrays = published.random(published.huggingface(classes=4))
  write_pth(tmp_path / "in.bin", arrays)
  convert(tmp_path / "in.bin", tmp_path / "up.pth", to="upstream")
  prefix = "segformer.encoder.block.1.0.attention.self"
  both = np.concatenate([arrays[f"{prefix}.key.weight"], arrays[f"{prefix}.value.weight"]])
  np.testing.assert_array_equal(
    read_pth(tmp_path / "up.pth")["backbone.block2.0.attn.kv.weight"], both
  )


def test_an_imagenet_backbone_alone(tmp_path):
  arrays = published.random(published.mit(classifier=1000))
  write_pth(tmp_path / "mit_b0.pth", arrays)
  lines = convert(tmp_path / "mit_b0.pth", tmp_path / "b.safetensors")
  assert any("left out: head.weight" in line for line in lines)
  variables, metadata = weightfiles.load_weights(tmp_path / "b.safetensors")
  assert metadata["part"] == "backbone" and set(variables["params"]) == {"backbone"}
  convert(tmp_path / "b.safetensors", tmp_path / "back.pth", to="original")
  kept = {key: value for key, value in arrays.items() if not key.startswith("head.")}
  equal(read_pth(tmp_path / "back.pth"), kept)


@pytest.mark.parametrize("kind", ["segformer", "yolov8"])
def test_a_backbone_is_completed_with_a_new_head(tmp_path, kind):
  """It starts training: names and shapes of the whole network, the backbone's values unchanged."""
  from tdfusion_jax.convert.adopt import TASK_NETWORKS, _shapes

  if kind == "segformer":
    arrays = published.random(published.mit(channels=1, classifier=10))
  else:
    whole = published.yolov8(layers=published.UPSTREAM_LAYERS, head="", channels=1)
    backbone = {
      k.removeprefix("backbone."): s for k, s in whole.items() if k.startswith("backbone.")
    }
    arrays = published.random(backbone)
  write_pth(tmp_path / "in.pth", arrays)
  convert(tmp_path / "in.pth", tmp_path / "b.safetensors")
  lines = convert(
    tmp_path / "b.safetensors", tmp_path / "t.safetensors", changes=Changes(num_classes=3)
  )
  assert any("made anew, not trained" in line for line in lines)
  made = flatten_dict(weightfiles.load_weights(tmp_path / "t.safetensors")[0])
  network = TASK_NETWORKS[kind]
  assert {p: v.shape for p, v in made.items()} == _shapes(network.build(3), network.sample_inputs())
  for path, value in flatten_dict(weightfiles.load_weights(tmp_path / "b.safetensors")[0]).items():
    np.testing.assert_array_equal(made[path], value)


def test_three_channels_to_one_and_back_keep_the_answer_to_a_gray_image(tmp_path):
  """A gray image has three equal channels: a kernel summed over them answers alike, and back."""
  from tdfusion_jax.networks.segformer import SegFormer

  write_pth(
    tmp_path / "in.pth",
    {k: 0.05 * v for k, v in published.random(published.segformer(original=True)).items()},
  )
  files = {name: tmp_path / f"{name}.safetensors" for name in ("rgb", "gray", "again")}
  convert(tmp_path / "in.pth", files["rgb"])
  convert(files["rgb"], files["gray"], changes=Changes(in_channels=1))
  convert(files["gray"], files["again"], changes=Changes(in_channels=3))
  gray = np.random.default_rng(1).random((1, 64, 64, 1), np.float32)
  logits = {}
  for name, file in files.items():
    variables, metadata = weightfiles.load_weights(file)
    image = gray if name == "gray" else np.repeat(gray, 3, axis=-1)
    assert metadata["options"]["in_channels"] == image.shape[-1]
    logits[name] = np.asarray(
      SegFormer(150, "b0").apply(jax.tree.map(jnp.asarray, variables), jnp.asarray(image))
    )
  spread = np.ptp(logits["rgb"])
  assert spread > 1e-3
  np.testing.assert_allclose(logits["gray"], logits["rgb"], atol=1e-4 * spread)
  np.testing.assert_allclose(logits["again"], logits["rgb"], atol=1e-4 * spread)


def test_folding_imagenets_normalisation_gives_the_same_away_from_the_border(tmp_path):
  """conv(k, (x - mean) / std) + b in NumPy, for an output pixel whose window is inside."""
  write_pth(tmp_path / "in.pth", published.random(published.segformer(original=True)))
  convert(tmp_path / "in.pth", tmp_path / "a.safetensors")
  convert(tmp_path / "in.pth", tmp_path / "b.safetensors", changes=Changes(fold_imagenet=True))
  before, after = (
    weightfiles.load_weights(tmp_path / f)[0]["params"]["backbone"]["patch_embed1"]["proj"]
    for f in ("a.safetensors", "b.safetensors")
  )
  window = np.random.default_rng(2).random((7, 7, 3))
  scaled = (window - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  expected = np.einsum("ijc,ijco->o", scaled, before["kernel"]) + before["bias"]
  np.testing.assert_allclose(
    np.einsum("ijc,ijco->o", window, after["kernel"]) + after["bias"], expected, rtol=1e-4
  )


def test_another_number_of_classes_only_replaces_the_classifier(tmp_path):
  write_pth(tmp_path / "in.pth", published.random(published.yolov8(classes=20)))
  convert(tmp_path / "in.pth", tmp_path / "a.safetensors")
  lines = convert(tmp_path / "in.pth", tmp_path / "b.safetensors", changes=Changes(num_classes=9))
  assert "made anew, not trained: cv3_0_2, cv3_1_2, cv3_2_2 (9 classes)" in lines
  before, after = (
    flatten_dict(weightfiles.load_weights(tmp_path / f"{n}.safetensors")[0]) for n in "ab"
  )
  changed = {path[1] for path in before if not np.array_equal(before[path], after[path])}
  assert changed == {"cv3_0_2", "cv3_1_2", "cv3_2_2"}
  assert after[("params", "cv3_0_2", "kernel")].shape == (64, 9)
  # As a new network starts: log(5 / classes / (640 / stride)^2).
  np.testing.assert_allclose(after[("params", "cv3_0_2", "bias")], np.log(5 / 9 / 80**2), rtol=1e-5)


def test_what_is_ambiguous_lists_the_candidates_and_can_be_told(tmp_path):
  """A bare Mix Transformer without ImageNet's head: upstream and the original name it alike."""
  write_pth(tmp_path / "in.pth", published.random(published.mit()))
  with pytest.raises(
    CheckpointError, match=r"several sources: segformer \(upstream\), segformer \(original\)"
  ):
    convert(tmp_path / "in.pth", tmp_path / "b.safetensors")
  convert(tmp_path / "in.pth", tmp_path / "b.safetensors", style="original")
  assert weightfiles.load_weights(tmp_path / "b.safetensors")[1]["options"]["gelu"] == "erf"


def test_openmmlabs_backbone_has_no_prefix_and_goes_into_other_names(tmp_path):
  """Queries are the first third of the packed rows; there and back bit for bit."""
  arrays = published.random(published.openmmlab(whole=False))
  write_pth(tmp_path / "mit_b0.pth", arrays)
  convert(tmp_path / "mit_b0.pth", tmp_path / "b.safetensors")
  convert(tmp_path / "b.safetensors", tmp_path / "back.pth", to="openmmlab")
  equal(read_pth(tmp_path / "back.pth"), arrays)
  convert(tmp_path / "b.safetensors", tmp_path / "original.pth", to="original")
  original = read_pth(tmp_path / "original.pth")
  assert {key: array.shape for key, array in original.items()} == published.mit()
  packed = arrays["layers.1.1.0.attn.attn.in_proj_weight"]
  np.testing.assert_array_equal(original["block2.0.attn.q.weight"], packed[:64])
  np.testing.assert_array_equal(original["block2.0.attn.kv.weight"], packed[64:])


def test_openmmlabs_head_is_not_the_others(tmp_path):
  """Another function: in no other names, and no other head in theirs."""
  write_pth(tmp_path / "in.pth", published.random(published.openmmlab(classes=2)))
  convert(tmp_path / "in.pth", tmp_path / "t.safetensors")
  about = weightfiles.load_weights(tmp_path / "t.safetensors")[1]["options"]
  assert about["head"] == "convs" and about["embed_eps"] == 1e-6
  for style in ("upstream", "original", "huggingface", "transformers5"):
    with pytest.raises(CheckpointError, match="its head is OpenMMLab's"):
      convert(tmp_path / "t.safetensors", tmp_path / "x.pth", to=style)
  write_pth(tmp_path / "in.pth", published.random(published.huggingface(classes=2)))
  with pytest.raises(CheckpointError, match="its head is not OpenMMLab's"):
    convert(tmp_path / "in.pth", tmp_path / "x.pth", to="openmmlab")
  assert not (tmp_path / "x.pth").exists()


def test_misfits_are_listed_together(tmp_path):
  arrays = published.random(published.huggingface(classes=3))
  del arrays["segformer.encoder.layer_norm.2.bias"]
  arrays["segformer.encoder.surprise"] = np.zeros(2, np.float32)
  arrays["decode_head.linear_c.0.proj.bias"] = np.zeros(7, np.float32)
  write_pth(tmp_path / "in.pth", arrays)
  with pytest.raises(CheckpointError) as error:
    convert(tmp_path / "in.pth", tmp_path / "t.safetensors")
  for part in (
    "missing: backbone.norm3.bias",
    "left over: segformer.encoder.surprise",
    "linear_c1.proj.bias is (7,)",
  ):
    assert part in str(error.value)
  assert not (tmp_path / "t.safetensors").exists()


def test_values_that_are_not_finite_are_named(tmp_path):
  arrays = published.random(published.yolov8())
  arrays["model.22.cv3.1.2.bias"][3] = np.nan
  write_pth(tmp_path / "in.pth", arrays)
  with pytest.raises(CheckpointError, match=r"not finite:\n  model\.22\.cv3\.1\.2\.bias"):
    convert(tmp_path / "in.pth", tmp_path / "t.safetensors")


def test_values_beyond_half_precision_are_named(tmp_path):
  arrays = published.random(published.yolov8())
  arrays["model.0.bn.weight"][0] = 1e6
  write_pth(tmp_path / "in.pth", arrays)
  with pytest.raises(
    CheckpointError, match=r"float16 cannot hold the values of: params\.backbone\.stem\.bn\.scale"
  ):
    convert(tmp_path / "in.pth", tmp_path / "t.safetensors", dtype="float16")


def test_the_command_converts_and_inspects(tmp_path, capsys):
  arrays = published.random(published.yolov8(classes=2, channels=1))
  write_pth(tmp_path / "in.pt", arrays)
  out = str(tmp_path / "t.safetensors")
  assert main(["convert", str(tmp_path / "in.pt"), "--out", out]) == 0
  assert f"--config.init.t={out} --config.task.variant=n" in capsys.readouterr().out
  for file, format_ in (("in.pt", "PyTorch"), ("t.safetensors", "tdfusion_jax")):
    assert main(["convert", "--inspect", str(tmp_path / file)]) == 0
    printed = capsys.readouterr().out
    assert f"{format_} format" in printed and "variant=n" in printed and "num_classes=2" in printed
  assert "params/cv2_0_0/conv/kernel  (3, 3, 64, 64)  float32" in printed
  assert "AGPL-3.0" in printed


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["in.pt"], "--out is missing"),
    (["in.pt", "--out", "x.pth"], r"\.safetensors files"),
    (["in.pt", "--out", "x.pth", "--to", "huggingface"], "yolov8 has no naming 'huggingface'"),
    (["in.pt", "--out", "in.pt", "--to", "upstream"], "is the file that is read"),
    (["in.pt", "--out", "x.safetensors", "--arch", "segformer"], "belong to no segformer"),
    (["none.pt", "--out", "x.safetensors"], "does not exist"),
    ([".", "--out", "x.safetensors"], "is a folder; name the weight file"),
    (["text.pth", "--out", "x.safetensors"], "not a readable PyTorch weight file"),
    (["text.safetensors", "--out", "x.safetensors"], r"not a readable \.safetensors file"),
    (["lies.safetensors", "--out", "x.safetensors"], "does not hold what its metadata states"),
  ],
)
def test_errors_of_the_command_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
  import re

  monkeypatch.chdir(tmp_path)
  write_pth("in.pt", published.random(published.yolov8()))
  for name in ("text.pth", "text.safetensors"):
    (tmp_path / name).write_text("weights")
  save_file({"x": np.zeros(2)}, "lies.safetensors", {"arch": json.dumps("segmentation")})
  assert main(["convert", *arguments]) == 2
  printed = capsys.readouterr().err
  assert re.search(message, printed) and printed.count("\n") == 1
  assert not list(tmp_path.glob("x.*"))
