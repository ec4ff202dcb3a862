"""What is no label, or could be read in two ways, is refused: alike in training and by `verify`."""

import pytest
from dialects import HALF, PERSON, bndbox, coco, place, voc, yolo

from tdfusion_jax.data import DatasetError, get_source
from tdfusion_jax.data.verify.pairs import verify

REFUSED = {
  "decimal commas": (yolo("0 0,5 0,5 0,2 0,2", **PERSON), "line 1: cx is '0,5'.* as a point"),
  "decimal commas in XML": (
    {"labels/a.xml": voc(bndbox("1,5", 2, 3, 4)), **PERSON},
    "xmin is '1,5', not a number; write its decimal comma as a point",
  ),
  "pixels": (yolo("0 10 5 4 4", **PERSON), "fractions of the image"),
  "an angle": (yolo(f"{HALF} -45", **PERSON), "sixth column is -45, no confidence .* an angle"),
  "a triangle or a track": (yolo(f"{HALF} 0.9 1", **PERSON), "7 fields: a triangle, or a box with"),
  "half a point": (yolo("0 .1 .1 .5 .1 .5 .5 .1", **PERSON), "8 fields: neither 5 .* polygon"),
  "a pose that lies elsewhere": (yolo("0 .1 .1 .1 .1 .9 .9 1", **PERSON), "8 fields"),
  "no class of the list": (yolo("3 .5 .5 .2 .2", **PERSON), "class index 3 is not in 0 to 0"),
  "DOTA": (yolo("1 2 3 4 5 6 7 8 plane 0", **PERSON), "a.txt: line 1: value 8 is 'plane'"),
  "labelme": ({"labels/a.json": '{"shapes": []}'}, "labelme and X-AnyLabeling write this"),
  "Label Studio, JSON": (
    {"labels/a.json": '[{"id": 1, "data": {"image": "a.png"}}]'},
    "Label Studio writes this: export COCO, YOLO",
  ),
  "predictions": (
    {"labels/a.json": '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]'},
    "predictions in COCO's form of results",
  ),
  "CVAT, XML": ({"labels/a.xml": "<annotations/>", **PERSON}, "CVAT's own XML: export"),
  "two categories of one name": (
    {"labels/a.json": coco(categories=[{"id": i, "name": "person"} for i in (1, 5)])},
    "categories 1 and 5 are both called 'person'",
  ),
  "two images of one name": (
    {"labels/a.json": coco([{"id": i, "file_name": f"{i}/a.png"} for i in (1, 2)])},
    r"images\[0\] and images\[1\] are both 'a'",
  ),
  "nothing to put a box around": (
    {"labels/a.json": coco(annotations=[{"image_id": 1, "category_id": 1, "segmentation": [[1]]}])},
    r"annotations\[0\].segmentation has a polygon \[1\]",
  ),
  "runs of another image": (
    {
      "labels/a.json": coco(
        annotations=[
          {"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [1, 1]}}
        ]
      )
    },
    "counts are 2 pixels, not those of 2x2",
  ),
  "a polygon of two points": (
    {
      "labels/a.xml": voc("<polygon><x1>1</x1><y1>2</y1><x2>1</x2><y2>2</y2></polygon>"),
      **PERSON,
    },
    "person polygon has 2 x and 2 y, no three points",
  ),
  "a gap in the names": (
    yolo(HALF, **{"data.yaml": "names: {0: person, 2: car}"}),
    "names must be numbered 0 to 1",
  ),
  "a wrong number of names": (
    yolo(HALF, **{"data.yaml": "nc: 3\nnames: [person]"}),
    "nc is 3, but there are 1 names",
  ),
  "a name that YAML takes for a truth value": (
    yolo(HALF, **{"data.yaml": "names: [yes, no]"}),
    r"names\[0\] is True, no text; write it in quotes",
  ),
  "no YAML": (yolo(HALF, **{"data.yaml": "names: ["}), "data.yaml: cannot be read as YAML"),
  "YAML that takes long": (
    yolo(HALF, **{"data.yaml": "names: " + "[" * 60_000}),
    "data.yaml: cannot be read as YAML .brackets are nested too deeply",
  ),
  "YAML that grows": (
    yolo(HALF, **{"data.yaml": "a: &a [1, 1]\nb: &b [*a, *a]\nnames: [*b, *b]\n"}),
    "data.yaml: cannot be read as YAML .it refers to a part of itself",
  ),
  "YAML that runs code": (
    yolo(HALF, **{"data.yaml": "names: !!python/object/apply:os.getcwd []"}),
    "data.yaml: cannot be read as YAML",
  ),
  "two lists of classes": (
    yolo(HALF, **PERSON, **{"labels/data.yaml": "names: [car]"}),
    "classes.txt lists the classes person, but .*data.yaml car",
  ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(tmp_path, name):
  files, match = REFUSED[name]
  root = place(tmp_path, files)
  with pytest.raises(DatasetError, match=match) as error:
    _ = get_source("folder", root=root)[0]
  assert "\n" not in str(error.value)
  try:
    report = verify("folder", root)
  except DatasetError as fault:  # the list of classes, without which nothing can be looked at
    assert str(fault) == str(error.value)
    return
  assert not report.ok and str(error.value) in [f.message for f in report.findings]
