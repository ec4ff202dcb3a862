"""Looking through a whole data set on the disk: every fault is listed, none ends the search."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tdfusion_jax.data.labels.annotations import Annotation
from tdfusion_jax.data.labels.classes import NO_LABELS
from tdfusion_jax.data.labels.coco import read_coco
from tdfusion_jax.data.labels.names import fitted
from tdfusion_jax.data.readers.folder import FORMS
from tdfusion_jax.data.readers.paired import shorten
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.data.verify.images import names_digest
from tdfusion_jax.data.verify.labels import HINTS, Finding, Level, error
from tdfusion_jax.data.verify.layout import Place, Shape, shape_of
from tdfusion_jax.data.verify.lists import check_lists, note_fault
from tdfusion_jax.data.verify.pair import PairCheck, duplicates, verify_pair
from tdfusion_jax.data.verify.together import about_split, noted
from tdfusion_jax.images.listing import EXTENSIONS, list_files, passed_over
from tdfusion_jax.progress import Progress


class Verification(NamedTuple):
  """Result of `verify`."""

  shape: Shape
  pairs: list[PairCheck]
  findings: list[Finding]
  manifests: dict[str, tuple[int, str]]
  """(number, digest of names) by split or list file."""

  @property
  def ok(self) -> bool:
    """No finding is an error."""
    return all(finding.level != "error" for finding in self.findings)


def verify(  # noqa: PLR0913  one argument for each option of the verb
  name: str,
  root: str | Path,
  *,
  classes: Sequence[str] | str | None = None,
  options: Mapping[str, Any] | None = None,
  split_files: Mapping[str, str | Path] | None = None,
  allow: Iterable[str] = (),
  threads: int = 2,
  shown: bool = False,
) -> Verification:
  """Reads every file of a data set and lists what is wrong.

  Args:
    name: llvip, m3fd, msrs, fmb or folder.
    root: its folder.
    classes: class names of a folder that lists none, or a file that does.
    options: of the reader, such as `unlabelled` and `unlabelled_images` of a folder.
    split_files: lists to be checked (`name x1,y1,x2,y2,class ...` a line), by the split that they
      pick from.
    allow: kinds of errors (keys of `HINTS`) that shall count as notes.
    threads: images decoded at a time.
    shown: whether standard error tells how far it is, split by split.

  Raises:
    DatasetError: there is nothing to look at: unknown name, no such folder.
  """
  allowed = set(allow)
  if allowed - HINTS.keys():
    raise DatasetError(
      f"unknown kind of finding {sorted(allowed - HINTS.keys())}; known: {', '.join(HINTS)}"
    )
  shape = shape_of(name, root, classes, options)
  pairs, findings, manifests, present, listed = [], [], {}, {}, {}
  for place in shape.places:
    seen, more, names, classes = _verify_place(place, shape, threads, shown)
    pairs += seen
    findings += more
    present[place.split] = set(names)
    if names:
      manifests[place.split] = (len(names), names_digest(names))
    if classes:
      listed[place.split] = classes
  findings += _class_lists(listed)
  shape = shape._replace(classes=shape.classes or next(iter(listed.values()), ()))
  findings += _stray_labels(shape, present)
  findings += duplicates(pairs)
  lists, more = check_lists(split_files or {}, shape, present)
  findings = [f._replace(level="note") if f.kind in allowed else f for f in findings + more]
  return Verification(shape, pairs, findings, manifests | lists)


def _list(
  folder: Path, extensions: tuple[str, ...], split: str
) -> tuple[dict[str, Path], list[Finding]]:
  """(files by stem, findings about stems that two files have)."""
  if not folder.is_dir():
    return {}, []
  files, clashes, _ = list_files(folder, extensions)
  files = {stem: path for stem, path in files.items() if path.name not in NO_LABELS}
  findings = [
    error("same-name", split, first.stem, f"two files share a name: {first} and {second}")
    for first, second in clashes
  ]
  return files, findings


def _verify_place(
  place: Place, shape: Shape, threads: int, shown: bool
) -> tuple[list[PairCheck], list[Finding], list[str], tuple[str, ...]]:
  """(pairs, findings, names of the pairs, class names that this split states itself)."""
  if not place.ir.is_dir() and not place.vi.is_dir():
    text = f"split {place.split!r} is not there"
    return [], [Finding("note", "missing-folder", place.split, "", text)], [], ()
  ir, vi, findings = _images(place)
  names = sorted(ir.keys() | vi.keys())
  labels, listed, classes = _labels(place, shape, findings, names)
  findings += _strangers(place, labels, names)

  def check(name: str) -> tuple[PairCheck, list[Finding]]:
    files = ir.get(name), vi.get(name), labels.get(name)
    return verify_pair(place, shape, name, files, listed)

  label = f"checking {place.split}"
  with (
    Progress(len(names), label, unit="pairs", shown=shown) as progress,
    ThreadPoolExecutor(threads) as pool,
  ):
    results = list(progress.track(pool.map(check, names)))
  findings += [finding for _, more in results for finding in more]
  pairs = [pair for pair, _ in results]
  named = shape._replace(classes=classes or shape.classes)
  findings += about_split(place, named, pairs)
  expected = shape.expected.get(place.split)
  if expected and expected != len(names):
    text = f"{len(names)} pairs; the complete official set has {expected}"
    findings.append(Finding("note", "count", place.split, "", text))
  return pairs, findings, names, classes


def _images(place: Place) -> tuple[dict[str, Path], dict[str, Path], list[Finding]]:
  """Infrared and visible files by stem, and what is wrong with the folders and names."""
  needed = [place.ir, place.vi]
  if place.complete and place.labels:
    needed.append(place.labels)
  findings = [
    error("missing-folder", place.split, "", f"{folder} is missing")
    for folder in needed
    if not folder.is_dir()
  ]
  ir, more = _list(place.ir, EXTENSIONS, place.split)
  vi, others = _list(place.vi, EXTENSIONS, place.split)
  findings += more + others
  present = [folder for folder in (place.ir, place.vi) if folder.is_dir()]
  findings += [
    Finding("note", "passed-over", place.split, "", text) for text in passed_over(*present)
  ]
  for folder, files in ((place.ir, ir), (place.vi, vi)):
    if folder.is_dir() and not files:
      text = f"{folder} holds no image ({', '.join(EXTENSIONS)})"
      findings.append(error("no-images", place.split, "", text))
  if place.labels and not place.complete and place.form and not place.labels.is_dir():
    text = f"{place.labels} is missing: nothing is labelled"
    findings.append(Finding("note", "missing-folder", place.split, "", text))
  for here, there, folder in ((ir, vi, place.vi), (vi, ir, place.ir)):
    findings += [
      error("missing-partner", place.split, name, f"{here[name]} has no partner in {folder}")
      for name in sorted(here.keys() - there.keys())
    ]
  return ir, vi, findings


def _labels(
  place: Place, shape: Shape, findings: list[Finding], known: Collection[str]
) -> tuple[dict[str, Path], dict[str, Annotation], tuple[str, ...]]:
  """Label files by stem, for COCO the boxes by stem, and the split's own class names."""
  if place.labels is None:
    return {}, {}, ()
  if place.form is None:
    text = (
      f"{place.labels} holds no label file "
      f"(.xml, .txt, a COCO .json, or masks: {', '.join(EXTENSIONS)})"
    )
    findings.append(error("no-labels", place.split, "", text))
    return {}, {}, ()
  files, more = _list(place.labels, FORMS[place.form], place.split)
  findings += [m for m in more if place.own_labels]
  if place.form != "coco":
    files, renamed = fitted(files, known)
    findings += noted(("renamed",) * renamed, place.split, place.labels)
    return files, {}, place.classes
  if len(files) > 1:
    text = f"{place.labels} holds {len(files)} .json files; one COCO file for all images is needed"
    findings.append(error("bad-label", place.split, "", text))
  labels: dict[str, Path] = {}
  boxes: dict[str, Annotation] = {}
  classes: tuple[str, ...] = ()
  for path in files.values():
    try:
      content = read_coco(path, partial(note_fault, findings, place.split))
    except DatasetError as fault:
      findings.append(error("bad-label", place.split, "", str(fault)))
      continue
    names = content.classes
    if shape.classes and shape.classes != names:
      text = f"{path}: its categories are {', '.join(names)}, not {', '.join(shape.classes)}"
      findings.append(error("unknown-class", place.split, "", text))
    found, renamed = fitted(content.boxes, known)
    findings += noted((*content.notes, *("renamed",) * renamed), place.split, path)
    boxes |= found
    labels |= dict.fromkeys(found, path)
    classes = classes or names
  return labels, boxes, classes


