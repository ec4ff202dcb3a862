"""What docs/recipes/fuse_gstreamer.py uses of GStreamer, without it: frames lie ready.

Rows are padded to 4 bytes and numbers little-endian, as in GStreamer's raw video.
"""

import re
import sys
import types
from types import SimpleNamespace

import numpy as np

SECOND = 1_000_000_000


class Caps:
  def __init__(self, width, height):
    self.sizes = {"width": width, "height": height}

  def get_structure(self, index):
    assert index == 0
    return SimpleNamespace(get_value=self.sizes.__getitem__)


class Buffer:
  def __init__(self, data, pts=None):
    self.data, self.pts = data, pts

  @classmethod
  def new_wrapped(cls, data):
    return cls(data)

  def get_size(self):
    return len(self.data)

  def extract_dup(self, start, size):
    return self.data[start : start + size]


class Sample:
  def __init__(self, buffer, caps):
    self.buffer, self.caps = buffer, caps

  @classmethod
  def new(cls, buffer, caps, segment, info):
    assert segment is info is None
    return cls(buffer, caps)

  def get_buffer(self):
    return self.buffer

  def get_caps(self):
    return self.caps


def frame(image, pts) -> Sample:
  """[H, W, 1] uint16 or [H, W, 3] uint8 as appsink hands it over, at `pts` nanoseconds."""
  height, width, _ = image.shape
  rows = image.astype(image.dtype.newbyteorder("<")).reshape(height, -1).view(np.uint8)
  rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)), constant_values=77)
  return Sample(Buffer(rows.tobytes(), pts), Caps(width, height))


class AppSink:
  def __init__(self, samples, silent):
    self.samples, self.silent = list(samples), silent
    self.props = SimpleNamespace(drop=None, eos=False)

  def emit(self, signal, timeout):
    assert signal == "try-pull-sample" and timeout == 5 * SECOND
    if self.samples:
      return self.samples.pop(0)
    self.props.eos = not self.silent
    return None


class AppSrc:
  def __init__(self):
    self.pushed, self.ended = [], False

  def emit(self, signal, *samples):
    assert not self.ended
    if signal == "push-sample":
      self.pushed += samples
    else:
      assert signal == "end-of-stream"
      self.ended = True


class Pipeline:
  def __init__(self, text, elements, live, error):
    self.text, self.elements, self.live, self.states = text, elements, live, []
    failed = SimpleNamespace(parse_error=lambda: (SimpleNamespace(message=error), ""))
    self.bus = SimpleNamespace(
      pop_filtered=lambda kinds: failed if error else None,
      timed_pop_filtered=lambda timeout, kinds: None,
    )

  def get_by_name(self, name):
    return self.elements[name]

  def get_bus(self):
    return self.bus

  def set_state(self, state):
    self.states.append(state)
    return "no preroll" if self.live and state == "paused" else "async"


def install(patch, thermal, visible, *, live=False, silent="", error=""):
  """Puts `gi` where `import` finds it, until `patch` is undone.

  Args:
    patch: pytest's.
    thermal: samples of its appsink, from `frame`.
    visible: the same.
    live: cameras rather than files.
    silent: the side that stops without an end.
    error: of the capturing pipeline, when its frames are over.

  Returns:
    The pipelines, as they are launched.
  """
  sides = {"thermal": thermal, "visible": visible}
  launched = []

  def parse_launch(text):
    names = re.findall(r"name=(\w+)", text)
    elements = {
      name: AppSink(sides[name], name == silent) if name in sides else AppSrc() for name in names
    }
    capture = "thermal" in elements
    launched.append(Pipeline(text, elements, live and capture, error if capture else ""))
    return launched[-1]

  gst = SimpleNamespace(
    Buffer=Buffer,
    MessageType=SimpleNamespace(ERROR=1, EOS=2),
    SECOND=SECOND,
    Sample=Sample,
    State=SimpleNamespace(NULL="null", PAUSED="paused", PLAYING="playing"),
    StateChangeReturn=SimpleNamespace(NO_PREROLL="no preroll"),
    init=lambda arguments: None,
    parse_launch=parse_launch,
  )
  gi, repository = types.ModuleType("gi"), types.ModuleType("gi.repository")
  vars(gi).update(require_version=lambda name, version: None, repository=repository)
  vars(repository).update(Gst=gst)
  patch.setitem(sys.modules, "gi", gi)
  patch.setitem(sys.modules, "gi.repository", repository)
  return launched
