"""YOLO as Ultralytics, CVAT, labelImg and Label Studio write it. Boxes are worked out by hand."""

import pytest
from dialects import AROUND, BOTH, HALF, MIDDLE, PERSON, POLYGON, Dialect, check, yolo

DIALECTS = {
  "Ultralytics, segments": Dialect(
    yolo(HALF, POLYGON, **BOTH), ("person", "car"), {"a": [MIDDLE, AROUND]}, {"polygons": 1}
  ),
  "Ultralytics, oriented boxes": Dialect(
    yolo("0 0.25 0.25 0.5 0.5 0.25 0.75 0.125 0.5", **PERSON),
    ("person",),
    {"a": [(0, 10, 16, 40, 48)]},
    {"polygons": 1},
  ),
  "Ultralytics, confidences": Dialect(
    yolo(f"{HALF} 0.93", f"{HALF} 1", **PERSON),
    ("person",),
    {"a": [MIDDLE, MIDDLE]},
    {"extra-column": 2},
  ),
  "Ultralytics, track ids": Dialect(
    yolo(f"{HALF} 0.93 17", f"{HALF} 17", **PERSON),
    ("person",),
    {"a": [MIDDLE, MIDDLE]},
    {"extra-column": 2},
  ),
  "Ultralytics, poses": Dialect(
    yolo(f"{HALF} 0.4 0.45 2 0.6 0.5 1 0 0 0", f"{HALF} 0.4 0.45 2.000000", **PERSON),
    ("person",),
    {"a": [MIDDLE, MIDDLE]},
    {"keypoints": 2},
  ),
  "Ultralytics, names in a list": Dialect(
    yolo(HALF, **{"data.yaml": "path: ../mine\ntrain: images\nnc: 2\nnames: [person, car]\n"}),
    ("person", "car"),
    {"a": [MIDDLE]},
  ),
  "Ultralytics, names in a table": Dialect(
    yolo(HALF, **{"labels/data.yaml": "names:\n  0: person\n  1: traffic light\n"}),
    ("person", "traffic light"),
    {"a": [MIDDLE]},
  ),
  "CVAT, YOLO 1.1": Dialect(
    yolo(HALF, **{"labels/obj.names": "person\ncar\n"}), ("person", "car"), {"a": [MIDDLE]}
  ),
  "labelImg on Windows": Dialect(
    {"labels/a.txt": f"\ufeff{HALF}\r\n", "labels/classes.txt": "\ufeffperson\r\n\r\n"},
    ("person",),
    {"a": [MIDDLE]},
  ),
  "Notepad, UTF-16": Dialect(
    {"labels/a.txt": f"{HALF}\r\n".encode("utf-16"), **PERSON}, ("person",), {"a": [MIDDLE]}
  ),
  "UTF-16 without its mark": Dialect(
    {"labels/a.txt": f"{HALF}\n".encode("utf-16-le"), **PERSON}, ("person",), {"a": [MIDDLE]}
  ),
  "Latin-1 class names": Dialect(
    yolo(HALF, **{"labels/classes.txt": "Fußgänger\n".encode("latin-1")}),
    ("Fußgänger",),
    {"a": [MIDDLE]},
  ),
  "six decimals": Dialect(
    # 0.003125 of 80 is a quarter of a pixel.
    yolo("0 0.247 0.5 0.500250 0.25", **PERSON),
    ("person",),
    {"a": [(0, 0, 24, 0.247 * 80 + 20.01, 40)]},
    {"clipped": 1},
  ),
  "a box outside its image": Dialect(
    yolo(HALF, "0 1.005 0.5 0.008 0.1", "0 0.5 0.5 0 0.1", **PERSON),
    ("person",),
    {"a": [MIDDLE]},
    {"outside": 1, "no-area": 1},
  ),
  "nothing in the image": Dialect(yolo(**PERSON), ("person",), {"a": []}),
  "Label Studio, YOLO": Dialect(
    {"labels/3f2a1b4c-a.txt": HALF, "labels/notes.json": '{"categories": []}', **PERSON},
    ("person",),
    {"a": [MIDDLE]},
    {"renamed": 1},
  ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(tmp_path, name):
  check(tmp_path, DIALECTS[name])
