"""This package's side of the work that `tools/benchmark.py` measures."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ETA = 0.1


class Program(NamedTuple):
  """A piece of work."""

  function: Any
  """Jitted."""
  arguments: tuple[Any, ...]


def ours(work: str, height: int, width: int, batch: int) -> Callable[[], object]:
  """A piece of work of one of the names in `tools/benchmark.py`, prepared.

  Args:
    work: its name.
    height: of the images, pixels.
    width: of the images, pixels.
    batch: images.

  Returns:
    A function that runs it once.
  """
  if work == "forward_half":
    return _in_half(height, width, batch)
  return _ready(program(work, height, width, batch))


def program(work: str, height: int, width: int, batch: int) -> Program:
  """As `ours`, not compiled yet."""
  if work.startswith("forward"):
    return forward("fast" if work == "forward_fast" else "f", "float32", height, width, batch)
  if work == "gradient_fast":
    return _gradient("fast", height, width, batch)
  if work == "f_step":
    return _f_step(height, width, batch)
  return _meta_gradient(work.removeprefix("meta_"), height, width, batch)


def forward(network: str, dtype: str, height: int, width: int, batch: int) -> Program:
  """A network fuses a batch, of numbers between 0 and 1.

  Args:
    network: "f", "fast", or the `module:function` of your own.
    dtype: of parameters and images, such as "bfloat16".
    height: of the images, pixels.
    width: of the images, pixels.
    batch: images.
  """
  import jax

  from tdfusion_jax.ops import compiling

  fuser = _fuser(network)
  everything = (_fresh(fuser), *_images(height, width, batch))
  arguments = jax.tree.map(lambda leaf: leaf.astype(dtype), everything)
  return Program(compiling.jit(fuser), arguments)


def _fuser(network: str):
  from tdfusion_jax import fusers

  if ":" in network:
    return fusers.own_network(fusers.Fuser, network, {}, "network")
  return fusers.fast_network() if network == "fast" else fusers.fusion_network()


def _fresh(net, seed: int = 2):
  """Parameters of a `Fuser` or `Weigher`."""
  import jax

  from tdfusion_jax import fusers

  return fusers.init_variables(net.network, jax.random.key(seed))["params"]


def _images(height: int, width: int, batch: int):
  import jax

  return [jax.random.uniform(jax.random.key(k), (batch, height, width, 1)) for k in (0, 1)]


def _gradient(network: str, height: int, width: int, batch: int) -> Program:
  """Of the squared distance to infrared, with respect to a network as in `forward`."""
  import jax
  import jax.numpy as jnp

  from tdfusion_jax.ops import compiling

  fuser, (ir, vi) = _fuser(network), _images(height, width, batch)
  gradient = jax.grad(lambda params: jnp.mean((fuser(params, ir, vi) - ir) ** 2))
  return Program(compiling.jit(gradient), (_fresh(fuser),))


def _f_step(height: int, width: int, batch: int) -> Program:
  """The gradient of the fusion loss with respect to F, G's weights given."""
  import jax

  from tdfusion_jax import fusers
  from tdfusion_jax.losses.fusion import fusion_loss
  from tdfusion_jax.ops import compiling

  ir, vi = _images(height, width, batch)

  def loss(f_params, weights):
    return fusion_loss(fusers.fuse_net(f_params, ir, vi), ir, vi, weights)[0]

  def step(f_params, g_params):
    weights = jax.lax.stop_gradient(fusers.weigh_net(g_params, ir, vi))
    return jax.grad(loss)(f_params, weights)

  params = _fresh(fusers.fusion_network()), _fresh(fusers.loss_network(), 3)
  return Program(compiling.jit(step), params)


def _meta_gradient(kind: str, height: int, width: int, batch: int) -> Program:
  """Eq. 7 with T "small", "segformer_b0" or "yolov8n"."""
  import jax
  import jax.numpy as jnp
  import optax

  from tdfusion_jax import fusers, meta
  from tdfusion_jax.batch import Pair, Views
  from tdfusion_jax.losses.fusion import fusion_loss
  from tdfusion_jax.ops import compiling
  from tdfusion_jax.tasks.detection import detection
  from tdfusion_jax.tasks.segmentation import segmentation

  task, target = {
    "small": lambda: (_small_task(), jnp.zeros((batch, height, width, 1))),
    "segformer_b0": lambda: (segmentation(9), _masks(batch, height, width)),
    "yolov8n": lambda: (detection(1), _boxes(batch, 4)),
  }[kind]()
  seen = (1, 16, 16, 1) if kind == "small" else (1, height, width, 1)
  t_params, t_stats = task.init(jax.random.key(4), jnp.zeros(seen))
  method = meta.Method(fusers.fuse_net, fusers.weigh_net, fusion_loss, task, dropout=False)
  rule = optax.sgd(0.1)
  f_params, g_params = _fresh(fusers.fusion_network()), _fresh(fusers.loss_network(), 3)
  params = meta.Params(f_params, g_params, t_params, t_stats)
  state = meta.init_state(params, meta.Optimisers(rule, rule, rule), jax.random.key(0))
  ir, vi = _images(height, width, batch)
  views = Views(Pair(ir, vi), Pair(ir, vi, target))
  rates = meta.Rates(ETA, ETA)
  gradient = compiling.jit(lambda s, a, b: meta.meta_gradient(method, s, a, b, rates)[0])
  return Program(gradient, (state, views, views))


