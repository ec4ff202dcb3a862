"""Networks that the converter knows, and their counts of parameters and keys."""

import jax
import numpy as np

from tdfusion_jax.convert import restormer, segformer, yolov8
from tdfusion_jax.networks.fusion import FusionNet
from tdfusion_jax.networks.lossgen import LossNet


def variables_of(network, inputs):
  """Random variables of a network's shapes (seeded), without running its initialisers."""
  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs))
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes)


CASES = {
  "fusion": (FusionNet(), restormer.sample_inputs(), 59_856, 140),
  "lossgen": (LossNet(), restormer.sample_inputs(), 44_529, 111),
  "segformer": (segformer.build(9), segformer.sample_inputs(), 3_713_321, 192),
  "yolov8": (yolov8.build(1), yolov8.sample_inputs(), 3_010_739, 355),
}
