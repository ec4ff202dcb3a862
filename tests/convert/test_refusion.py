"""Real weights of a user: `tdfusion convert`, `tdfusion fuse`, and the way back into PyTorch."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import goldens, real_data, real_weights
from PIL import Image

from tdfusion_jax.cli import main
from tdfusion_jax.convert.pth import read_pth

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def converted(tmp_path):
  source = real_weights() / "ReFusion_IVIF.pth"
  command = [sys.executable, str(ROOT / "tools/convert_torch_weights.py"), str(source)]
  done = subprocess.run(
    [*command, "--out", str(tmp_path / "f.safetensors")],
    capture_output=True,
    text=True,
    check=False,
    cwd=ROOT,
  )
  assert done.returncode == 0 and "fusion (upstream names)" in done.stdout, done.stderr
  return tmp_path / "f.safetensors"


@pytest.fixture
def pair(tmp_path):
  """(folder with ir/ and vi/, golden arrays) of the first pair that the goldens have."""
  golden = sorted(goldens().glob("fusion_net_real_*.npz"))[0]
  name = golden.stem.removeprefix("fusion_net_real_")
  for kind in ("ir", "vi"):
    found = sorted((real_data() / "MSRS_unlabelled" / kind).glob(f"{name}.*"))
    if not found:
      pytest.skip(f"no image of {name}")
    (tmp_path / kind).mkdir()
    shutil.copy(found[0], tmp_path / kind)
  with np.load(golden) as arrays:
    return name, dict(arrays)


@pytest.mark.slow  # compiles F for a whole image
def test_converted_weights_fuse_a_real_pair_to_the_golden_image(converted, pair, tmp_path):
  """The golden luminance with the visible image's chroma (BT.601, full range), to one level."""
  name, golden = pair
  folders = [f"--{kind}={tmp_path / kind}" for kind in ("ir", "vi")]
  arguments = [*folders, f"--out={tmp_path / 'out'}", f"--weights={converted}", "--cache="]
  assert main(["fuse", *arguments]) == 0
  made = np.asarray(Image.open(tmp_path / "out" / f"{name}.png")).astype(float)
  r, g, b = np.moveaxis(
    np.asarray(Image.open(next((tmp_path / "vi").iterdir())).convert("RGB")).astype(float), -1, 0
  )
  y = 0.299 * r + 0.587 * g + 0.114 * b
  fused = golden["fused"] * 255.0
  red, blue = fused + (r - y), fused + (b - y)
  green = (fused - 0.299 * red - 0.114 * blue) / 0.587
  expected = np.clip(np.stack([red, green, blue], -1), 0, 255)
  assert made.shape == expected.shape and np.ptp(made) > 100
  assert np.abs(made - expected).max() <= 1 and np.abs(made - expected).mean() < 0.3


UPSTREAM = [
  (r"^stem\.0", "project_in_1"),
  (r"^stem\.1", "project_in_2"),
  (r"^head", "project_out_0"),
  (r"^last", "project_out_1"),
  (r"^encoder\.0", "encoder1"),
  (r"^encoder\.1", "encoder2"),
  (r"\.norm(\d)\.", r".norm\1.body."),
  (r"^merge\.gates_dw", "FM.project_E_d"),
  (r"^merge\.gates", "FM.project_E"),
]
MERGE = {
  "temperature": "temperature{}",
  "qkv": "qkv{}",
  "qkv_dw": "qkv{}_dwconv",
  "mid": "project_mid{}",
}
MERGE |= {"own": "project_E{}", "own_dw": "project_E{}_d", "out": "project_out{}"}


def upstreams_name(name):
  if match := re.fullmatch(r"merge\.(\w+)\.(\d)(\.weight)?", name):
    return f"FM.{MERGE[match[1]].format(int(match[2]) + 1)}{match[3] or ''}"
  for pattern, theirs in UPSTREAM:
    name = re.sub(pattern, theirs, name)
  return name


def under_upstreams_names(net):
  """A module that holds the counterpart's parameters as upstream does: each convolution twice."""
  import torch

  root = torch.nn.Module()

  def node(path):
    found = root
    for part in path:
      if part not in found._modules:
        found.add_module(part, torch.nn.Module())
      found = found._modules[part]
    return found

  for name, value in net.named_parameters():
    *path, leaf = upstreams_name(name).split(".")
    node(path).register_parameter(leaf, value)
    if value.ndim == 4:
      node([*path, "conv"]).register_parameter(leaf, value)
  return root


@pytest.mark.torch
def test_the_way_back_loads_strictly_into_pytorch_and_gives_the_golden_output(
  converted, pair, tmp_path
):
  torch = pytest.importorskip("torch")
  sys.path.insert(0, str(ROOT / "tests" / "oracles"))
  import torch_fusion

  assert (
    main(["convert", str(converted), "--to", "upstream", "--out", str(tmp_path / "back.pth")]) == 0
  )
  back = torch.load(tmp_path / "back.pth", weights_only=True)
  original = read_pth(real_weights() / "ReFusion_IVIF.pth")
  assert back.keys() == original.keys()
  for key, value in original.items():
    np.testing.assert_array_equal(back[key].numpy(), value, err_msg=key)
  net = torch_fusion.TorchFusionNet()
  under_upstreams_names(net).load_state_dict(back, strict=True)
  _, golden = pair
  ir, vi = (torch.from_numpy(golden[kind][None, None] / np.float32(255)) for kind in ("ir", "vi"))
  with torch.no_grad():
    fused = net(ir, vi)[0, 0].numpy()
  np.testing.assert_allclose(fused, golden["fused"], atol=2e-5)
