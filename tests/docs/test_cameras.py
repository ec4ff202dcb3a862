"""docs/recipes/fuse_ros.py, fuse_gstreamer.py: what they publish is what the exported file gives.

ROS and GStreamer are stand-ins; frames are scenes of the synthetic world, expected values those of
tools/load_onnx.py on the same frames.
"""

import re
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from docs.blocks import ROOT
from random_fusion import random_params

from docs import gstreamer_stand_in, ros_stand_in
from tdfusion_jax import export, fusers
from tdfusion_jax.data import get_source

RECIPES = ROOT / "docs" / "recipes"
MS = 1_000_000
LOW, HIGH = 29000, 31500
"""The counts that the thermal camera's scene lies between."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """F as an ONNX file, as `tdfusion export` writes it; test_export.py compares it with F."""
  pytest.importorskip("onnxruntime")
  pytest.importorskip("onnx")
  file = tmp_path_factory.mktemp("exported") / "fusion.onnx"
  file.write_bytes(export._onnx(fusers.fusion_network(), random_params()))
  return str(file)


@pytest.fixture(scope="module")
def expected(model):
  """(thermal in [0, 1], visible uint8) -> uint8 [H, W, 1 or 3] by the loader of tools/."""
  loader = runpy.run_path(str(ROOT / "tools" / "load_onnx.py"))
  session = loader["load"](model)

  def fused(ir, vi):
    ir, vi = np.float32(ir)[None], np.float32(vi)[None] / 255
    return np.round(loader["fuse"](session, ir, vi)[0] * 255).astype(np.uint8)

  return fused


@pytest.fixture(scope="module")
def scenes():
  """Four pairs: thermal uint16 [33, 47, 1] between LOW and HIGH, visible uint8 [33, 47, 3]."""
  source = get_source("synthetic_det", size=(33, 47), count=4)
  pairs = [(np.atleast_3d(source[i].ir)[..., :1], source[i].vi) for i in range(4)]
  return [((LOW + ir / 255 * (HIGH - LOW)).astype(np.uint16), vi) for ir, vi in pairs]


def scaled(thermal):
  return np.clip((thermal.astype(np.float32) - LOW) / (HIGH - LOW), 0, 1)


@pytest.mark.parametrize("name", ["fuse_ros.py", "fuse_gstreamer.py"])
def test_an_example_has_at_most_60_lines(name):
  lines = (RECIPES / name).read_text().splitlines()
  assert 20 < len(lines) <= 60 and max(map(len, lines)) <= 100
  assert name in (ROOT / "docs" / "guide" / "cameras.md").read_text()


# ROS 2


@pytest.fixture
def node(model, monkeypatch):
  """Makes the recipe's node with parameters."""

  def made(**parameters):
    ros_stand_in.install(monkeypatch)
    monkeypatch.setattr(ros_stand_in.Node, "parameters", {"model": model, **parameters})
    return runpy.run_path(str(RECIPES / "fuse_ros.py"))["FuseNode"]()

  return made


def message(image, stamp, encoding, frame="", padding=0):
  """An image message, its rows padded."""
  big = encoding == "mono16"
  raw = image.astype(image.dtype.newbyteorder(">" if big else "<"))
  rows = raw.reshape(len(image), -1).view(np.uint8)
  rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
  header = ros_stand_in.Header(stamp, frame)
  size = {"height": image.shape[0], "width": image.shape[1], "step": rows.shape[1]}
  return ros_stand_in.Image(
    header, **size, encoding=encoding, is_bigendian=int(big), data=rows.tobytes()
  )


def picture(image):
  """[H, W, 1 or 3] of a published message."""
  assert image.step * image.height == len(image.data) and image.data.typecode == "B"
  return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, -1)


def test_ros_publishes_what_the_file_gives(node, scenes, expected):
  fuse = node(thermal_range=[float(LOW), float(HIGH)])
  assert set(fuse.subscribed) == {"thermal", "visible"} and set(fuse.published) == {"fused"}
  for k, (thermal, visible) in enumerate(scenes[:2]):
    # The same frames as other drivers send them: other order of bytes, of colours, padded rows.
    warm = message(thermal, k / 30, ("16UC1", "mono16")[k], padding=3 * k)
    seen = visible if k == 0 else visible[..., ::-1]
    fuse.subscribed["thermal"](warm)
    fuse.subscribed["visible"](message(seen, k / 30 + 0.01, ("rgb8", "bgr8")[k], "rgb", 5 * k))
  out = fuse.published["fused"]
  assert [(m.encoding, m.header.frame_id, m.header.stamp) for m in out] == [
    ("rgb8", "rgb", 0.01),
    ("rgb8", "rgb", 1 / 30 + 0.01),
  ]
  for m, (thermal, visible) in zip(out, scenes, strict=False):
    np.testing.assert_array_equal(picture(m), expected(scaled(thermal), visible))
    assert np.ptp(picture(m)) > 20
  assert not np.array_equal(picture(out[0]), picture(out[1])) and fuse.said == []


def test_ros_takes_the_whole_range_of_a_type_unless_told(node, scenes, expected):
  """8 bits by 255, 16 by 65535; a gray visible image gives a gray one."""
  fuse, (thermal, visible) = node(), scenes[0]
  gray, small = visible[..., 1:2], (thermal >> 7).astype(np.uint8)
  for k, (warm, encoding) in enumerate(((thermal, "16UC1"), (small, "mono8"))):
    fuse.subscribed["visible"](message(gray, float(k), "mono8"))
    fuse.subscribed["thermal"](message(warm, float(k), encoding))
  raw, byte = fuse.published["fused"]
  assert raw.encoding == byte.encoding == "mono8"
  np.testing.assert_array_equal(picture(raw), expected(thermal / 65535, gray))
  np.testing.assert_array_equal(picture(byte), expected(small / 255, gray))


