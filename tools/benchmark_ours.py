"""This package's side of the work that `tools/benchmark.py` measures."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ETA = 0.1


def ours(work: str, height: int, width: int, batch: int) -> Callable[[], object]:
  """This package's side of a piece of work, prepared.

  Args:
    work: one of the names in `tools/benchmark.py`.
    height: of the images, pixels.
    width: of the images, pixels.
    batch: images.

  Returns:
    A function that runs it once.
  """
  import jax
  import jax.numpy as jnp
  import optax

  from tdfusion_jax import fusers, meta
  from tdfusion_jax.batch import DetTarget, Pair, SegTarget, Views
  from tdfusion_jax.losses.fusion import fusion_loss
  from tdfusion_jax.networks.fusion import FusionNet
  from tdfusion_jax.networks.lossgen import LossNet
  from tdfusion_jax.ops import compiling
  from tdfusion_jax.tasks.detection import detection
  from tdfusion_jax.tasks.segmentation import segmentation

  ir, vi = (jax.random.uniform(jax.random.key(k), (batch, height, width, 1)) for k in (0, 1))
  small = jnp.zeros((1, 16, 16, 1))
  f_params = FusionNet().init(jax.random.key(2), small, small)["params"]
  g_params = LossNet().init(jax.random.key(3), small, small)["params"]
  if work == "forward_half":
    return _in_half(f_params, ir, vi)
  if work == "forward_bf16":
    f_params, ir, vi = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (f_params, ir, vi))
  if work in ("forward", "forward_bf16"):
    return _ready(compiling.jit(fusers.fuse_net), f_params, ir, vi)
  if work == "forward_fast":
    fast = fusers.fast_network()
    params = fusers.init_variables(fast.network, jax.random.key(2))["params"]
    return _ready(compiling.jit(fast), params, ir, vi)
  if work == "f_step":

    def loss(f_params, weights):
      return fusion_loss(fusers.fuse_net(f_params, ir, vi), ir, vi, weights)[0]

    step = compiling.jit(
      lambda f, g: jax.grad(loss)(f, jax.lax.stop_gradient(fusers.weigh_net(g, ir, vi)))
    )
    return _ready(step, f_params, g_params)
  if work in ("g_step", "ft_step"):
    raise ValueError("steps of a config go through `config_step`")
  kind = work.removeprefix("meta_")
  labels = jnp.zeros((batch, height, width), jnp.int32)
  boxes = jnp.tile(jnp.array([[[8.0, 8, 40, 60]]]), (batch, 4, 1))
  ok = jnp.ones((batch, 4), bool)
  task, target = {
    "small": lambda: (_small_task(), jnp.zeros((batch, height, width, 1))),
    "segformer_b0": lambda: (segmentation(9), SegTarget(labels)),
    "yolov8n": lambda: (detection(1), DetTarget(boxes, jnp.zeros((batch, 4), jnp.int32), ok)),
  }[kind]()
  t_params, t_stats = task.init(
    jax.random.key(4), small if kind == "small" else jnp.zeros((1, height, width, 1))
  )
  method = meta.Method(fusers.fuse_net, fusers.weigh_net, fusion_loss, task, dropout=False)
  rule = optax.sgd(0.1)
  rules = meta.Optimisers(rule, rule, rule)
  params = meta.Params(f_params, g_params, t_params, t_stats)
  state = meta.init_state(params, rules, jax.random.key(0))
  views = Views(Pair(ir, vi), Pair(ir, vi, target))
  rates = meta.Rates(ETA, ETA)
  gradient = compiling.jit(lambda s, a, b: meta.meta_gradient(method, s, a, b, rates)[0])
  return _ready(gradient, state, views, views)


def _in_half(f_params, ir, vi) -> Callable[[], object]:
  """F of one pair in half precision on a CPU, as `tdfusion fuse --dtype bfloat16` runs it."""
  import numpy as np

  from tdfusion_jax.engines import host

  if not host.has_half():
    raise RuntimeError("this processor has no tiles (AMX): F runs in float32")
  weights, (a, b) = host.weights_of(f_params), (np.array(image[0]) for image in (ir, vi))
  return lambda: host.fuse(weights, a, b, half=True)


def _small_task():
  """The counterpart of `torch_fusion.small_task`."""
  import jax
  import jax.numpy as jnp

  from tdfusion_jax.tasks import Task

  def init(key, images):
    one, two = jax.random.split(key)
    shapes = {"a": (3, 3, 1, 8), "b": (3, 3, 8, 1)}
    return {n: 0.2 * jax.random.normal(k, shapes[n]) for n, k in (("a", one), ("b", two))}, {}

  def conv(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  def apply(params, stats, images, *, train, key=None):
    return conv(jax.nn.relu(conv(images, params["a"])), params["b"]), stats

  return Task(
    init, apply, lambda out, target: (jnp.mean((out - target) ** 2), {}), lambda p, s, x: x
  )


def config_step(work: str, config_file: str, count: str = "1") -> Callable[[], object]:
  """A whole G-step or F/T-step of a config at its real sizes, on `count` devices.

  On random images with the labels of nothing.
  """
  import jax.numpy as jnp
  import numpy as np

  from tdfusion_jax import meta
  from tdfusion_jax.batch import DetTarget, Pair, SegTarget, Views
  from tdfusion_jax.meta.lookahead import lookahead
  from tdfusion_jax.train import build, computing, devices

  config = load_config(config_file)
  config.train.devices = count
  mesh = devices.mesh_of(config)
  classes = {"llvip_det": 1, "m3fd_det": 6, "msrs_seg": 9, "fmb_seg": 15}[config_file]
  batch, (height, width) = config.data.batch_size, config.data.task_size
  rng = np.random.default_rng(0)
  image = lambda h, w: jnp.asarray(rng.random((batch, h, w, 1), np.float32))  # noqa: E731
  if config.task.kind == "segmentation":
    target = SegTarget(jnp.zeros((batch, height, width), jnp.int32))
  else:
    rows = config.data.max_boxes
    boxes = jnp.tile(jnp.array([8.0, 8, 40, 60]), (batch, rows, 1))
    target = DetTarget(
      boxes, jnp.zeros((batch, rows), jnp.int32), jnp.arange(rows)[None].repeat(batch, 0) < 4
    )
  views = Views(
    Pair(image(*config.data.crop_size), image(*config.data.crop_size)),
    Pair(image(height, width), image(height, width), target),
  )
  judge = build.task(config, classes)
  how = build.method(config, judge)
  f, g, t = (build.optimiser(config, letter, 100) for letter in "fgt")
  rules = meta.Optimisers(f, g, t)
  teacher = lookahead(meta.Rates(1e-4, 1e-4))
  steps = meta.make_steps(computing.as_computed(config, how, mesh), teacher, rules)
  state = devices.place_state(build.init_state(config, how, rules, (height, width)), mesh)
  views = devices.place_batch(dict.fromkeys(("mtr", "mts", "ftr"), views), mesh)
  if work == "g_step":
    return _ready_step(steps[0], state, {"mtr": views["mtr"], "mts": views["mts"]}, mesh)
  return _ready_step(steps[1], state, {"ftr": views["ftr"]}, mesh)


def load_config(name: str):
  """The config of a file in `configs`."""
  spec = importlib.util.spec_from_file_location("config", ROOT / "configs" / f"{name}.py")
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def _ready_step(step, state, views, mesh) -> Callable[[], object]:
  """A step whose state is kept, since it is to run again from there."""
  from tdfusion_jax.ops import compiling
  from tdfusion_jax.train import devices

  placed = {} if mesh is None else {"out_shardings": devices.everywhere(mesh)}
  return _ready(compiling.jit(step, **placed), state, views)


def _ready(function, *arguments) -> Callable[[], object]:
  import jax

  compiled = function.lower(*arguments).compile()
  return lambda: jax.block_until_ready(compiled(*arguments))
