"""From a folder to a plan: finds what is there, verifies it, and chooses the task."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tdfusion_jax.data.readers.places import SPLIT
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.data.verify.layout import shape_of
from tdfusion_jax.data.verify.pairs import Verification, verify
from tdfusion_jax.files import UsageError
from tdfusion_jax.init.find import Found, find
from tdfusion_jax.init.questions import UnclearError, which_classes
from tdfusion_jax.init.write import Plan

KINDS = ("detection", "segmentation")


class Look(NamedTuple):
  """What is there, and what to make of it."""

  plan: Plan
  report: Verification
  form: str | None
  """Of the labels."""
  classes: tuple[str, ...]


def look(
  root: str | Path,
  given: Mapping[str, str],
  *,
  classes: Sequence[str] = (),
  task: str = "",
  task_weights: str = "",
) -> Look:
  """Looks through a folder.

  Args:
    root: the folder.
    given: "ir", "vi" and "labels" that the user named, below `root`.
    classes: names, where no list is beside the labels.
    task: "detection" or "segmentation" for `task_weights`, "none" to leave labels aside.
    task_weights: a pretrained T for images without labels.

  Raises:
    UnclearError: the question to the user.
    UsageError: no such folder, or options that do not go together.
  """
  base = Path(root).expanduser().resolve()
  if not base.is_dir():
    raise UsageError(f"{root} is not a folder")
  found = find(base, given)
  options = found.options
  try:
    shape_of(found.dataset, base, classes or None, options)
  except DatasetError as error:
    if "class names are needed" in str(error):
      raise UnclearError(which_classes(base, str(error))) from None
    raise
  report = verify(found.dataset, base, classes=classes or None, options=options, shown=True)
  form = next((place.form for place in report.shape.places if place.form), None)
  plan = Plan(
    found,
    _kind(form, task, task_weights),
    _usual_size(report, base),
    len(report.pairs),
    tuple(classes),
    str(Path(task_weights).expanduser().resolve()) if task_weights else "",
  )
  return Look(plan, report, form, report.shape.classes)


def _kind(form: str | None, task: str, task_weights: str) -> str:
  if task == "none":
    return "none"
  if form is None and task and not task_weights:
    raise UsageError(f"--task={task}: there are no labels; give a T that has learned, --t=FILE")
  if form is None:
    if task_weights and not task:
      raise UsageError("--t needs --task=detection or --task=segmentation: what the file is of")
    return task or "none"
  if task_weights:
    raise UsageError("--t is for pairs without labels, and there are some; leave it out")
  kind = "segmentation" if form == "mask" else "detection"
  if task and task != kind:
    raise UsageError(f"--task={task}: the labels are for {kind}")
  return kind


def _usual_size(report: Verification, root: Path) -> tuple[int, int]:
  sizes = Counter(pair.vi.size for pair in report.pairs if pair.vi is not None)
  if not sizes:
    raise UsageError(f"{root}: no visible image can be read; see `tdfusion data verify`")
  return sizes.most_common(1)[0][0]


def summary(look: Look) -> list[str]:
  """What was found, a line each."""
  found, report = look.plan.found, look.report
  counts = Counter(pair.split for pair in report.pairs)
  splits = ", ".join(f"{split} {count}" for split, count in counts.items())
  paths = {"ir": _pattern(found, report, 0), "vi": _pattern(found, report, 1)}
  title = "your own pairs" if found.dataset == "folder" else report.shape.title
  lines = [
    f"{found.root}: {title}, {len(report.pairs)} pairs"
    + (f" ({splits})" if counts.keys() - {"all"} else ""),
    f"  infrared    {paths['ir']}",
    f"  visible     {paths['vi']}, {look.plan.size[0]}x{look.plan.size[1]} (height x width)",
    f"  labels      {_labels(look)}",
    f"  held out    {_held_out(found)}",
  ]
  if found.others:
    lines.append(f"  not used    {', '.join(found.others[:4])} (choose by --labels=DIR)")
  return lines


def _pattern(found: Found, report: Verification, part: int) -> str:
  """The folder as its layout has it."""
  place = report.shape.places[0]
  place = next((p for p in report.shape.places if p.labels), place) if part == 2 else place
  folder = (place.ir, place.vi, place.labels or place.ir)[part]
  folder = folder.relative_to(found.root).as_posix()
  parts = [SPLIT if name == place.split else name for name in folder.split("/")]
  return "/".join(parts)


def _labels(look: Look) -> str:
  names = ", ".join(look.classes[:6]) + (", ..." if len(look.classes) > 6 else "")
  if look.form is None:
    return "none"
  where = _pattern(look.plan.found, look.report, 2)
  forms = {"mask": "masks", "yolo": "YOLO boxes", "voc": "Pascal VOC boxes", "coco": "COCO boxes"}
  labelled = sum(pair.labelled for pair in look.report.pairs)
  total = len(look.report.pairs)
  of = "" if labelled == total else f" of {labelled} pairs; the others are left out"
  count = "1 class" if len(look.classes) == 1 else f"{len(look.classes)} classes"
  return f"{where}: {forms[look.form]}{of}; {count}: {names}"


def _held_out(found: Found) -> str:
  if found.fold:
    return "fold 0 of folds.txt"
  if found.holds_out:
    return f"split {found.val!r}" if found.dataset != "m3fd" else "every fourth pair"
  return "nothing, so scores will say nothing about new images (see `folds` in the guide to data)"


def faults(report: Verification) -> list[str]:
  """What verifying says, in a few lines: errors with one example of each kind."""
  errors = [f for f in report.findings if f.level == "error"]
  notes = len(report.findings) - len(errors)
  if not errors:
    return [f"Every file was read: no error, {notes} note{'s' if notes != 1 else ''}."]
  lines = [f"Every file was read: {len(errors)} error{'s' if len(errors) != 1 else ''}."]
  for kind, count in Counter(f.kind for f in errors).most_common(4):
    example = next(f for f in errors if f.kind == kind).message
    lines.append(f"  {kind} ({count}): {example}")
  return lines
