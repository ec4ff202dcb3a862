"""`tdfusion judge`: which images suit a detector or segmenter that is there already."""

import argparse
from typing import Any

import numpy as np

from tdfusion_jax.commands.judge_options import ABOUT, EXAMPLE, add_arguments
from tdfusion_jax.commands.methods import methods_of, shipped
from tdfusion_jax.commands.options import make_parent
from tdfusion_jax.data import get_source
from tdfusion_jax.data.options import parse_options
from tdfusion_jax.data.records import remarks
from tdfusion_jax.data.source import Source
from tdfusion_jax.evaluate import tables, verdict
from tdfusion_jax.evaluate.given import judge_methods, load_given
from tdfusion_jax.evaluate.methods import BASELINES, Method, Pairs, method_of_baseline
from tdfusion_jax.evaluate.methods import pairs_of_source as pairs_of
from tdfusion_jax.evaluate.resampling import blocks_of
from tdfusion_jax.files import UsageError, write_text

__all__ = ["ABOUT", "EXAMPLE", "INTERRUPTED", "add_arguments", "run"]

INTERRUPTED = "nothing was written"
_RECORDED = (  # options that the JSON file repeats: what the numbers are of
  *("task_weights", "keep_classes", "task", "task_variant", "task_option", "task_size"),
  *("dataset", "root", "split", "option", "run", "weights", "fused", "baseline", "constant"),
  *("network", "stretch", "fused_scale", "resize", "resamples", "block", "seed"),
)


def run(options: argparse.Namespace) -> int:
  """Judges, prints the table and the answer."""
  with remarks.shown():  # such as pairs that are left out because they have no label
    return _run(options)


def _run(options: argparse.Namespace) -> int:
  size = _size(options.task_size)
  _check_numbers(options)
  kept = tuple(word.strip() for word in options.keep_classes.split(",") if word.strip())
  if options.out:  # before anything is computed, so that no work is lost
    make_parent(options.out, "--out")
  given = parse_options(options.option).get("", {})
  source = get_source(options.dataset, root=options.root, split=options.split, **given)
  task = load_given(
    options.task_weights,
    source,
    keep=kept,
    kind=options.task,
    variant=options.task_variant,
    options=parse_options(options.task_option, "--task-option").get("", {}),
  )
  known = verdict.MAIN[str(source.kind)]
  main = options.score or known[0]
  if main not in known:
    raise UsageError(f"--score: {main} is none of {', '.join(known)}, for {source.kind}.")
  blocks = _blocks(options, source)
  methods = _methods(options, pairs_of(source))
  verdict.check_row(options.compare_to, list(methods))
  outcomes = judge_methods(task, source, methods, task_size=size)
  decided = verdict.decide(
    outcomes,
    blocks,
    main=main,
    compare_to=options.compare_to,
    resamples=options.resamples,
    seed=options.seed,
  )
  text = f"{source.describe()}\n\n{verdict.markdown(decided)}\n"
  text += "".join(f"{line}\n" for line in verdict.answer(decided))
  files = _write(options, decided, text) if options.out else []
  print(text, end="")
  if files:
    print(f"\nwritten: {', '.join(files)}")
  return 0


def _methods(options: argparse.Namespace, pairs: Pairs) -> dict[str, Method]:
  """What is asked for, or all that needs nothing of the user's."""
  named = (options.run, options.weights, options.fused, options.baseline, options.constant)
  if any(named):
    return methods_of(options, pairs)
  baselines = {name: method_of_baseline(name, "--baseline") for name in BASELINES}
  return baselines | shipped(options)


def _blocks(options: argparse.Namespace, source: Source) -> np.ndarray:
  count = len(source)
  most = max(1, count // 2)
  if options.block > most:
    raise UsageError(f"--block {options.block} leaves fewer than two blocks: at most {most}.")
  return blocks_of(source, options.block)


def _size(text: str) -> tuple[int, int] | None:
  if not text:
    return None
  parts = text.replace("x", ",").split(",")
  if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
    raise UsageError(f"--task-size={text}: write HEIGHT,WIDTH, such as 480,640.")
  height, width = (int(part) for part in parts)
  if height % 32 or width % 32:
    raise UsageError(f"--task-size={text}: both must be multiples of 32.")
  return height, width


def _check_numbers(options: argparse.Namespace) -> None:
  least = {"resamples": 0, "block": 1, "seed": 0}
  for name, low in least.items():
    if getattr(options, name) < low:
      raise UsageError(f"--{name} must be at least {low}, not {getattr(options, name)}.")


def _write(options: argparse.Namespace, decided: verdict.Verdict, text: str) -> list[str]:
  about: dict[str, Any] = {name: getattr(options, name) for name in _RECORDED}
  texts = {
    f"{options.out}.md": text,
    f"{options.out}.csv": tables.comma_separated(verdict.rows_of(decided)),
    f"{options.out}.json": tables.json_text({**about, **verdict.as_json(decided)}),
  }
  for file, content in texts.items():
    write_text(file, content)
  return list(texts)
