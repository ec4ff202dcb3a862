"""The names and commands that are promised: they may gain parameters and options, but lose none."""

import contextlib
import importlib
import inspect
import io
import operator
import subprocess
import sys
from pathlib import Path

import pytest

from tdfusion_jax import cli

ROOT = Path(__file__).resolve().parent.parent

# module:name -> its parameters, in their order
PROMISED = {
  "tdfusion_jax:fuse": "ir vi weights run checkpoint scale stretch",
  "tdfusion_jax:FusionModel": "fuser params metadata card",
  "tdfusion_jax:FusionModel.from_pretrained": "source revision network",
  "tdfusion_jax:FusionModel.save_pretrained": "folder licence",
  "tdfusion_jax:FusionModel.push_to_hub": "repository licence private message",
  "tdfusion_jax.fusers:load_fusion": "run weights network checkpoint_dir",
  "tdfusion_jax.fusers:Fuser": "name network fuse architecture",
  "tdfusion_jax.fusing:make_fuse_fn": "fuse_fn params stretch dtype",
  "tdfusion_jax.train:train": "config workdir task pairs fuser weigher",
  "tdfusion_jax.config:base": "",
  "tdfusion_jax.config:finish": "config options runlocal",
  "tdfusion_jax.networks.fusion:FusionNet": "tiling",
  "tdfusion_jax.networks.lossgen:LossNet": "tiling",
  "tdfusion_jax.networks.segformer:SegFormer": (
    "num_classes variant head_eps align_corners gelu norm_eps momentum dropout drop_path"
  ),
  "tdfusion_jax.networks.yolov8:YOLOv8": "num_classes variant",
  "tdfusion_jax.losses.fusion:fusion_loss": "fused ir vi weights alpha intensity",
  "tdfusion_jax.losses.fusion:intensity_loss": "fused ir vi weights form",
  "tdfusion_jax.losses.fusion:gradient_loss": "fused ir vi",
  "tdfusion_jax.losses.detection:yolo_loss": "outputs target assigner_eps",
  "tdfusion_jax.losses.segmentation:cross_entropy": "logits target",
  "tdfusion_jax.tasks:Task": "init apply loss predict labels",
  "tdfusion_jax.tasks.detection:detection": (
    "num_classes variant in_channels score_threshold iou_threshold max_detections assigner_eps"
  ),
  "tdfusion_jax.tasks.segmentation:segmentation": "num_classes variant in_channels network",
  "tdfusion_jax.metrics.fusion:fusion_metrics": "ir vi fused metrics profile rounding",
  "tdfusion_jax.metrics.detection:average_precision": "detected true classes",
  "tdfusion_jax.metrics.segmentation:confusion_matrix": "predicted labels num_classes",
  "tdfusion_jax.metrics.segmentation:scores": "matrix",
  "tdfusion_jax.metrics.own:own_metric": "name field",
  "tdfusion_jax.meta:look_ahead": "method g_params state mtr inner key",
  "tdfusion_jax.meta:meta_objective": "method g_params state mtr mts key inner",
  "tdfusion_jax.meta:meta_gradient": "method state mtr mts rates derivative key",
  "tdfusion_jax.meta:make_steps": "method teacher optimisers",
  "tdfusion_jax.convert:from_torch": "state_dict arch options",
  "tdfusion_jax.convert:to_torch": "variables arch style",
}
VERBS = (
  "train",
  "fuse",
  "video",
  "evaluate",
  "judge",
  "export",
  "init",
  "models",
  "report",
  "sweep",
  "convert",
  "data",
  "demo",
)


@pytest.mark.parametrize("name", PROMISED)
def test_names_keep_their_parameters(name):
  module, _, attribute = name.partition(":")
  promised = PROMISED[name].split()
  promise = operator.attrgetter(attribute)(importlib.import_module(module))
  found = inspect.signature(promise).parameters
  assert [parameter for parameter in found if parameter in promised] == promised


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb_has_help_with_an_example(verb):
  shown = io.StringIO()
  with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as left:
    cli.main([*verb.split(), "--help"])
  assert left.value.code == 0
  words = shown.getvalue().split()
  if verb:
    assert f"tdfusion {verb}" in " ".join(words)
  else:
    assert all(word in shown.getvalue() for word in VERBS)


@pytest.mark.parametrize(
  ("command", "says"),
  [
    (["-m", "tdfusion_jax.main", "--help"], "--config"),
    (["tools/convert_torch_weights.py", "--help"], "--out"),
  ],
)
def test_commands_answer_from_the_checkout(command, says):
  run = [sys.executable, *command]
  done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
  assert says in done.stdout and "Traceback" not in done.stderr
