"""F, G and L_f in PyTorch, written from the specification as a reader of the paper would: what we
measure against.

Layout NCHW, attention by heads, every derivative by PyTorch's own autograd. Shares no code with the
package; `load` fills it with the package's weights.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

HEADS = 8


def pointwise(c_in, c_out):
  return nn.Conv2d(c_in, c_out, 1, bias=False)


def depthwise(channels):
  return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def conv3x3(c_in, c_out):
  return nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)


class ChannelNorm(nn.Module):
  """Layer norm over channels."""

  def __init__(self, channels):
    super().__init__()
    self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

  def forward(self, x):
    return functional.layer_norm(
      x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-5
    ).permute(0, 3, 1, 2)


def attention(q, k, v, temperature):
  """Channels attend to channels, by heads."""
  b, c, h, w = q.shape
  q, k, v = (x.reshape(b, HEADS, c // HEADS, h * w) for x in (q, k, v))
  scores = (
    functional.normalize(q, dim=-1)
    @ functional.normalize(k, dim=-1).transpose(-2, -1)
    * temperature
  )
  return (scores.softmax(-1) @ v).reshape(b, c, h, w)


class MDTA(nn.Module):
  def __init__(self, c):
    super().__init__()
    self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
    self.qkv, self.qkv_dwconv, self.project_out = (
      pointwise(c, 3 * c),
      depthwise(3 * c),
      pointwise(c, c),
    )

  def forward(self, x):
    return self.project_out(attention(*self.qkv_dwconv(self.qkv(x)).chunk(3, 1), self.temperature))


class GDFN(nn.Module):
  def __init__(self, c):
    super().__init__()
    self.project_in, self.dwconv, self.project_out = (
      pointwise(c, 4 * c),
      depthwise(4 * c),
      pointwise(2 * c, c),
    )

  def forward(self, x):
    gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
    return self.project_out(functional.gelu(gate) * value)


class Block(nn.Module):
  def __init__(self, c):
    super().__init__()
    self.norm1, self.attn, self.norm2, self.ffn = ChannelNorm(c), MDTA(c), ChannelNorm(c), GDFN(c)

  def forward(self, x):
    x = x + self.attn(self.norm1(x))
    return x + self.ffn(self.norm2(x))


class Merge(nn.Module):
  """The fusion module."""

  def __init__(self, c):
    super().__init__()
    make = lambda f: nn.ModuleList([f(), f()])  # noqa: E731
    self.temperature = nn.ParameterList([torch.ones(HEADS, 1, 1), torch.ones(HEADS, 1, 1)])
    self.qkv, self.qkv_dw = make(lambda: pointwise(c, 3 * c)), make(lambda: depthwise(3 * c))
    self.mid = make(lambda: pointwise(c, c))
    self.gates, self.gates_dw = pointwise(2 * c, 8 * c), depthwise(8 * c)
    self.own, self.own_dw = make(lambda: pointwise(c, 4 * c)), make(lambda: depthwise(4 * c))
    self.out = make(lambda: pointwise(4 * c, 2 * c))

  def forward(self, x1, x2):
    (q1, k1, v1), (q2, k2, v2) = (
      self.qkv_dw[i](self.qkv[i](x)).chunk(3, 1) for i, x in enumerate((x1, x2))
    )
    x1 = x1 + self.mid[0](attention(q2, k1, v1, self.temperature[0]))
    x2 = x2 + self.mid[1](attention(q1, k2, v2, self.temperature[1]))
    x = torch.cat([x1, x2], 1)
    gates = self.gates_dw(self.gates(x)).chunk(2, 1)
    for i, own in enumerate((x1, x2)):
      x = x + self.out[i](functional.gelu(gates[i]) * self.own_dw[i](self.own[i](own)))
    return x


class TorchFusionNet(nn.Module):
  """F: two [B, 1, H, W] in [0, 1] -> [B, 1, H, W]."""

  def __init__(self):
    super().__init__()
    self.stem = nn.ModuleList([conv3x3(1, 16), conv3x3(1, 16)])
    self.encoder = nn.ModuleList([nn.Sequential(Block(16), Block(16)) for _ in range(2)])
    self.merge, self.decoder = Merge(16), nn.Sequential(Block(32), Block(32))
    self.head, self.last = conv3x3(32, 16), conv3x3(16, 1)

  def forward(self, ir, vi):
    x1, x2 = (self.encoder[i](self.stem[i](x)) for i, x in enumerate((ir, vi)))
    x = self.decoder(self.merge(x1, x2))
    return torch.sigmoid(self.last(functional.leaky_relu(self.head(x), 0.01)))


class TorchLossNet(nn.Module):
  """G: two [B, 1, H, W] -> weights [B, 2, H, W]."""

  def __init__(self):
    super().__init__()
    self.stem = nn.ModuleList([conv3x3(1, 16), conv3x3(1, 16)])
    self.encoder = nn.ModuleList([nn.Sequential(Block(16), Block(16)) for _ in range(2)])
    self.joint = nn.Sequential(Block(32), Block(32))
    self.head, self.slope, self.last = conv3x3(32, 16), nn.PReLU(), conv3x3(16, 2)

  def forward(self, ir, vi):
    x = torch.cat([self.encoder[i](self.stem[i](x)) for i, x in enumerate((ir, vi))], 1)
    return self.last(self.slope(self.head(self.joint(x)))).softmax(1)


class _Filler:
  """Copies the package's arrays into a module's parameters, by name."""

  def __init__(self, module):
    self.left = dict(module.named_parameters())

  def put(self, name, value):
    """Kernels [3, 3, in, out], [3, 3, channels] or [in, out], or anything of the target's size."""
    value = np.asarray(value)
    target = self.left.pop(name)
    if value.ndim == 4:
      value = value.transpose(3, 2, 0, 1)
    elif value.ndim == 3:
      value = value.transpose(2, 0, 1)[:, None]
    elif value.ndim == 2:
      value = value.T[..., None, None]
    with torch.no_grad():
      target.copy_(torch.from_numpy(np.array(value)).reshape(target.shape))

  def block(self, name, p):
    for norm in ("norm1", "norm2"):
      self.put(f"{name}.{norm}.weight", p[norm]["scale"])
      self.put(f"{name}.{norm}.bias", p[norm]["bias"])
    attn, ffn = p["attn"], p["ffn"]
    self.put(f"{name}.attn.temperature", attn["temperature"])
    self.put(f"{name}.attn.project_out.weight", attn["project_out"])
    for own in ("qkv", "qkv_dwconv"):
      self.put(f"{name}.attn.{own}.weight", attn[own]["kernel"])
    for own in ("project_in", "dwconv", "project_out"):
      self.put(f"{name}.ffn.{own}.weight", ffn[own]["kernel"])

  def fusion(self, merge):
    for i in (0, 1):
      self.put(f"merge.temperature.{i}", merge[f"temperature{i + 1}"])
      self.put(f"merge.mid.{i}.weight", merge[f"project_mid{i + 1}"])
      for own, theirs in (("qkv", "qkv{}"), ("qkv_dw", "qkv{}_dwconv"), ("own", "project_E{}")):
        self.put(f"merge.{own}.{i}.weight", merge[theirs.format(i + 1)]["kernel"])
      self.put(f"merge.own_dw.{i}.weight", merge[f"project_E{i + 1}_d"]["kernel"])
      self.put(f"merge.out.{i}.weight", merge[f"project_out{i + 1}"]["kernel"])
    self.put("merge.gates.weight", merge["project_E"]["kernel"])
    self.put("merge.gates_dw.weight", merge["project_E_d"]["kernel"])


