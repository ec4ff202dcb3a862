"""Measures fusing images too large for memory, tile by tile, beside fusing them whole.

  python tools/benchmark_streaming.py [--sides=2048,8192] [--json=FILE]

Each side of each size runs in a process of its own, on a gray infrared and a colour visible image
that it first writes as PNG files: `whole` only up to 2048x2048. Memory is the whole process's peak,
reading and colour included; time is that of the fusing, compilation left out by a first run on a
small pair of the same tiles.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WHOLE_UP_TO = 2048


def files(folder: Path, side: int) -> tuple[Path, Path]:
  """A textured pair, written once."""
  from PIL import Image

  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (side // 16, side // 16, 4), np.uint8)
  found = folder / f"ir_{side}.png", folder / f"vi_{side}.png"
  for file, image in zip(found, (small[..., 3], small[..., :3]), strict=True):
    Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR).save(
      file, compress_level=1
    )
  return found


def work(how: str, ir: str, vi: str, keep: str) -> None:
  """In a process of its own: fuses, keeps every 64th pixel, prints {"s", "mb"}."""
  from tdfusion_jax import fusers
  from tdfusion_jax.fusing.arrays import make_fuse_fn
  from tdfusion_jax.fusing.streaming import finish, fuse_streamed
  from tdfusion_jax.images.reading import read_image, read_pixels
  from tdfusion_jax.images.scaling import pixels
  from tdfusion_jax.images.writing import to_bytes

  fuse_fn, params = fusers.load_fusion()
  if how == "streamed":
    width = read_pixels(ir).array.shape[1]
    fuse_streamed(
      params, *(pixels(np.zeros((128, min(width, 2048)), np.uint8), "x") for _ in range(2))
    )
    began = time.perf_counter()
    sides = read_pixels(ir), read_pixels(vi)
    fused = fuse_streamed(params, *sides)
    out = finish(fused, *sides)
    took, mb = time.perf_counter() - began, _peak_mb()
  else:
    fuse = make_fuse_fn(fuse_fn, params)
    a, b = read_image(ir)[None], read_image(vi)[None]
    fuse(a, b)
    began = time.perf_counter()
    a, b = read_image(ir)[None], read_image(vi)[None]
    out = to_bytes(np.asarray(fuse(a, b))[0])
    took, mb = time.perf_counter() - began, _peak_mb()
    # F's own output, without colour and rounding
    fused = np.asarray(fuse(a, (b @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]))[0]
  np.save(keep, fused[::8, ::8])
  print(json.dumps({"s": took, "mb": mb, "mean": float(out.mean())}))


def _peak_mb() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--sides", default="2048,8192", help="lengths of the square images' sides")
  parser.add_argument("--json", metavar="FILE", help="write the rows")
  options = parser.parse_args()
  rows = []
  with tempfile.TemporaryDirectory() as temporary:
    for side in (int(text) for text in options.sides.split(",")):
      pair = files(Path(temporary), side)
      kept = {}
      for how in ("streamed", "whole") if side <= WHOLE_UP_TO else ("streamed",):
        print(f"{side}x{side}, {how} ...", file=sys.stderr, flush=True)
        keep = Path(temporary) / f"{how}.npy"
        command = [sys.executable, __file__, "--work", how, *map(str, pair), str(keep)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        row = {"work": f"F {side}x{side}, {how}", **json.loads(output.splitlines()[-1])}
        row["us_per_pixel"] = row["s"] / side**2 * 1e6
        rows.append(row)
        kept[how] = np.load(keep)
      if len(kept) == 2:
        rows[-2]["difference"] = float(np.abs(kept["streamed"] - kept["whole"]).max())
  print("| work | s | microseconds a pixel | MiB, whole process | largest difference to whole |")
  print("|---|---|---|---|---|")
  for row in rows:
    difference = f"{row['difference']:.1e}" if "difference" in row else ""
    numbers = [f"{row['s']:.1f}", f"{row['us_per_pixel']:.2f}", f"{row['mb']:.0f}", difference]
    print(f"| {' | '.join([row['work'], *numbers])} |")
  if options.json:
    Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
  if sys.argv[1:2] == ["--work"]:
    work(*sys.argv[2:])
  else:
    main()
