"""The plan of an epoch: everything from (seed, epoch)."""

import numpy as np
import pytest

from tdfusion_jax.data import (
  DatasetError,
  plan_epoch,
)


def test_plan_subsets_are_disjoint_and_cycled():
  plan = plan_epoch(30, meta_pairs=10, g_steps=12, batch_size=3, seed=0, epoch=4)
  assert plan.mtr.shape == plan.mts.shape == (12, 3) and plan.ftr.shape == (10, 3)
  assert not set(plan.mtr.ravel()) & set(plan.mts.ravel())
  # 36 draws from 10 pairs: three whole cycles, then six more
  for drawn in (plan.mtr.ravel(), plan.mts.ravel()):
    assert (
      sorted(drawn[:10]) == sorted(drawn[10:20]) == sorted(set(drawn)) and len(set(drawn)) == 10
    )
    assert drawn[:10].tolist() != drawn[10:20].tolist()
  assert sorted(plan.ftr.ravel()) == list(range(30))


def test_plan_is_a_function_of_seed_and_epoch():
  options = {"meta_pairs": 5, "g_steps": 4, "batch_size": 2}
  plans = [plan_epoch(20, **options, seed=s, epoch=e) for s, e in ((0, 0), (0, 0), (0, 1), (1, 0))]
  for a, b in zip(plans[0], plans[1], strict=True):
    np.testing.assert_array_equal(a, b)
  for other in plans[2:]:
    assert any((a != b).any() for a, b in zip(plans[0], other, strict=True))
  assert (
    plan_epoch(20, meta_pairs=5, g_steps=9, batch_size=2, seed=0, epoch=0).ftr == plans[0].ftr
  ).all()


def test_plan_with_few_pairs(caplog):
  for epoch in (0, 1):
    plan = plan_epoch(5, meta_pairs=50, g_steps=2, batch_size=2, seed=11, epoch=epoch)
  assert len(set(plan.mtr.ravel())) == len(set(plan.mts.ravel())) == 2
  assert (
    plan.ftr.shape == (3, 2)
    and set(plan.ftr.ravel()) == set(range(5))
    and plan.ftr[2, 1] == plan.ftr[0, 0]
  )
  assert caplog.text.count("too few") == 1
  with pytest.raises(DatasetError, match="at least 2 pairs"):
    plan_epoch(1, meta_pairs=1, g_steps=1, batch_size=1, seed=0, epoch=0)
  with pytest.raises(ValueError):
    plan_epoch(4, meta_pairs=1, g_steps=1, batch_size=0, seed=0, epoch=0)
