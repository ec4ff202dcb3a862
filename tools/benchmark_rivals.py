"""The rivals of `tools/benchmark.py`: PyTorch, ONNX Runtime and OpenVINO at the same work."""

import sys
from collections.abc import Callable

from benchmark_ours import ETA, ROOT, load_config


def openvino(work: str, height: int, width: int, batch: int) -> Callable[[], object]:
  """The F that `tdfusion export` writes by OpenVINO: "forward" in float32, else in bfloat16."""
  import numpy as np

  from tdfusion_jax import fusers
  from tdfusion_jax.engines.onnx import fusion_model
  from tdfusion_jax.engines.onnx_openvino import openvino_package

  ov = openvino_package()
  core = ov.Core()
  model = core.read_model(fusion_model(fusers.load_fusion()[1]).SerializeToString(), b"")
  model.reshape(dict.fromkeys(("ir", "vi"), [batch, height, width, 1]))
  precision = "f32" if work == "forward" else "bf16"
  how = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
  compiled = core.compile_model(model, "CPU", how)
  ir, vi = np.random.default_rng(0).random((2, batch, height, width, 1), np.float32)
  return lambda: compiled({"ir": ir, "vi": vi})


def torch_side(side: str, work: str, height: int, width: int, batch: int) -> Callable[[], object]:
  """PyTorch's (`eager`, `compile`) or ONNX Runtime's (`ort`) side of `work`, as `ours`."""
  import torch  # pyright: ignore[reportMissingImports]

  sys.path.insert(0, str(ROOT / "tests" / "oracles"))
  import torch_fusion as reference  # pyright: ignore[reportMissingImports]

  torch.manual_seed(0)
  fuse, weigh = reference.TorchFusionNet(), reference.TorchLossNet()
  ir, vi = torch.rand(batch, 1, height, width), torch.rand(batch, 1, height, width)
  if side == "ort":
    return _onnx(fuse, ir, vi)
  if side == "compile":
    fuse, weigh = torch.compile(fuse), torch.compile(weigh)
  if work == "forward":

    def forward():
      with torch.no_grad():
        return fuse(ir, vi)

    return forward
  if work == "f_step":

    def step():
      with torch.no_grad():
        weights = weigh(ir, vi)
      return torch.autograd.grad(
        reference.fusion_loss(fuse(ir, vi), ir, vi, weights), list(fuse.parameters())
      )

    return step
  params, loss = reference.small_task()
  target = torch.zeros(batch, 1, height, width)
  views = ((ir, vi), (ir, vi), target)
  return lambda: reference.meta_gradient(fuse, weigh, loss, params, views, views, (ETA, ETA))


def torch_config_step(config_file: str) -> Callable[[], object]:
  """PyTorch's meta-gradient at a config's real sizes with the small T.

  Less work than the config's G-step, which has the real T.
  """
  import torch  # pyright: ignore[reportMissingImports]

  sys.path.insert(0, str(ROOT / "tests" / "oracles"))
  import torch_fusion as reference  # pyright: ignore[reportMissingImports]

  torch.manual_seed(0)
  data = load_config(config_file).data
  fuse, weigh = reference.TorchFusionNet(), reference.TorchLossNet()
  image = lambda size: torch.rand(data.batch_size, 1, *size)  # noqa: E731
  crop, whole = ((image(size), image(size)) for size in (data.crop_size, data.task_size))
  params, loss = reference.small_task()
  views = (crop, whole, torch.zeros(data.batch_size, 1, *data.task_size))
  return lambda: reference.meta_gradient(fuse, weigh, loss, params, views, views, (ETA, ETA))


def _onnx(fuse, ir, vi) -> Callable[[], object]:
  import tempfile

  import onnxruntime  # pyright: ignore[reportMissingImports]
  import torch  # pyright: ignore[reportMissingImports]

  with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/f.onnx"
    torch.onnx.export(fuse.eval(), (ir, vi), path, input_names=["ir", "vi"], dynamo=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
  feed = {"ir": ir.numpy(), "vi": vi.numpy()}
  return lambda: session.run(None, feed)
