"""`tdfusion data verify` of real images."""

from helpers import real_data

from tdfusion_jax.data.verify.pairs import verify


def test_real_llvip_passes():
  report = verify("llvip", real_data() / "LLVIP")
  assert report.ok
  # Counted by hand from the folder (shared/README): 32 and 12 pairs, 5 and 6 annotated.
  by_split = {s: [p.labelled for p in report.pairs if p.split == s] for s in ("train", "test")}
  assert {s: (len(v), sum(v)) for s, v in by_split.items()} == {"train": (32, 5), "test": (12, 6)}


def test_real_road_scene_passes():
  report = verify("folder", real_data() / "RoadScene")
  assert report.ok and len(report.pairs) == 55
