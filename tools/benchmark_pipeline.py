"""Measures the input pipeline: pairs a second, decoded and augmented, beside what training uses up.

  python tools/benchmark_pipeline.py [--pairs=N] [--seconds=S] [--steps=FILE | --wait] [--json=FILE]

Makes its own data in a temporary folder from the synthetic world: LLVIP's layout with JPEG images
of 1280x1024 as they are distributed, MSRS' with PNG images of 640x480. Batches are those of
`configs/llvip_det.py` and `msrs_seg.py`, from folders, from records, and from decoded pairs on disk
(`data.cache_dir`), with 0, 1 and 2 worker processes. The files are in the operating system's
memory, as in every epoch of a set that fits there.

`--steps` takes the seconds of the G- and F/T-steps from what `tools/benchmark.py --json` wrote.
`--wait` instead trains each config for some steps, from the folder without a cache, and measures
how long they wait for their batch.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from benchmark_ours import load_config

from tdfusion_jax.data import (
  DiskCachedSource,
  RecordSource,
  StepOptions,
  StepSource,
  get_source,
  make_dataset,
)
from tdfusion_jax.data.records.tfds import build as build_records
from tdfusion_jax.data.synthetic import DET_CLASSES

WORKERS = (0, 1, 2)


class Set(NamedTuple):
  """A data set as it is distributed."""

  config: str
  size: tuple[int, int]
  kind: str
  suffix: str


SETS = {
  "llvip": Set("llvip_det", (1024, 1280), "synthetic_det", ".jpg"),
  "msrs": Set("msrs_seg", (480, 640), "synthetic_seg", ".png"),
}


def make_set(name: str, root: Path, pairs: int, size: tuple[int, int]) -> None:
  """Writes `pairs` scenes of `size` (height, width) in the layout of "llvip" or "msrs"."""
  about = SETS[name]
  world = get_source(about.kind, size=size, count=pairs)
  folders = ("infrared/train", "visible/train") if name == "llvip" else ("train/ir", "train/vi")
  labels = root / ("Annotations" if name == "llvip" else "train/Segmentation_labels")
  for folder in (*(root / f for f in folders), labels):
    folder.mkdir(parents=True)
  for sample in (world[i] for i in range(pairs)):
    for folder, image in zip(folders, (sample.ir, sample.vi), strict=True):
      Image.fromarray(image).save(root / folder / f"{sample.name}{about.suffix}")
    if name == "llvip":
      (labels / f"{sample.name}.xml").write_text(_voc(sample.target))
    else:
      Image.fromarray(sample.target).save(labels / f"{sample.name}.png")


def _voc(target) -> str:
  rows = [box for box, kind in zip(*target, strict=True) if DET_CLASSES[kind] == "person"]
  corners = ("xmin", "ymin", "xmax", "ymax")
  boxes = [
    "".join(f"<{c}>{v:.0f}</{c}>" for c, v in zip(corners, box, strict=True)) for box in rows
  ]
  objects = [f"<object><name>person</name><bndbox>{box}</bndbox></object>" for box in boxes]
  return f"<annotation>{''.join(objects)}</annotation>"


def step_source(name: str, source: Any, epochs: int) -> StepSource:
  """F/T-steps with the sizes of the set's config."""
  data = load_config(SETS[name].config).data
  options = StepOptions(
    epochs=epochs,
    g_steps=0,
    batch_size=data.batch_size,
    meta_pairs=1,
    crop_size=tuple(data.crop_size),
    task_size=tuple(data.task_size),
    max_boxes=data.max_boxes,
    swap=data.swap,
    flip=True,
  )
  return StepSource(source, options)


def rate(steps: StepSource, workers: int, seconds: float) -> tuple[float, float]:
  """(pairs per second after the start, seconds to the first batch)."""
  began = time.perf_counter()
  batches = make_dataset(steps, num_workers=workers)
  for _ in range(
    2 + 2 * workers
  ):  # every worker is up, and what was read ahead meanwhile is used up
    next(batches)
    if _ == 0:
      first = time.perf_counter() - began
  began, count = time.perf_counter(), 0
  while time.perf_counter() - began < seconds:
    next(batches)
    count += 1
  found = count * steps.pairs_per_batch / (time.perf_counter() - began)
  getattr(batches, "close", lambda: None)()
  return found, first  # pyright: ignore[reportPossiblyUnboundVariable]


def sources(name: str, root: Path, folder: Path) -> Iterator[tuple[str, Any]]:
  """(kind, source) of one set: folder, records, disk cache (filled)."""
  plain = get_source(name, root=root)
  yield "folder", plain
  build_records(name, root, folder / "records", splits=["train"])
  yield "records", RecordSource(folder / "records", name)
  cached = DiskCachedSource(plain, folder / "cache", 1 << 40, {"name": name})
  for index in range(len(cached)):
    cached[index]
  yield "disk cache", cached


