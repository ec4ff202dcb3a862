"""Lists of names and boxes that pick from a data set's images, such as the paper's."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from tdfusion_jax.data.labels.splitlist import read_split_file
from tdfusion_jax.data.source import DatasetError
from tdfusion_jax.data.verify.images import names_digest
from tdfusion_jax.data.verify.labels import Finding, error
from tdfusion_jax.data.verify.layout import Shape

PAPER_LISTS = {
  "4f530d64902eb4c26bfc4b022d120a9d8dbca22d7bac81120328481b70f738fa": "LLVIP training",
  "28d0f769fa7e54ffb6a8e61ff1795aa212cbb40eafe2c1d1d8a0f75cbe835c11": "LLVIP test",
  "8640112536da313abbe9bf388be13fa89379fbc266b07283943b155cac0fff3a": "M3FD training",
  "55a33f7718b183a1666da7e69d21b8cbb37843321bbb11b94e6beb50d819d673": "M3FD test",
}
"""The paper's lists by the digest of their names (`names_digest`)."""


def parse_lists(items: Iterable[str]) -> dict[str, Path]:
  """List files by split from `SPLIT=FILE`.

  Raises:
    DatasetError: an item of another form, or two of one split.
  """
  lists: dict[str, Path] = {}
  for item in items:
    split, separator, file = item.partition("=")
    if not separator:
      raise DatasetError(
        f"--split_file={item}: SPLIT=FILE is needed, such as train=lists/train.txt"
      )
    if split in lists:
      raise DatasetError(f"--split_file={item}: split {split!r} has a list already, {lists[split]}")
    lists[split] = Path(file).expanduser()
  return lists


def note_fault(findings: list[Finding], split: str, kind: str, message: str) -> None:
  """Adds a fault to `findings`; without the first two an `OnFault`."""
  findings.append(error(kind, split, "", message))


def check_lists(
  files: Mapping[str, str | Path], shape: Shape, present: dict[str, set[str]]
) -> tuple[dict[str, tuple[int, str]], list[Finding]]:
  """((number, digest of names) by list, findings) of split lists; `present` has the names there."""
  manifests, findings, listed = {}, [], {}
  for split, file in files.items():
    path = Path(file)
    # Where the set has one folder of all images, every list picks from it.
    names = present.get(split, present.get("all"))
    if names is None:
      raise DatasetError(f"{shape.title} has no split {split!r}; there are: {', '.join(present)}")
    try:
      report = partial(note_fault, findings, split)
      found = read_split_file(path, len(shape.classes), report)
    except DatasetError as fault:
      findings.append(error("bad-label", split, "", str(fault)))
      continue
    manifests[str(path)] = (len(found), names_digest(list(found)))
    listed[split] = set(found)
    findings += [
      error("split-name", split, name, f"{path}: {name} is not among the images of split {split!r}")
      for name in found
      if name not in names
    ]
  splits = list(listed)
  for i, first in enumerate(splits):
    for second in splits[i + 1 :]:
      findings += [
        error("duplicate", second, name, f"{name} is in the lists of {first} and {second}")
        for name in sorted(listed[first] & listed[second])
      ]
  return manifests, findings
