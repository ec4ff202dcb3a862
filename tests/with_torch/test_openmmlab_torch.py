"""OpenMMLab's SegFormer, converted, against the same network written here in PyTorch."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[1]))
import published  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from tdfusion_jax import weightfiles  # noqa: E402
from tdfusion_jax.convert.files import convert  # noqa: E402
from tdfusion_jax.networks.segformer import SegFormer  # noqa: E402

pytestmark = pytest.mark.torch

WIDTHS, HEADS, RATIOS = (32, 64, 160, 256), (1, 2, 5, 8), (8, 4, 2, 1)


def norm(width):
  return nn.LayerNorm(width, eps=1e-6)


def tokens(x):
  return x.flatten(2).transpose(1, 2)


def image(x, like):
  return x.transpose(1, 2).reshape(len(x), -1, *like.shape[2:])


class Embed(nn.Module):
  def __init__(self, inputs, width, kernel, stride):
    super().__init__()
    self.projection = nn.Conv2d(inputs, width, kernel, stride, kernel // 2)
    self.norm = norm(width)

  def forward(self, x):
    x = self.projection(x)
    return image(self.norm(tokens(x)), x)


class Attention(nn.Module):
  """PyTorch's own attention, whose queries, keys and values are one packed layer."""

  def __init__(self, width, heads, ratio):
    super().__init__()
    self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
    self.ratio = ratio
    if ratio > 1:
      self.sr = nn.Conv2d(width, width, ratio, ratio)
      self.norm = norm(width)

  def forward(self, x, like):
    keys = x
    if self.ratio > 1:
      keys = self.norm(tokens(self.sr(image(x, like))))
    return self.attn(x, keys, keys, need_weights=False)[0]


class Ffn(nn.Module):
  def __init__(self, width):
    super().__init__()
    inner = 4 * width
    self.layers = nn.Sequential(
      nn.Conv2d(width, inner, 1),
      nn.Conv2d(inner, inner, 3, padding=1, groups=inner),
      nn.GELU(),
      nn.Identity(),
      nn.Conv2d(inner, width, 1),
    )


class Layer(nn.Module):
  def __init__(self, width, heads, ratio):
    super().__init__()
    self.norm1, self.norm2 = norm(width), norm(width)
    self.attn = Attention(width, heads, ratio)
    self.ffn = Ffn(width)

  def forward(self, x):
    flat = tokens(x)
    flat = flat + self.attn(self.norm1(flat), x)
    return image(flat, x) + self.ffn.layers(image(self.norm2(flat), x))


class Backbone(nn.Module):
  def __init__(self):
    super().__init__()
    self.layers = nn.ModuleList()
    before = 3
    for stage, width in enumerate(WIDTHS):
      embed = Embed(before, width, 3 if stage else 7, 2 if stage else 4)
      blocks = nn.ModuleList([Layer(width, HEADS[stage], RATIOS[stage]) for _ in range(2)])
      self.layers.append(nn.ModuleList([embed, blocks, norm(width)]))
      before = width

  def forward(self, x):
    features = []
    for stage in self.layers:
      embed, blocks, last = stage.children()
      x = embed(x)
      for block in blocks.children():
        x = block(x)
      x = image(last(tokens(x)), x)
      features.append(x)
    return features


class ConvModule(nn.Module):
  def __init__(self, inputs, width):
    super().__init__()
    self.conv = nn.Conv2d(inputs, width, 1, bias=False)
    self.bn = nn.BatchNorm2d(width)

  def forward(self, x):
    return functional.relu(self.bn(self.conv(x)))


class Head(nn.Module):
  def __init__(self, classes):
    super().__init__()
    self.convs = nn.ModuleList([ConvModule(width, 256) for width in WIDTHS])
    self.fusion_conv = ConvModule(4 * 256, 256)
    self.conv_seg = nn.Conv2d(256, classes, 1)

  def forward(self, features):
    size = features[0].shape[2:]
    each = [
      functional.interpolate(conv(x), size=size, mode="bilinear", align_corners=False)
      for conv, x in zip(self.convs, features, strict=True)
    ]
    return self.conv_seg(self.fusion_conv(torch.cat(each, dim=1)))


class Net(nn.Module):
  def __init__(self, classes):
    super().__init__()
    self.backbone, self.decode_head = Backbone(), Head(classes)

  def forward(self, x):
    logits = self.decode_head(self.backbone(x))
    return functional.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def net():
  """Random weights, large enough that every part counts, and statistics that are not the first."""
  torch.manual_seed(0)
  made = Net(classes=5).eval()
  with torch.no_grad():
    for name, value in made.state_dict().items():
      if name.endswith("running_var"):
        value.uniform_(0.5, 2)
      elif value.is_floating_point():
        value += 0.1 * torch.randn_like(value)
  return made


def test_its_names_are_those_that_are_published(net):
  theirs = {name: tuple(value.shape) for name, value in net.state_dict().items()}
  assert theirs == published.openmmlab(classes=5)


def test_the_converted_network_gives_the_same_logits(net, tmp_path):
  """The whole network: packed attention, 1x1 MLPs, and OpenMMLab's own head."""
  torch.save({"meta": {"mmseg_version": "1"}, "state_dict": net.state_dict()}, tmp_path / "w.pth")
  convert(tmp_path / "w.pth", tmp_path / "t.safetensors")
  variables, about = weightfiles.load_weights(tmp_path / "t.safetensors")
  options = about["options"]
  del options["in_channels"]
  images = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)
  with torch.no_grad():
    expected = net(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
  ours: Any = SegFormer(**options).apply(jax.tree.map(jnp.asarray, variables), jnp.asarray(images))
  assert expected.std() > 0.1
  np.testing.assert_allclose(ours, expected, atol=2e-4 * np.ptp(expected))


def test_what_comes_back_loads_strictly(net, tmp_path):
  torch.save(net.state_dict(), tmp_path / "w.pth")
  convert(tmp_path / "w.pth", tmp_path / "t.safetensors")
  convert(tmp_path / "t.safetensors", tmp_path / "back.pth", to="openmmlab")
  back = torch.load(tmp_path / "back.pth", weights_only=True)
  Net(classes=5).load_state_dict(back, strict=True)
  for name, value in net.state_dict().items():
    assert torch.equal(back[name], value), name
