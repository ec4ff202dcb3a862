"""What the tests of `tdfusion data verify` share."""

import json

from made_data import H, W, picture, save

from tdfusion_jax.data.verify.labels import HINTS
from tdfusion_jax.data.verify.report import table


def only(report, kind, level="error"):
  """The findings of `kind`, after making sure that there is no other error."""
  assert {f.kind for f in report.findings if f.level == "error"} == (
    {kind} if level == "error" else set()
  )
  found = [f for f in report.findings if f.kind == kind and f.level == level]
  assert found and (report.ok is (level != "error"))
  if level == "error":
    assert HINTS[kind] in table(report, fix_hints=True)
  return found


def pairs(root, names="ab"):
  for i, name in enumerate(names):
    save(root / f"ir/{name}.png", picture(i, 1))
    save(root / f"vi/{name}.png", picture(9 + i))


def coco(path, names="ab", classes=("x", "y")):
  path.parent.mkdir(parents=True, exist_ok=True)
  images = [
    {"id": i, "file_name": f"{name}.png", "height": H, "width": W} for i, name in enumerate(names)
  ]
  boxes = [
    {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 3, 4]} for i in range(len(names))
  ]
  categories = [{"id": i, "name": name} for i, name in enumerate(classes)]
  path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
