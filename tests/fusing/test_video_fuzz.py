"""Damaged videos: tools/fuzz_videos.py finds nothing, and notices what it looks for."""

import pytest

pytest.importorskip("av", reason="PyAV is not installed")

import fuzz_videos  # noqa: E402


def test_damaged_videos_are_read_or_refused():
  """The full run has 10,000 files, see docs/project/reliability.md; another seed here."""
  outcome = fuzz_videos.in_processes(250, seed=7)
  assert not outcome.failures and outcome.longest < 5
  kinds = ("mp4", "mkv", "avi", "ts", "mov", "gif", "webp", "tif", "folder")
  for kind in kinds:  # harmless damage gets through, other does not
    assert sum(outcome.counts[kind, result] for result in ("read", "refused")) > 5, outcome.counts
  assert sum(outcome.counts[kind, "refused"] for kind in kinds) > 50
  assert sum(outcome.counts[kind, "read"] for kind in kinds) > 50


@pytest.mark.parametrize(
  ("script", "death"),
  [
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    ("raise SystemExit('stuck')", "ended with 1: stuck"),
  ],
)
def test_a_process_that_dies_is_a_failure(tmp_path, monkeypatch, script, death):
  """What it was reading is kept."""
  worker = tmp_path / "tools" / "worker.py"
  worker.parent.mkdir()
  last = "import os, pathlib; folder = pathlib.Path(os.environ['TMPDIR'], 'x', 'in')\n"
  last += "folder.mkdir(parents=True); (folder / 'case.mp4').write_text('last')\n"
  worker.write_text(last + script)
  monkeypatch.setattr(fuzz_videos, "__file__", str(worker))
  outcome = fuzz_videos.in_processes(20, seed=0, keep=tmp_path / "kept", batch=10)
  assert len(outcome.failures) == 2 and death in outcome.failures[0]
  assert (tmp_path / "kept" / "crash_100000" / "case.mp4").read_text() == "last"
