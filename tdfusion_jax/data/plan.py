"""Which pairs meet in which step (Algorithm 1), a pure function of (seed, epoch)."""

import logging
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tdfusion_jax.data.source import DatasetError

log = logging.getLogger(__name__)

# Separate random streams, so that the size of one part never changes the draws of another.
_SUBSETS, _MTR, _MTS, _FTR, _PRETRAIN = range(5)


class EpochPlan(NamedTuple):
  """Indices of the pairs of every step of one epoch."""

  mtr: np.ndarray
  """[g_steps, B] int64, meta-train batches."""
  mts: np.ndarray
  """[g_steps, B] int64, meta-test batches; no pair is in both."""
  ftr: np.ndarray
  """[ceil(N / B), B] int64, one pass over all pairs; its start fills up the last batch."""


def plan_epoch(
  num_pairs: int, *, meta_pairs: int, g_steps: int, batch_size: int, seed: int, epoch: int
) -> EpochPlan:
  """The steps of one epoch (Algorithm 1): disjoint meta subsets, then a pass over all pairs.

  Each subset is cycled, reshuffled for every cycle, until `g_steps * batch_size` indices are drawn.
  With fewer than `2 * meta_pairs` pairs the subsets take half of them each, which is logged once.

  Args:
    num_pairs: N, at least 2.
    meta_pairs: M, the size of each subset.
    g_steps: G-steps per epoch.
    batch_size: B, pairs per batch.
    seed: run seed, >= 0.
    epoch: from 0.
  """
  if num_pairs < 2:
    raise DatasetError(
      f"training needs at least 2 pairs (one to learn on, one to judge by), found {num_pairs}"
    )
  if min(meta_pairs, batch_size) < 1 or min(g_steps, seed, epoch) < 0:
    raise ValueError(
      f"meta_pairs and batch_size must be >= 1, g_steps, seed and epoch >= 0; got {meta_pairs}, "
      f"{batch_size}, {g_steps}, {seed}, {epoch}"
    )
  size = min(meta_pairs, num_pairs // 2)
  if size < meta_pairs and g_steps:
    _note_small(num_pairs, meta_pairs, size)
  order = np.random.default_rng([seed, epoch, _SUBSETS]).permutation(num_pairs)
  count = g_steps * batch_size
  mtr = _cycle(order[:size], count, np.random.default_rng([seed, epoch, _MTR]))
  mts = _cycle(order[size : 2 * size], count, np.random.default_rng([seed, epoch, _MTS]))
  ftr = _pass(num_pairs, batch_size, np.random.default_rng([seed, epoch, _FTR]))
  return EpochPlan(mtr.reshape(g_steps, batch_size), mts.reshape(g_steps, batch_size), ftr)


def pretrain_batches(num_pairs: int, *, batch_size: int, seed: int, turn: int) -> np.ndarray:
  """[ceil(N / B), B] indices of pass number `turn` before the first epoch."""
  return _pass(num_pairs, batch_size, np.random.default_rng([seed, turn, _PRETRAIN]))


def _pass(num_pairs: int, batch_size: int, rng: np.random.Generator) -> np.ndarray:
  steps = -(-num_pairs // batch_size)
  return np.resize(rng.permutation(num_pairs), (steps, batch_size))


def _cycle(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
  turns = -(-count // len(pool))
  return np.concatenate([pool[:0], *(rng.permutation(pool) for _ in range(turns))])[:count]


@lru_cache(maxsize=16)  # one message per setting, not per epoch
def _note_small(num_pairs: int, meta_pairs: int, size: int) -> None:
  log.warning(
    "%d pairs are too few for two subsets of %d: using %d each", num_pairs, meta_pairs, size
  )
