"""L_t of semantic segmentation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tdfusion_jax.batch import IGNORE_LABEL, SegTarget
from tdfusion_jax.losses import sums


def cross_entropy(
  logits: Float[Array, "b h w classes"], target: SegTarget
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Mean cross-entropy over all pixels whose label is known; equal logits give log(classes).

  Labels must lie in [0, classes) or be `IGNORE_LABEL`: data readers check that. Any other label
  makes the loss and its gradient NaN, because compiled code cannot raise and must not train on a
  wrong answer.

  Args:
    logits: [B, H, W, classes].
    target: labels [B, H, W] integers.

  Returns:
    (loss, {"cross_entropy": loss}), scalars in nats. Zero, with zero gradient, if every pixel is
    ignored.

  Raises:
    ValueError: labels whose shape is not that of the logits' pixels.
  """
  labels = jnp.asarray(target.labels)
  if labels.shape != logits.shape[:-1]:
    raise ValueError(f"labels are {labels.shape}, logits need {logits.shape[:-1]}.")
  known = labels != IGNORE_LABEL
  classes = jnp.arange(logits.shape[-1], dtype=labels.dtype).reshape(1, 1, 1, -1)
  # A masked sum and not a gather, whose gradient would be a scatter.
  is_true = labels[..., None] == classes
  error = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(jnp.where(is_true, logits, 0), axis=-1)
  count = jnp.maximum(jnp.sum(known), 1).astype(logits.dtype)
  valid = jnp.all(~known | ((labels >= 0) & (labels < logits.shape[-1])))
  nan_if_wrong = jnp.where(valid, 1, jnp.nan).astype(logits.dtype)
  loss = sums.total(jnp.where(known, error, 0)) / count * nan_if_wrong
  return loss, {"cross_entropy": loss}
