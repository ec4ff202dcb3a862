"""tools/fuzz_settings.py and tools/fuzz_runs.py: they find nothing, and would find a planted fault.

The full runs have 10,000 files each, see docs/project/reliability.md.
"""

import os

import fuzz_runs
import fuzz_settings
import fuzzing
import jax
import pytest
import small_runs

from tdfusion_jax import fusers
from tdfusion_jax.fusers import load, ours
from tdfusion_jax.train.checkpoints import Checkpoints


@pytest.fixture(scope="module", autouse=True)
def small():
  """The networks of one convolution are in their places for this module alone."""
  names = ("fusion_network", "loss_network")
  places = ((fusers, names), (ours, names), (load, ("late_f",)))
  before = [(place, {name: getattr(place, name) for name in found}) for place, found in places]
  small_runs.install()
  yield
  for place, functions in before:
    vars(place).update(functions)


@pytest.fixture(scope="module")
def folders():
  return fuzz_runs.target()


def test_settings():
  counts, failures, _ = fuzzing.fuzz(fuzz_settings.target(), 150, seed=3)
  assert not failures, failures[0]
  assert all(counts[kind, "refused"] > 5 for kind in ("field", "sweep", "options", "code")), counts
  assert sum(number for (_, result), number in counts.items() if result == "read") > 10


def test_folders(folders):
  counts, failures, _ = fuzzing.fuzz(folders, 80, seed=3)
  assert not failures, failures[0]
  assert counts["config.json", "refused"] > 5 and counts["result.json", "refused"] > 3, counts
  assert counts["checkpoint", "read"] > 3 and counts["metrics.jsonl", "read"] > 5
  assert counts["images_test.npz", "refused"] > 1, counts


def test_a_fault_in_reading_settings_is_noticed(monkeypatch):
  def runs_what_it_reads(file):
    os.system("true")
    raise KeyError(file)

  monkeypatch.setattr(fuzz_settings, "load_sweep", runs_what_it_reads)
  failures = fuzzing.fuzz(fuzz_settings.target(), 20, seed=0).failures
  assert failures and all("(sweep): code run: os.system true" in line for line in failures)


def test_a_checkpoint_that_is_restored_wrongly_is_noticed(folders, monkeypatch):
  restore = Checkpoints.restore

  def wrong(self, like):
    state = restore(self, like)
    return state._replace(params=jax.tree.map(lambda leaf: leaf + 1, state.params))

  monkeypatch.setattr(Checkpoints, "restore", wrong)
  failures = fuzzing.fuzz(folders, 20, seed=1).failures
  assert failures and any("restored wrongly: step" in line for line in failures)
