"""Pascal VOC as labelImg, DroneVehicle, LabelMe, roLabelImg write it; boxes worked out by hand."""

import math

import pytest
from dialects import BOX, PERSON, Dialect, H, W, bndbox, check, classes, voc

DIALECTS = {
  "labelImg, float corners from 0": Dialect(
    {"labels/a.xml": voc(bndbox("0.0", " 1.5 ", "30.25", "42")), **PERSON},
    ("person",),
    {"a": [(0, 0, 1.5, 30.25, 42)]},
  ),
  "Pascal VOC, one pixel too far": Dialect(
    {"labels/a.xml": voc(bndbox(1, 1, W + 1, H + 1)), **PERSON},
    ("person",),
    {"a": [(0, 1, 1, W, H)]},
    {"clipped": 1},
  ),
  "DroneVehicle": Dialect(
    {
      "labels/a.xml": voc(
        "<polygon><x1>10</x1><y1>10</y1><x2>30</x2><y2>12</y2><x3>28</x3><y3>40</y3>"
        "<x4>8</x4><y4>38</y4></polygon>"
      ),
      **PERSON,
    },
    ("person",),
    {"a": [(0, 8, 10, 30, 40)]},
    {"polygons": 1},
  ),
  "LabelMe, XML": Dialect(
    {
      "labels/a.xml": voc(
        "<polygon><username>x</username>"
        + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((5, 6), (25, 7), (15, 30)))
        + "</polygon>"
      ),
      **PERSON,
    },
    ("person",),
    {"a": [(0, 5, 6, 25, 30)]},
    {"polygons": 1},
  ),
  "roLabelImg": Dialect(
    {
      "labels/a.xml": voc(
        "<robndbox><cx>40</cx><cy>32</cy><w>20</w><h>10</h>"
        f"<angle>{math.pi / 2!r}</angle></robndbox>"
      ),
      **PERSON,
    },
    ("person",),
    {"a": [(0, 35, 22, 45, 42)]},  # a quarter turn: 10 wide and 20 high
    {"rotated": 1},
  ),
  "Pascal VOC in Latin-1 that says UTF-8": Dialect(
    {
      "labels/a.xml": voc(
        bndbox(10, 12, 30, 42), '<?xml version="1.0" encoding="utf-8"?>', "träger"
      ).encode("latin-1"),
      **classes("träger"),
    },
    ("träger",),
    {"a": [BOX]},
    {"encoding": 1},
  ),
  "Pascal VOC in GBK": Dialect(
    {
      "labels/a.xml": voc(
        bndbox(10, 12, 30, 42), '<?xml version="1.0" encoding="gb2312"?>', "行人"
      ).encode("gb2312"),
      **classes("行人"),
    },
    ("行人",),
    {"a": [BOX]},
    {"encoding": 1},
  ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(tmp_path, name):
  check(tmp_path, DIALECTS[name])