def test_ros_leaves_out_frames_without_a_partner(node, scenes):
  fuse, (thermal, visible) = node(slop=0.02), scenes[0]
  (alarm,) = fuse.timers
  times = {"thermal": (0.0, 0.2, 0.3), "visible": (0.05, 0.21, 0.25)}
  for side, stamps in times.items():
    for stamp in stamps:
      image, encoding = (thermal, "16UC1") if side == "thermal" else (visible, "rgb8")
      fuse.subscribed[side](message(image, stamp, encoding))
  assert [m.header.stamp for m in fuse.published["fused"]] == [0.21]
  assert alarm.resets == 1 and alarm.seconds == 5
  alarm.callback()  # what ROS does when nothing has reset it for so long
  assert fuse.said == ["no two stamps within slop for 5 s"]


def test_ros_says_why_a_pair_is_left_out(node, scenes):
  fuse, (thermal, visible) = node(), scenes[0]
  fuse.subscribed["thermal"](message(thermal[:-1], 0.0, "16UC1"))
  fuse.subscribed["visible"](message(visible, 0.0, "rgb8"))
  fuse.subscribed["thermal"](message(thermal, 1.0, "32FC1"))
  fuse.subscribed["visible"](message(visible, 1.0, "rgb8"))
  sizes, encoding = fuse.said
  assert "47, 32" in sizes and "47, 33" in sizes and "rectify" in sizes
  assert "32FC1" in encoding and "mono8, mono16, 16UC1, rgb8, bgr8" in encoding
  assert fuse.published["fused"] == []


# GStreamer


@pytest.fixture
def pipelines(model, monkeypatch):
  """Runs the recipe on frames; returns the two pipelines."""

  def run(thermal, visible, counts=(f"{LOW}:{HIGH}",), fails="", **how):
    launched = gstreamer_stand_in.install(monkeypatch, thermal, visible, **how)
    main = runpy.run_path(str(RECIPES / "fuse_gstreamer.py"))["main"]
    arguments = model, "thermalsrc", "visiblesrc", "filesink location=out", *counts
    if fails:
      with pytest.raises(SystemExit, match=fails):
        main(*arguments)
    else:
      main(*arguments)
    capture, output = launched
    # However it ends, what is written gets its end, and all is given back.
    assert output.elements["fused"].ended and capture.states[-1] == output.states[-1] == "null"
    return SimpleNamespace(capture=capture, output=output, out=output.elements["fused"].pushed)

  return run


def shown(sample):
  """[H, W, 3] of a sample of the output, without the rows' padding."""
  height, width = (sample.caps.sizes[side] for side in ("height", "width"))
  rows = np.frombuffer(sample.buffer.data, np.uint8).reshape(height, -1)
  assert rows.shape[1] == -(-width * 3 // 4) * 4
  return rows[:, : width * 3].reshape(height, width, 3)


def frames(images, starts):
  return [
    gstreamer_stand_in.frame(image, start) for image, start in zip(images, starts, strict=True)
  ]


def test_gstreamer_pushes_what_the_file_gives(pipelines, scenes, expected):
  warm, seen = zip(*scenes, strict=True)
  begun = pipelines(
    frames(warm, (0, 33 * MS, 67 * MS, 100 * MS)), frames(seen, (0, 33 * MS, 80 * MS, 99 * MS))
  )
  assert [sample.buffer.pts for sample in begun.out] == [0, 33 * MS, 80 * MS, 99 * MS]
  for sample, thermal, visible in zip(begun.out, warm, seen, strict=True):
    np.testing.assert_array_equal(shown(sample), expected(scaled(thermal), visible))
  assert np.ptp(shown(begun.out[0])) > 20
  assert re.search(
    r"^thermalsrc ! .*GRAY16_LE ! appsink name=thermal .* visiblesrc ! ", begun.capture.text
  )
  assert begun.output.text.endswith("! filesink location=out")


def test_gstreamer_leaves_out_frames_without_a_partner(pipelines, scenes, expected):
  """A thermal frame may serve two visible ones; a visible one without a near one is dropped."""
  warm, seen = scenes[0][0], scenes[1][1]
  starts = (0, 15 * MS, 60 * MS, 200 * MS, 300 * MS)
  begun = pipelines(frames([warm] * 2, (0, 210 * MS)), frames([seen] * 5, starts), counts=())
  assert [sample.buffer.pts for sample in begun.out] == [0, 15 * MS, 200 * MS]
  for sample in begun.out:
    np.testing.assert_array_equal(shown(sample), expected(warm / 65535, seen))


@pytest.mark.parametrize("live", [True, False])
def test_gstreamer_drops_old_frames_of_cameras_only(pipelines, live):
  capture = pipelines([], [], live=live).capture
  assert [capture.elements["visible"].props.drop] == [live] and capture.states[0] == "paused"


def test_gstreamer_says_why_it_ends(pipelines, scenes):
  warm, seen = (frames([image] * 2, (0, 40 * MS)) for image in scenes[0])
  cut = frames([scenes[0][0][:-1]], (0,))
  assert (
    pipelines(cut, seen, fails=r"thermal \(32, 47\), visible \(33, 47\): add videoscale").out == []
  )
  assert len(pipelines(warm, seen, silent="visible", fails="visible: silent for 5 s").out) == 2
  assert len(pipelines(warm[:1], seen, silent="thermal", fails="thermal: silent for 5 s").out) == 1
  assert (
    len(pipelines(warm, seen, error="No such device", fails="visible: No such device").out) == 2
  )
