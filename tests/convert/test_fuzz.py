"""Damaged and hostile weight files: the fuzzer finds nothing (that it would: test_fuzzing.py)."""

import fuzz_weights
import fuzzing


def test_no_damaged_weight_file_does_harm(tmp_path):
  """400 files of a seed that the documented runs do not have; some of every kind are refused."""
  target = fuzz_weights.target(tmp_path)
  # How long a file takes is for the long runs to look at: a busy machine may stall any.
  outcome = fuzzing.fuzz(target, 400, seed=2, limit=60.0, keep=tmp_path / "kept")
  assert not outcome.failures, "\n".join(outcome.failures)
  counts = outcome.counts
  assert sum(counts.values()) == 400
  for kind in ("safetensors", "pth zip", "pth legacy"):
    assert counts[kind, "refused"] > 20
  assert sum(counts[kind, "read"] for kind, _ in counts) >= 3
