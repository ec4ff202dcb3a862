"""The text of a config file: what `configs/` has for such data, with what was found filled in."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from tdfusion_jax.config import shared
from tdfusion_jax.data.readers import DATASETS
from tdfusion_jax.init.find import Found

_LONG = 320  # of what T sees: the paper's size
_SHORT = 160  # and that of a small run
_COMPLETE = 0.9  # of the official number of pairs, from which LLVIP counts as the whole


class Plan(NamedTuple):
  """What is trained."""

  found: Found
  kind: str
  """"detection", "segmentation" or "none"."""
  size: tuple[int, int]
  """(height, width) of the images."""
  pairs: int
  classes: tuple[str, ...] = ()
  """That the user named; () where they are listed beside the labels."""
  task_weights: str = ""
  """A pretrained T, whose findings stand for labels; "" without."""


def config_text(plan: Plan, name: str, about: str, commands: Sequence[str]) -> str:
  """A Python file with `get_config`, as those in `configs/`.

  Args:
    plan: what is trained.
    name: of the config.
    about: one line.
    commands: to train with it.
  """
  found = plan.found
  lines = [
    f'"""{_plain(about)}',
    "",
    *(f"  {_plain(command)}" for command in commands),
    "",
    "Written by `tdfusion init`. Change what you like; the manual has every field and its default,",
    "under Reference, Config fields.",
    '"""',
    "",
    "from tdfusion_jax.config import base, finish, shared",
    "",
    "# What `:runlocal` changes: minutes on a CPU, to see that data and labels arrive.",
    "RUNLOCAL = {",
    "  **shared.REAL_RUNLOCAL,",
    *(f"  {_code(key)}: {_code(value)}," for key, value in _runlocal(plan).items()),
    "}",
    "",
    "",
    'def get_config(options=""):',
    "  config = base()",
    f"  config.name = {_code(name)}",
    f"  config.data.name = {_code(found.dataset)}",
    f"  config.data.root = {_code(str(found.root))}",
    *(f"  {line}" if line else "" for line in [*_data(plan), *_task(plan)]),
    "  return finish(config, options, RUNLOCAL)",
  ]
  return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
  """Text that ends no docstring."""
  return text.replace("\\", "/").replace('"""', "'''")


def _code(value: object) -> str:
  """A value in Python, texts in double quotes."""
  return json.dumps(value) if isinstance(value, str) else repr(value)


def _runlocal(plan: Plan) -> dict[str, object]:
  short: dict[str, object] = {"data.task_size": _task_size(plan, _SHORT)}
  if plan.kind == "none":
    return {**short, "meta.steps": 0, "train.epochs": 2}  # there is no G to teach
  if plan.kind == "detection":
    # A fresh detector would lose small objects before it has learned a box.
    return {**short, "task.options.assigner_eps": shared.SMALL_OBJECTS, "train.epochs": 2}
  return {**short, "train.epochs": 1}


def _task_size(plan: Plan, longest: int) -> tuple[int, int]:
  """Near the images' shape, in multiples that T can halve."""
  step = 32 if plan.kind == "detection" else 8
  factor = longest / max(plan.size)
  height, width = (max(step, round(side * factor / step) * step) for side in plan.size)
  return height, width


def _data(plan: Plan) -> list[str]:
  found = plan.found
  options: dict[str, object] = dict(found.options)
  if plan.classes:
    options["classes"] = ",".join(plan.classes)
  lines = []
  if found.dataset == "llvip":
    expected = sum(DATASETS["llvip"].expected.values())
    every = 10 if plan.pairs >= _COMPLETE * expected else 1
    options["every"] = every
    lines.append("# The paper takes every 10th pair; a part of the data set is used whole.")
  if found.fold:
    options["fold"] = 0
    lines.append("# Fold 0 of folds.txt is held out; take another one for another turn.")
  elif not found.holds_out:
    lines.append("# No pairs are held out: scores of the validation say nothing about new images.")
  if found.val and (found.train, found.val) != ("train", "test") and not found.fold:
    lines.append(f"config.data.train_split = {_code(found.train)}")
    lines.append(f"config.data.val_split = {_code(found.val)}")
  if options:
    entries = [f"  {_code(name)}: {_code(value)}," for name, value in options.items()]
    lines += ["reader = {", *entries, "}"]
    lines += [f"config.data.{which}_options.update(reader)" for which in ("train", "val")]
  return [
    *lines,
    f"# What T sees: the whole pair, resized from {plan.size[0]}x{plan.size[1]}.",
    f"config.data.task_size = {_task_size(plan, _LONG)}",
    "config.data.cache_mb = 4096  # decoded pairs kept in memory",
  ]


def _task(plan: Plan) -> list[str]:
  if plan.kind == "none":
    return [
      "# Without labels no task can teach G: F learns from a loss with fixed weights.",
      'config.task.kind = "none"',
      'config.loss.weights = "fixed"',
      "config.loss.fixed_w_a = 0.5  # the weight of infrared; 0.7 gives it more",
      "config.meta.steps = 0",
    ]
  use = "shared.use_yolo(config)" if plan.kind == "detection" else "shared.use_segformer(config)"
  lines = [use]
  if plan.task_weights:
    lines += [
      "# No labels: what this T is sure of on either image stands for them. task.variant must",
      "# be that of the file (n to x, b0 to b5).",
      'config.task.labels = "pseudo"',
      f"config.init.t = {_code(plan.task_weights)}",
    ]
  return lines
