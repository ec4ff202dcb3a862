"""GStreamer: fuses a thermal and a visible source by an exported F; see docs/guide/cameras.md."""

import sys

import gi
import numpy as np
import onnxruntime

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

SLOP = 20_000_000  # nanoseconds between the two of a pair
SIDE = "{} ! videoconvert ! video/x-raw,format={} ! appsink name={} max-buffers=1 sync=false "


def frames(capture, name, kind, low, high, drop):
  """Yields (start in nanoseconds, [H, W, 1 or 3] in [0, 1], caps) until the source ends."""
  sink = capture.get_by_name(name)
  sink.props.drop = drop
  while sample := sink.emit("try-pull-sample", 5 * Gst.SECOND):
    caps, buffer = sample.get_caps(), sample.get_buffer()
    width, height = (caps.get_structure(0).get_value(side) for side in ("width", "height"))
    rows = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8).reshape(height, -1)
    image = rows[:, : width * kind.itemsize].copy().view(kind.base).reshape(height, width, -1)
    yield buffer.pts, np.clip((image.astype(np.float32) - low) / (high - low), 0, 1), caps
  if (error := capture.get_bus().pop_filtered(Gst.MessageType.ERROR)) or not sink.props.eos:
    sys.exit(f"{name}: {error.parse_error()[0].message if error else 'silent for 5 seconds'}")


def main(model, thermal, visible, out, counts="0:65535"):  # noqa: D103
  Gst.init(None)
  sides = SIDE.format(thermal, "GRAY16_LE", "thermal"), SIDE.format(visible, "RGB", "visible")
  capture, (low, high) = Gst.parse_launch("".join(sides)), map(float, counts.split(":"))
  output = Gst.parse_launch(f"appsrc name=fused format=time block=true ! videoconvert ! {out}")
  session, fused = onnxruntime.InferenceSession(model), output.get_by_name("fused")
  live = capture.set_state(Gst.State.PAUSED) == Gst.StateChangeReturn.NO_PREROLL
  capture.set_state(Gst.State.PLAYING), output.set_state(Gst.State.PLAYING)
  warm, then = frames(capture, "thermal", np.dtype("<u2"), low, high, live), -sys.maxsize
  try:
    for now, vi, caps in frames(capture, "visible", np.dtype("3u1"), 0, 255, live):
      while then < now - SLOP:
        then, ir, _ = next(warm, (sys.maxsize, None, None))
      if then > now + SLOP:
        continue  # its thermal frame is missing
      if ir.shape[:2] != vi.shape[:2]:
        sys.exit(f"thermal {ir.shape[:2]}, visible {vi.shape[:2]}: add videoscale to a source")
      luma = vi @ np.float32([[0.299], [0.587], [0.114]])
      result = session.run(["fused"], {"ir": ir[None], "vi": luma[None]})[0][0] + (vi - luma)
      rows = np.round(np.clip(result, 0, 1) * 255).astype(np.uint8).reshape(len(vi), -1)
      buffer = Gst.Buffer.new_wrapped(np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes())
      buffer.pts = now
      fused.emit("push-sample", Gst.Sample.new(buffer, caps, None, None))
  finally:  # whatever ends it, a file that is written gets its end
    fused.emit("end-of-stream")
    output.get_bus().timed_pop_filtered(5 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    capture.set_state(Gst.State.NULL), output.set_state(Gst.State.NULL)


if __name__ == "__main__":
  main(*sys.argv[1:])
