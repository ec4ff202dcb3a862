"""Damaged and hostile weight files: the fuzzer finds nothing (that it would: test_fuzzing.py)."""

import fuzz_weights
import fuzzing


def test_no_damaged_weight_file_does_harm(tmp_path):
  """400 files of a seed that the documented runs do not have; some of every kind are refused."""
  outcome = fuzzing.fuzz(fuzz_weights.target(tmp_path), 400, seed=2, keep=tmp_path / "kept")
  assert not outcome.failures, "\n".join(outcome.failures)
  counts = outcome.counts
  assert sum(counts.values()) == 400
  for kind in ("safetensors", "pth zip", "pth legacy"):
    assert counts[kind, "refused"] > 20
  assert sum(counts[kind, "read"] for kind, _ in counts) >= 3
