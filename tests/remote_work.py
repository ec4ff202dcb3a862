"""`python -m remote_work FOLDER`: FOLDER's pairs to a bucket, fused, measured, and all back."""

import sys
from pathlib import Path

from tdfusion_jax import cli, fusers
from tdfusion_jax.remote.addresses import Address, _system

if __name__ == "__main__":
  folder = Path(sys.argv[1])
  fusers.load_fusion = lambda **_: (lambda params, ir, vi: (ir + vi) / 2, {})
  box = Address("s3://box")
  box._tried(lambda: _system("s3").exists("box") or _system("s3").mkdir("box"))
  for side in ("ir", "vi"):
    for file in sorted((folder / side).iterdir()):
      (box / side / file.name).store(file.read_bytes())
  sides = ["--ir", "s3://box/ir", "--vi", "s3://box/vi", "--out", "s3://box/out"]
  status = cli.main(["fuse", *sides, "--cache", "", "--no-check", "--backend", "jax"])
  sides = ["--ir", "s3://box/ir", "--vi", "s3://box/vi", "--fused", "ours=s3://box/out"]
  for part in ("1/2", "0/2"):
    command = ["evaluate", *sides, "--metrics=EN,SF", "--out=s3://box/scores/all"]
    status = status or cli.main([*command, f"--shard={part}"])
  for kind in ("out", "scores"):
    (folder / "back" / kind).mkdir(parents=True)
    for name in (box / kind).names():
      (box / kind / name).fetch(folder / "back" / kind / name)
  sys.exit(status)
