"""ROS 2: fuses a thermal and a visible camera by an exported F, as docs/guide/cameras.md says."""

from array import array
from functools import partial

import numpy as np
import onnxruntime
import rclpy
from message_filters import ApproximateTimeSynchronizer, Subscriber
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

ENCODINGS = {"mono8": "u1", "mono16": "u2", "16UC1": "u2", "rgb8": "3u1", "bgr8": "3u1"}
LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)


def pixels(message, low=0.0, high=0.0):
  """[H, W, 1 or 3] in [0, 1]: counts from low to high, or of the whole type if these are equal."""
  kind = np.dtype(ENCODINGS[message.encoding]).newbyteorder(">" if message.is_bigendian else "<")
  rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
  rows = np.ascontiguousarray(rows[:, : message.width * kind.itemsize]).view(kind.base)
  image = rows.reshape(message.height, message.width, -1).astype(np.float32)
  low, high = (0, np.iinfo(kind.base).max) if low == high else (low, high)
  image = np.clip((image - low) / (high - low), 0, 1)
  return image[..., ::-1] if message.encoding == "bgr8" else image


class FuseNode(Node):
  def __init__(self):
    super().__init__("tdfusion")
    self.model = onnxruntime.InferenceSession(self.declare_parameter("model", "fusion.onnx").value)
    self.range = self.declare_parameter("thermal_range", [0.0, 0.0]).value
    self.warn = partial(self.get_logger().warning, throttle_duration_sec=5.0)
    self.alarm = self.create_timer(5.0, partial(self.warn, "no two stamps within slop for 5 s"))
    self.out = self.create_publisher(Image, "fused", 1)
    newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # no queue while F runs
    sides = [Subscriber(self, Image, name, qos_profile=newest) for name in ("thermal", "visible")]
    self.pairs = ApproximateTimeSynchronizer(sides, 5, self.declare_parameter("slop", 0.02).value)
    self.pairs.registerCallback(self.fuse)

  def fuse(self, thermal, visible):
    self.alarm.reset()
    kinds = [(side.encoding, side.width, side.height) for side in (thermal, visible)]
    if kinds[0][1:] != kinds[1][1:] or not {kind[0] for kind in kinds} <= ENCODINGS.keys():
      self.warn(f"{kinds}: rectify to one view and size; encodings: {', '.join(ENCODINGS)}")
      return
    ir, vi = pixels(thermal, *self.range), pixels(visible)
    ir, luma = (x if x.shape[2] == 1 else x @ LUMA for x in (ir, vi))
    fused = self.model.run(["fused"], {"ir": ir[None], "vi": luma[None]})[0][0]
    data = np.round(np.clip(fused + (vi - luma), 0, 1) * 255).astype(np.uint8)
    image = Image(header=visible.header, height=vi.shape[0], width=vi.shape[1])
    image.encoding, image.step = "rgb8" if vi.shape[2] == 3 else "mono8", data[0].size
    image.data = array("B", data.tobytes())
    self.out.publish(image)


if __name__ == "__main__":
  rclpy.init()
  rclpy.spin(FuseNode())
