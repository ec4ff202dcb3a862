"""google-research/scenic: its segmentation models as T, and our SegFormer as one of its models.

Scenic is optional and imported only where it is needed. What is relied on is its documented
base-model interface: `Model(config, dataset_meta_data)` with `flax_model`, `loss_function(logits,
batch, model_params=None)` and `get_metrics_fn(split)`.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tdfusion_jax.batch import IGNORE_LABEL, SegTarget
from tdfusion_jax.files import UsageError
from tdfusion_jax.networks.segformer import SegFormer
from tdfusion_jax.tasks import Task

COMMIT = "4181ac18e2fb48e1e013ddef9b742e5f590eba4e"
HOW_TO_INSTALL = (
  "Install google-research/scenic from its repository:\n"
  "  git clone https://github.com/google-research/scenic && cd scenic\n"
  f"  git checkout {COMMIT}\n"
  "  pip install immutabledict ml-collections flax optax && export PYTHONPATH=$PWD\n"
  "(Its own `pip install .` brings TensorFlow as well, which nothing here needs.)"
)


class ScenicError(ImportError, UsageError):
  """Scenic or one of its models cannot be used, with the reason."""


def require_scenic() -> None:
  """Checks that `import scenic` means google-research/scenic.

  Raises:
    ScenicError: there is no such package, or it is PyPI's, which is another project of the same
      name.
  """
  # Looked at, not imported: PyPI's package needs much that is not there, and its errors would hide
  # what it is.
  spec = importlib.util.find_spec("scenic")
  if spec is None:
    raise ScenicError(
      "Scenic is not installed. Do not `pip install scenic`: on PyPI that name is an unrelated "
      f"project.\n{HOW_TO_INSTALL}"
    )
  folders = [Path(place) for place in spec.submodule_search_locations or ()]
  if not any((folder / "model_lib").is_dir() for folder in folders):
    raise ScenicError(
      "the installed package `scenic` is not google-research/scenic (it has no scenic.model_lib): "
      "PyPI's project of that name, a scenario language, is unrelated. Remove it with "
      f"`pip uninstall scenic`.\n{HOW_TO_INSTALL}"
    )


def load_model_class(name: str) -> type:
  """The class that "package.module:Class" names.

  Raises:
    ScenicError: no such module or class; for `scenic....`, see `require_scenic`.
  """
  module, _, attribute = name.partition(":")
  if not module or not attribute:
    raise ScenicError(
      f"model {name!r}: write package.module:Class, as in scenic.projects.baselines.unet:UNet..."
    )
  if module.split(".")[0] == "scenic":
    require_scenic()
  try:
    return getattr(importlib.import_module(module), attribute)
  except (ImportError, AttributeError) as error:
    raise ScenicError(f"model {name!r} cannot be imported: {error}") from error


def task_from_names(
  num_classes: int,
  variant: str = "",
  *,
  model: str = "",
  in_channels: int = 3,
  config: Mapping | None = None,
) -> Task:
  """What `task.kind = "scenic"` of a config makes.

  Args:
    num_classes: of the data set.
    variant: not used: a Scenic model has its sizes in its own config.
    model: the model's class, "package.module:Class".
    in_channels: channels its network needs; the fused image is repeated.
    config: the model's own config; None is its default.

  Raises:
    ScenicError: see `load_model_class`.
  """
  del variant
  meta = {"num_classes": num_classes, "target_is_onehot": False}
  made = load_model_class(model)(ConfigDict(dict(config)) if config else None, meta)
  return segmentation_task(made, in_channels=in_channels)


def segmentation_task(model: Any, in_channels: int = 3) -> Task:
  """A Scenic segmentation model as T.

  Args:
    model: made with `target_is_onehot` False in its meta data.
    in_channels: channels its network needs; [B, H, W, 1] images are repeated.

  Returns:
    Task for `SegTarget`: pixels of `IGNORE_LABEL` are masked out with Scenic's `batch_mask`.
    Collections other than "params" are the task's `stats`.

  Raises:
    ValueError: images of another number of channels.
  """
  network = model.flax_model

  def prepare(images):
    if images.shape[-1] not in (1, in_channels):
      raise ValueError(
        f"this Scenic task needs {in_channels} channel(s) or one, not {images.shape} images."
      )
    return images if images.shape[-1] == in_channels else jnp.repeat(images, in_channels, axis=-1)

  def init(key, images):
    keys = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
    variables = dict(jax.jit(lambda x: network.init(keys, x, train=False))(prepare(images)))
    return variables.pop("params"), variables

  def apply(params, stats, images, *, train, key=None) -> tuple[Any, Any]:
    variables = {"params": params, **stats}
    images = prepare(images)
    if not train:
      return network.apply(variables, images, train=False), stats
    # Scenic's networks ask for a dropout key whenever they train: without one here, the same one
    # every time.
    rngs = {"dropout": jax.random.key(0) if key is None else key}
    logits, moved = network.apply(variables, images, train=True, mutable=list(stats), rngs=rngs)
    return logits, {**stats, **moved}

  def loss(logits, target: SegTarget):
    value = model.loss_function(logits, _batch(target))
    return value, {"scenic": value}

  def predict(params, stats, images):
    logits, _ = apply(params, stats, images, train=False)
    return {"labels": jnp.argmax(logits, axis=-1).astype(jnp.int32)}

  return Task(init, apply, loss, predict)


def metrics(
  model: Any, split: str | None = None
) -> Callable[[Any, SegTarget], dict[str, jax.Array]]:
  """The model's own metrics as a function (logits [B, H, W, C], target) -> {name: mean}.

  Scenic sums its metrics over a mapped axis named "batch", so they cannot be called outside of one.
  """
  measure = model.get_metrics_fn(split)

  def call(logits, target: SegTarget):
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], _batch(target))
    sums = jax.vmap(measure, axis_name="batch")(jnp.asarray(logits)[None], batch)
    return {name: total[0] / jnp.maximum(count[0], 1) for name, (total, count) in sums.items()}

  return call


def _batch(target: SegTarget) -> dict[str, jax.Array]:
  labels = jnp.asarray(target.labels)
  known = labels != IGNORE_LABEL
  return {"label": jnp.where(known, labels, 0), "batch_mask": known.astype(jnp.float32)}


class ScenicSegFormer(SegFormer):
  """SegFormer with the call of Scenic's networks."""

  def __call__(self, images, *, train: bool = False, debug: bool = False):  # pyright: ignore
    """As of SegFormer, but with `train` by name; `debug` changes nothing."""
    del debug
    return super().__call__(images, train)


def segformer_model_class(base: type | None = None) -> type:
  """Our SegFormer as a Scenic model class, to hand to Scenic's trainers.

  Its config names `variant` and further options of `SegFormer` under `model`; the number of classes
  comes from the data set's meta data.

  Args:
    base: the class to extend; None is
      `scenic.model_lib.base_models.segmentation_model.SegmentationModel`.

  Raises:
    ScenicError: see `require_scenic`.
  """
  if base is None:
    base = load_model_class("scenic.model_lib.base_models.segmentation_model:SegmentationModel")

  def build_flax_model(self):
    config: Any = self.config or default(self)
    return ScenicSegFormer(self.dataset_meta_data["num_classes"], **config.get("model", {}))

  def default(self):
    del self
    return ConfigDict({"model": {"variant": "b0"}})

  members = {
    "__doc__": "SegFormer as a Scenic model.",
    "build_flax_model": build_flax_model,
    "default_flax_model_config": default,
  }
  return type("SegFormerSegmentationModel", (base,), members)
