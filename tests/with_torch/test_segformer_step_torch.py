"""One step of SegFormer by mmseg's recipe, in float64, against transformers and torch's AdamW."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parents[1]))
from flax.traverse_util import flatten_dict  # noqa: E402

from configs import load  # noqa: E402
from tdfusion_jax import weightfiles  # noqa: E402
from tdfusion_jax.batch import IGNORE_LABEL, SegTarget  # noqa: E402
from tdfusion_jax.convert.files import convert  # noqa: E402
from tdfusion_jax.meta.method import Method, task_loss  # noqa: E402
from tdfusion_jax.tasks.segmentation import segmentation  # noqa: E402
from tdfusion_jax.train import controls, recipe, task_optimiser  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("x64")]
CLASSES = 5
SIZES = {
  "b0": {},
  "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
}


def their_network(variant):
  """Random weights with norms and biases that are not idle; nothing is dropped out."""
  torch.manual_seed(0)
  made = transformers.SegformerForSemanticSegmentation(
    transformers.SegformerConfig(
      num_labels=CLASSES,
      drop_path_rate=0.0,
      classifier_dropout_prob=0.0,
      hidden_dropout_prob=0.0,
      attention_probs_dropout_prob=0.0,
      **SIZES[variant],
    )
  ).double()
  with torch.no_grad():
    for name, value in made.named_parameters():
      is_scale = "norm" in name and "weight" in name
      value.copy_(0.05 * torch.randn_like(value) + (1.0 if is_scale else 0.0))
  return made.train()


def their_optimiser(network, rate):
  """The published groups: the first of "head" and "norm" that is in a name decides."""

  def group(name):
    if "head" in name:
      return {"lr": 10 * rate, "weight_decay": 0.01}
    return {"lr": rate, "weight_decay": 0.0 if "norm" in name else 0.01}

  groups = [{"params": [p], **group(name)} for name, p in network.named_parameters()]
  return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def in_our_form(network, folder):
  """Its parameters and running statistics in float64, and the options of our network."""
  torch.save(network.state_dict(), folder / "w.bin")
  convert(folder / "w.bin", folder / "t.safetensors", dtype="source")
  variables, about = weightfiles.load_weights(folder / "t.safetensors")
  return jax.tree.map(lambda a: np.array(a, np.float64), variables), about["options"]


def gradients_in_our_form(network, folder):
  """The gradients, converted as the weights that they belong to."""
  values = {name: value.grad for name, value in network.named_parameters()}
  state = {**network.state_dict(), **values}
  torch.save(state, folder / "g.bin")
  convert(folder / "g.bin", folder / "g.safetensors", dtype="source")
  return weightfiles.load_weights(folder / "g.safetensors")[0]["params"]


def assert_near(found: Any, expected: Any, tolerance=1e-9, least=1e-6):
  found, expected = flatten_dict(jax.device_get(found)), flatten_dict(expected)
  assert found.keys() == expected.keys()
  scale = max(np.abs(value).max() for value in expected.values())
  for path, value in expected.items():
    assert value.dtype == found[path].dtype == np.float64
    # Some gradients are exactly zero but for rounding, as of a bias in front of a norm.
    size = max(np.abs(value).max(), least * scale)
    np.testing.assert_allclose(found[path], value, rtol=0, atol=tolerance * size, err_msg=str(path))


@pytest.fixture
def one_thread():
  """More would wait for each other at these sizes, busily."""
  before = torch.get_num_threads()
  torch.set_num_threads(1)
  yield
  torch.set_num_threads(before)


@pytest.mark.slow  # compiles the gradient of SegFormer, ten to thirty seconds of one core
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("variant", SIZES)
def test_loss_gradient_and_step_are_those_of_the_packages(tmp_path, variant):
  """Expected: transformers' network in training mode, torch's cross-entropy, gradient and AdamW."""
  theirs = their_network(variant)
  start, options = in_our_form(theirs, tmp_path)
  rng = np.random.default_rng(0)
  image = rng.random((2, 64, 64, 3))
  labels = rng.integers(0, CLASSES, (2, 64, 64))
  labels[:, :9] = IGNORE_LABEL
  logits = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2))).logits
  logits = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)
  loss = torch.nn.functional.cross_entropy(
    logits, torch.from_numpy(labels), ignore_index=IGNORE_LABEL
  )
  loss.backward()

  config = load("fmb_seg", "task")
  config.data.batch_size, config.optim.warmup_steps, config.train.epochs = 2, 4, 5
  how = recipe.recipe_of(config, 10, 20, CLASSES)
  task = segmentation(**{**options, "drop_path": 0.1, "momentum": 0.1})
  halves = partial(controls.weigh_constant, w_a=0.5)
  method = Method(controls.finished, halves, None, task, dropout=False)
  params = jax.tree.map(jnp.asarray, start["params"])
  target = SegTarget(jnp.asarray(labels))

  def judged(t):
    return task_loss(method, t, start["batch_stats"], jnp.asarray(image), target, None)

  compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
  slope = compiled(jax.value_and_grad(judged, has_aux=True))
  (ours, found), grads = slope(params)
  assert float(ours) == pytest.approx(float(loss.detach()), rel=1e-12)
  slopes = gradients_in_our_form(theirs, tmp_path)
  assert_near(grads, slopes)

  # The third batch: half of the warm-up, and two of fifty batches of the fall.
  rate = 6e-5 * (1e-6 + (1 - 1e-6) * 2 / 4) * (1 - 2 / 50)
  their_optimiser(theirs, rate).step()
  rule = task_optimiser.task_optimiser(how)

  @compiled  # one by one, the same few operations would be compiled for each shape by itself
  def third_step(grads, params):
    at_rest: Any = rule.init(params)
    return rule.update(grads, at_rest._replace(seen=jnp.asarray(2, jnp.int32)), params)[0]

  step = third_step(grads, params)
  end, _ = in_our_form(theirs, tmp_path)
  assert_near(jax.tree.map(np.add, start["params"], jax.device_get(step)), end["params"])
  moved = jax.tree.map(lambda a, b: a - b, end["params"], start["params"])
  # Adam divides a gradient by its own size: where it is rounding alone, as of a bias in front of a
  # norm, so is the step, and it depends on PyTorch's number of threads.
  flat_slopes: Any = flatten_dict(slopes)
  sizes = {path: np.abs(value).max() for path, value in flat_slopes.items()}
  real = [path for path, size in sizes.items() if size > 1e-12 * max(sizes.values())]
  assert len(real) > 0.9 * len(sizes)
  ours_moved, theirs_moved = ({p: flatten_dict(t)[p] for p in real} for t in (step, moved))
  assert_near(ours_moved, theirs_moved, tolerance=1e-8, least=1)
  assert_near(found.t_stats, end["batch_stats"])