def measure(
  name: str, folder: Path, *, pairs: int, seconds: float, size: tuple[int, int]
) -> list[dict[str, Any]]:
  """Rows of one set."""
  root = folder / name
  make_set(name, root, pairs, size)
  rows = []
  for kind, source in sources(name, root, folder / f"{name}-made"):
    for workers in WORKERS:
      print(
        f"{name} {size[0]}x{size[1]}, {kind}, {workers} workers ...", file=sys.stderr, flush=True
      )
      found, first = rate(step_source(name, source, 1_000_000), workers, seconds)
      row = {
        "work": f"pipeline {name} {size[0]}x{size[1]}",
        "set": name,
        "source": kind,
        "workers": workers,
      }
      rows.append({**row, "pairs_per_s": found, "first_batch_s": first})
  return rows


def step_seconds(file: str) -> dict[str, dict[str, float]]:
  """{set: {"g": seconds, "ft": seconds}} from the rows that `tools/benchmark.py --json` wrote."""
  seconds = {row["work"]: row.get("ours_s") for row in json.loads(Path(file).read_text())}
  found = {}
  for name, about in SETS.items():
    steps = {
      "g": seconds.get(f"G-step of {about.config}"),
      "ft": seconds.get(f"F/T-step of {about.config}"),
    }
    found[name] = {kind: value for kind, value in steps.items() if value}
  return found


def wait(name: str, root: Path, count: int = 12) -> dict[str, float]:
  """F/T-steps of the set's config that read from the folder.

  Seconds a step, and seconds of it spent waiting.
  """
  import jax

  from tdfusion_jax.train import build

  config = load_config(SETS[name].config)
  config.data.root, config.data.train_options, config.data.cache_mb = str(root), {}, 0
  config.loss.weights, config.meta.steps, config.train.compile_cache = "fixed", 0, ""
  config.train.epochs = 1000
  pairs = get_source(name, root=root)
  made = build.experiment(config, pairs=(pairs, pairs))
  state = made.init()
  waited, whole = [], []
  batches = iter(make_dataset(made.steps, prefetch=config.data.prefetch))
  for step in range(count + 2):
    began = time.perf_counter()
    batch = next(batches)
    got = time.perf_counter()
    state, _ = made.ft_step(state, build.to_device(batch))
    jax.block_until_ready(state)
    if step >= 2:  # compiled, and what was read ahead meanwhile is used up
      waited.append(got - began)
      whole.append(time.perf_counter() - began)
  return {"ft": float(np.median(whole)), "waited": float(np.sum(waited) / np.sum(whole))}


def table(rows: list[dict[str, Any]], steps: dict[str, dict[str, float]]) -> str:
  """Markdown: a line per set and source."""
  lines = [
    "| pairs per second | "
    + " | ".join(f"{n} workers" for n in WORKERS)
    + " | G-step uses | F/T-step uses |",
    "|---|" + "---|" * (len(WORKERS) + 2),
  ]
  number = lambda x: "" if x is None else f"{x:.1f}"  # noqa: E731
  for (work, kind), group in itertools.groupby(rows, key=lambda row: (row["work"], row["source"])):
    group = list(group)
    name, found = group[0]["set"], {row["workers"]: row["pairs_per_s"] for row in group}
    batch = load_config(SETS[name].config).data.batch_size
    used = steps.get(name, {})
    # A G-step reads two batches.
    rates = [
      2 * batch / used["g"] if "g" in used else None,
      batch / used["ft"] if "ft" in used else None,
    ]
    cells = [
      f"{work.removeprefix('pipeline ')}, {kind}",
      *(number(found.get(n)) for n in WORKERS),
      *map(number, rates),
    ]
    lines.append("| " + " | ".join(cells) + " |")
  for name, used in steps.items():
    if "waited" in used:
      lines += [
        "",
        f"{name}: {100 * used['waited']:.1f} % of an F/T-step's time is waiting for its batch.",
      ]
  return "\n".join(lines)


def main() -> None:
  """Runs from the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--pairs", type=int, default=32, metavar="N", help="pairs of each set (default 32)"
  )
  parser.add_argument(
    "--seconds", type=float, default=10.0, metavar="S", help="of each measurement (default 10)"
  )
  parser.add_argument("--only", choices=sorted(SETS), help="one set")
  parser.add_argument(
    "--shrink", type=int, default=1, metavar="K", help="images K times smaller, for a quick look"
  )
  parser.add_argument(
    "--steps", metavar="FILE", help="rows of tools/benchmark.py, for the steps' own rates"
  )
  parser.add_argument(
    "--wait", action="store_true", help="train some steps and measure their waiting"
  )
  parser.add_argument("--json", metavar="FILE", help="write the rows")
  options = parser.parse_args()
  steps = step_seconds(options.steps) if options.steps else {}
  rows: list[dict[str, Any]] = []
  with tempfile.TemporaryDirectory() as temporary:
    for name in [options.only] if options.only else list(SETS):
      size = tuple(side // options.shrink for side in SETS[name].size)
      rows += measure(
        name, Path(temporary), pairs=options.pairs, seconds=options.seconds, size=(size[0], size[1])
      )
      if options.wait:
        steps[name] = {**steps.get(name, {}), **wait(name, Path(temporary) / name)}
      if options.json:
        Path(options.json).write_text(json.dumps({"rows": rows, "steps": steps}, indent=1))
  print(table(rows, steps))


if __name__ == "__main__":
  main()