def _masks(batch: int, height: int, width: int):
  """Labels of nothing."""
  import jax.numpy as jnp

  from tdfusion_jax.batch import SegTarget

  return SegTarget(jnp.zeros((batch, height, width), jnp.int32))


def _boxes(batch: int, rows: int):
  """Four boxes in each image."""
  import jax.numpy as jnp

  from tdfusion_jax.batch import DetTarget

  boxes = jnp.tile(jnp.array([8.0, 8, 40, 60]), (batch, rows, 1))
  there = jnp.arange(rows)[None].repeat(batch, 0) < 4
  return DetTarget(boxes, jnp.zeros((batch, rows), jnp.int32), there)


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
  """`step` of a config at its real sizes on `count` devices, prepared."""
  return _ready(step(work, config_file, {"train.devices": count}))


def step(work: str, config_file: str, changes: Mapping[str, Any]) -> Program:
  """A whole step of a config, on random images with the labels of nothing or of four boxes.

  Args:
    work: "g_step" or "ft_step".
    config_file: name of a file in `configs`.
    changes: {field: value} of the config, such as its `train.dtype`.
  """
  import jax.numpy as jnp
  import numpy as np

  from tdfusion_jax import meta
  from tdfusion_jax.batch import Pair, Views
  from tdfusion_jax.meta.lookahead import lookahead
  from tdfusion_jax.ops import compiling
  from tdfusion_jax.train import build, computing, devices

  config = load_config(config_file)
  config.update_from_flattened_dict(dict(changes))
  mesh = devices.mesh_of(config)
  classes = {"llvip_det": 1, "m3fd_det": 6, "msrs_seg": 9, "fmb_seg": 15}[config_file]
  batch, crop, whole = config.data.batch_size, config.data.crop_size, config.data.task_size
  rng = np.random.default_rng(0)

  def image(size):
    return jnp.asarray(rng.random((batch, *size, 1), np.float32))

  masks = config_file.endswith("_seg")
  target = _masks(batch, *whole) if masks else _boxes(batch, config.data.max_boxes)
  views = Views(Pair(image(crop), image(crop)), Pair(image(whole), image(whole), target))
  how = build.method(config, build.task(config, classes))
  f, g, t = (build.optimiser(config, letter, 100) for letter in "fgt")
  rules = meta.Optimisers(f, g, t)
  teacher = lookahead(meta.Rates(1e-4, 1e-4))
  steps = meta.make_steps(computing.as_computed(config, how, mesh), teacher, rules)
  state = devices.place_state(build.init_state(config, how, rules, whole), mesh)
  roles = ("mtr", "mts") if work == "g_step" else ("ftr",)
  placed = devices.place_batch(dict.fromkeys(roles, views), mesh)
  # Unlike a training's, this step does not donate the state: it is to run again from there.
  where = {} if mesh is None else {"out_shardings": devices.everywhere(mesh)}
  chosen = steps[0] if work == "g_step" else steps[1]
  return Program(compiling.jit(chosen, **where), (state, placed))


def load_config(name: str):
  """The config of a file in `configs`."""
  spec = importlib.util.spec_from_file_location("config", ROOT / "configs" / f"{name}.py")
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def _in_half(height: int, width: int, batch: int) -> Callable[[], object]:
  """F of one pair in half precision on a CPU, as `tdfusion fuse --dtype bfloat16` runs it."""
  import numpy as np

  from tdfusion_jax.engines import host

  if not host.has_half():
    raise RuntimeError(
      "this processor multiplies no bfloat16 (AMX, AVX512-BF16): F runs in float32"
    )
  weights = host.weights_of(_fresh(_fuser("f")))
  a, b = (np.array(image[0]) for image in _images(height, width, batch))
  return lambda: host.fuse(weights, a, b, half=True)


def _ready(made: Program) -> Callable[[], object]:
  import jax

  compiled = made.function.lower(*made.arguments).compile()
  return lambda: jax.block_until_ready(compiled(*made.arguments))
