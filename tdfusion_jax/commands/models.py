"""`tdfusion models`: weights of F that have a name."""

import argparse
from collections.abc import Sequence

ABOUT = """Lists the weights that --weights knows by name: those that come with the package,
converted ones, and those of the Hugging Face Hub that were fetched before. Nothing is fetched."""
EXAMPLE = "tdfusion models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """`tdfusion models` has no options."""


def run(options: argparse.Namespace) -> int:
  """Prints a table, and below it what cannot be used and why."""
  from tdfusion_jax.fusers.listing import entries  # JAX is loaded here, not for --help
  from tdfusion_jax.fusers.named import PAIRS

  found = list(entries())
  metrics = list(dict.fromkeys(metric for entry in found for metric in entry.scores))
  lines = [["name", "licence", "parameters", "KiB", *metrics]]
  for entry in found:
    size = f"{entry.file.stat().st_size / 1024:.0f}" if entry.file else "-"
    scores = [f"{entry.scores[name]:g}" if name in entry.scores else "-" for name in metrics]
    count = f"{entry.parameters:,}" if entry.file else "-"
    lines.append([entry.name, entry.licence, count, size, *scores])
  print("\n".join(_aligned(lines)))
  print(
    f"Scores are means over the {PAIRS} real pairs of the model card, higher is better; those of "
    "hf: are their owner's."
  )
  for entry in found:
    print(f"{entry.name}: {entry.remark or entry.file}")
  return 0


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  rows = [zip(line, widths, strict=True) for line in lines]
  return ["  ".join(cell.ljust(width) for cell, width in row).rstrip() for row in rows]
