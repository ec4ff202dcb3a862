"""Weights of F by what they are for: NumPy or JAX arrays, for engines other than Linen."""

from collections.abc import Callable
from typing import Any, NamedTuple

HEADS = 8
"""Of channel attention."""


class Widening(NamedTuple):
  """Weights of `z = depthwise3x3(LN(x) w)`, from C to N channels; NumPy or JAX arrays."""

  norm: tuple[Any, Any] | None
  """Scale and bias [C] of the layer norm, or None without one."""
  matrix: Any
  """[C, N]."""
  kernel: Any
  """[3, 3, N]."""


class BlockWeights(NamedTuple):
  """Weights of a `RestormerBlock` of C channels, for what computes it by other means than Linen."""

  qk: Widening
  """Queries beside keys, C to 2 C."""
  v: Widening
  """Values, C to C."""
  temperature: Any
  """[heads]."""
  project: Any
  """[C, C], behind the attention."""
  feed: Widening
  """Gate beside value of the feed-forward part, C to 4 C."""
  out: Any
  """[2 C, C], behind the gate."""


class CrossWeights(NamedTuple):
  """Weights of the fusion module, C channels of each modality; a pair is (infrared, visible)."""

  qk: tuple[Widening, Widening]
  """Queries beside keys of each modality, C to 2 C."""
  v: tuple[Widening, Widening]
  """Values, C to C."""
  temperature: tuple[Any, Any]
  """[heads]."""
  project: tuple[Any, Any]
  """[C, C]."""
  gates: Widening
  """Both modalities side by side to both gates, 2 C to 8 C."""
  filtered: tuple[Widening, Widening]
  """What the gate of each modality filters, C to 4 C."""
  out: tuple[Any, Any]
  """[4 C, 2 C]."""


def as_one_block(
  weights: CrossWeights,
  xp: Any,
  on_diagonal: Callable[..., Any],
) -> BlockWeights:
  """The fusion module on both modalities side by side, in the form of a Restormer block.

  Matrices of one modality become blocks of a wider one, with zeros elsewhere. The zeros cost a
  twelfth of F's arithmetic and spare a second set of machine code.

  Args:
    weights: of the fusion module.
    xp: `jax.numpy`, or `numpy` for weights that stay on the host.
    on_diagonal: two matrices -> one, with zeros beside them.
  """
  (q1, k1), (q2, k2) = (xp.split(qk.matrix, 2, axis=-1) for qk in weights.qk)
  nothing = xp.zeros_like(q1)
  # The queries of each modality ask the keys of the other: heads of q2 | q1 over those of k1 | k2.
  qk_matrix = xp.block([[nothing, q1, k1, nothing], [q2, nothing, nothing, k2]])
  (dq1, dk1), (dq2, dk2) = (xp.split(qk.kernel, 2, axis=-1) for qk in weights.qk)
  qk_kernel = xp.concatenate([dq2, dq1, dk1, dk2], axis=-1)
  v_kernel = xp.concatenate([v.kernel for v in weights.v], axis=-1)
  filters = on_diagonal(*(filtered.matrix for filtered in weights.filtered))
  feed_kernels = [weights.gates.kernel, *(filtered.kernel for filtered in weights.filtered)]
  return BlockWeights(
    qk=Widening(None, qk_matrix, qk_kernel),
    v=Widening(None, on_diagonal(*(v.matrix for v in weights.v)), v_kernel),
    temperature=xp.concatenate(weights.temperature),
    project=on_diagonal(*weights.project),
    feed=Widening(
      None,
      xp.concatenate([weights.gates.matrix, filters], axis=-1),
      xp.concatenate(feed_kernels, axis=-1),
    ),
    out=xp.concatenate(weights.out),
  )