def _strangers(place: Place, labels: dict[str, Path], names: list[str]) -> Iterator[Finding]:
  """Images that a COCO file names and that are not there.

  A note, since one file may serve several folders.
  """
  if place.form != "coco" or not labels:
    return
  strangers = sorted(labels.keys() - set(names))
  if len(strangers) == len(labels):
    text = f"{labels[strangers[0]]} names no pair of {place.ir}, but {shorten(strangers)}"
    yield error("no-labels", place.split, "", text)
  elif strangers:
    text = (
      f"{labels[strangers[0]]} names {len(strangers)} image(s) that are not there: "
      f"{shorten(strangers)}"
    )
    yield Finding("note", "stray-label", place.split, "", text)


def _class_lists(listed: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
  """Splits whose class lists differ: what is a car in one would be a bus in the other."""
  splits = list(listed)
  for split in splits[1:]:
    first, names = listed[splits[0]], listed[split]
    if names != first:
      text = (
        f"its classes are {', '.join(names)}, those of split {splits[0]!r} are {', '.join(first)}"
      )
      yield error("class-names", split, "", text)


def _stray_labels(shape: Shape, present: dict[str, set[str]]) -> Iterator[Finding]:
  """Label files that belong to no pair, taken over all splits where they share a folder."""
  groups: dict[tuple[Path, str], list[Place]] = defaultdict(list)
  for place in shape.places:
    if place.labels is not None and place.form not in (None, "coco"):
      groups[place.labels, str(place.form)].append(place)
  for (folder, form), places in groups.items():
    names = set().union(*(present[p.split] for p in places))
    whole = all(present[p.split] for p in places)
    files, _ = fitted(_list(folder, FORMS[form], "")[0], names)
    for name, path in files.items():
      if name not in names:
        split = places[0].split if len(places) == 1 else ""
        # Labels of a split that is not there are no fault.
        level: Level = "error" if whole else "note"
        yield Finding(level, "stray-label", split, name, f"{path} belongs to no pair")