def load(module, params):
  """Fills F or G with the package's parameters (nested dicts of arrays)."""
  fill, is_fusion = _Filler(module), isinstance(module, TorchFusionNet)
  stem = "project_in_{}" if is_fusion else "patch_embed{}"
  ours, theirs = ("decoder.{}", "decoder_{}") if is_fusion else ("joint.{}", "encoder3_{}")
  for i in (0, 1):
    fill.put(f"stem.{i}.weight", params[stem.format(i + 1)]["kernel"])
    for j in (0, 1):
      fill.block(f"encoder.{i}.{j}", params[f"encoder{i + 1}_{j}"])
  for j in (0, 1):
    fill.block(ours.format(j), params[theirs.format(j)])
  if is_fusion:
    fill.fusion(params["FM"])
    fill.put("head.weight", params["project_out_0"]["kernel"])
    fill.put("last.weight", params["project_out_1"]["kernel"])
  else:
    fill.put("head.weight", params["out1"]["kernel"])
    fill.put("slope.weight", params["out2"])
    fill.put("last.weight", params["out3"]["kernel"])
  assert not fill.left, f"left over: {sorted(fill.left)}"


def sobel(x):
  kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(x)
  return functional.conv2d(x, torch.stack([kernel, kernel.T])[:, None], padding=1)


def fusion_loss(fused, ir, vi, weights, alpha=1.0):
  """Eq. 1 to 3, the paper's form."""
  w_a, w_b = weights.chunk(2, 1)
  intensity = (w_a * (fused - ir) ** 2 + w_b * (fused - vi) ** 2).mean()
  a, b = sobel(ir), sobel(vi)
  strongest = torch.where(a.abs() >= b.abs(), a, b)
  return intensity + alpha * 2 * (sobel(fused) - strongest).abs().mean()


def meta_gradient(fuse, weigh, task_loss, t_params, mtr, mts, eta):
  """Eq. 7 by plain double backward: `torch.func` calls, T a pure function of its parameters.

  Args:
    fuse, weigh: modules.
    task_loss: (t_params, fused, target) -> scalar.
    t_params: list of tensors that require gradients.
    mtr, mts: ((ir, vi) of the crop, (ir, vi) of the whole, target).
    eta: (eta_F', eta_T').
  """
  f_params = dict(fuse.named_parameters())
  loss = fusion_loss(fuse(*mtr[0]), *mtr[0], weigh(*mtr[0]))
  inner = torch.autograd.grad(loss, list(f_params.values()), create_graph=True)
  ahead = {n: p - eta[0] * g for (n, p), g in zip(f_params.items(), inner, strict=True)}
  with torch.no_grad():
    fused = fuse(*mtr[1])
  t_grads = torch.autograd.grad(task_loss(t_params, fused, mtr[2]), t_params)
  t_ahead = [(p - eta[1] * g).detach() for p, g in zip(t_params, t_grads, strict=True)]
  outer = task_loss(t_ahead, torch.func.functional_call(fuse, ahead, mts[1]), mts[2])
  return torch.autograd.grad(outer, list(weigh.parameters()))


def small_task(channels=8, seed=0):
  """A small T for timing: two convolutions and a mean squared error to the target's brightness."""
  generator = torch.Generator().manual_seed(seed)
  shapes = ((channels, 1, 3, 3), (1, channels, 3, 3))
  params = [(torch.randn(s, generator=generator) * 0.2).requires_grad_() for s in shapes]

  def loss(params, fused, target):
    hidden = functional.relu(functional.conv2d(fused, params[0], padding=1))
    return ((functional.conv2d(hidden, params[1], padding=1) - target) ** 2).mean()

  return params, loss
