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


def torch_side(
  side: str,
  work: str,
  size: tuple[int, int, int],
  device: str = "cpu",
  dtype: str = "float32",
) -> Callable[[], object]:
  """PyTorch's (`eager`, `compile`) or ONNX Runtime's (`ort`) side of `work`, prepared.

  Args:
    side: whose.
    work: one of the names in `tools/benchmark.py`.
    size: height, width, batch.
    device: of PyTorch.
    dtype: of F, G and the images.
  """
  import torch  # pyright: ignore[reportMissingImports]

  reference, (fuse, weigh), images = _torch_parts(device, dtype)
  height, width, batch = size
  ir, vi = images(batch, height, width), images(batch, height, width)
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
  params, loss = _small_task(reference, ir)
  views = ((ir, vi), (ir, vi), torch.zeros_like(ir))
  return lambda: reference.meta_gradient(fuse, weigh, loss, params, views, views, (ETA, ETA))


def torch_config_step(
  config_file: str, device: str = "cpu", dtype: str = "float32"
) -> Callable[[], object]:
  """PyTorch's meta-gradient at a config's real sizes with the small T.

  Less work than the config's G-step, which has the real T.
  """
  import torch  # pyright: ignore[reportMissingImports]

  reference, (fuse, weigh), images = _torch_parts(device, dtype)
  data = load_config(config_file).data
  sizes = data.crop_size, data.task_size
  crop, whole = ((images(data.batch_size, *s), images(data.batch_size, *s)) for s in sizes)
  params, loss = _small_task(reference, whole[0])
  views = (crop, whole, torch.zeros_like(whole[0]))
  return lambda: reference.meta_gradient(fuse, weigh, loss, params, views, views, (ETA, ETA))


def _torch_parts(device: str, dtype: str):
  """The counterpart in `tests/oracles`, its F and G, and what makes images."""
  import torch  # pyright: ignore[reportMissingImports]

  sys.path.insert(0, str(ROOT / "tests" / "oracles"))
  import torch_fusion as reference  # pyright: ignore[reportMissingImports]

  torch.manual_seed(0)
  # On a GPU the fastest algorithm that PyTorch has, in the numbers that XLA multiplies in too.
  torch.backends.cudnn.benchmark = True
  torch.set_float32_matmul_precision("high" if device == "cuda" else "highest")
  how = {"device": torch.device(device), "dtype": getattr(torch, dtype)}
  networks = reference.TorchFusionNet().to(**how), reference.TorchLossNet().to(**how)
  return reference, networks, lambda batch, *size: torch.rand(batch, 1, *size, **how)


def _small_task(reference, like):
  """The oracle's T and its loss, on the device and in the numbers of `like`."""
  params, loss = reference.small_task()
  return [p.detach().to(like).requires_grad_() for p in params], loss


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
