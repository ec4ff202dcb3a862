"""What docs/recipes/fuse_ros.py uses of ROS 2, without ROS: messages are handed over by hand.

`ApproximateTimeSynchronizer` keeps the rule of message_filters: of the pairs that are closer than
slop, the closest one with the new message is handed on, and both of it and all before are gone.
"""

import sys
import types
from dataclasses import dataclass, field
from types import SimpleNamespace


@dataclass
class Header:
  stamp: float = 0.0
  """Seconds; ROS has two whole numbers."""
  frame_id: str = ""


@dataclass
class Image:
  header: Header = field(default_factory=Header)
  height: int = 0
  width: int = 0
  encoding: str = ""
  is_bigendian: int = 0
  step: int = 0
  data: bytes = b""


class Node:
  parameters: dict = {}
  """Those of the command line."""

  def __init__(self, name):
    self.name, self.subscribed, self.published, self.said = name, {}, {}, []
    self.timers = []

  def declare_parameter(self, name, value):
    given = self.parameters.get(name, value)
    assert type(given) is type(value)  # as ROS has it
    return SimpleNamespace(value=given)

  def create_publisher(self, kind, topic, depth):
    assert kind is Image and depth > 0
    sent = self.published.setdefault(topic, [])
    return SimpleNamespace(publish=sent.append)

  def create_subscription(self, kind, topic, callback, qos_profile):
    assert kind is Image and qos_profile.depth == 1
    self.subscribed[topic] = callback

  def create_timer(self, seconds, callback):
    timer = SimpleNamespace(seconds=seconds, callback=callback, resets=0)

    def reset():
      timer.resets += 1

    timer.reset = reset
    self.timers.append(timer)
    return timer

  def get_logger(self):
    def warning(text, throttle_duration_sec):
      assert throttle_duration_sec > 0
      self.said.append(text)

    return SimpleNamespace(warning=warning)


class Subscriber:
  def __init__(self, node, kind, topic, qos_profile):
    self.callbacks = []
    node.create_subscription(kind, topic, self.received, qos_profile)

  def received(self, message):
    for callback in self.callbacks:
      callback(message)


class ApproximateTimeSynchronizer:
  def __init__(self, subscribers, queue_size, slop):
    self.queue_size, self.slop = queue_size, slop
    self.waiting = [[] for _ in subscribers]
    for side, subscriber in enumerate(subscribers):
      subscriber.callbacks.append(lambda message, side=side: self.add(message, side))

  def registerCallback(self, callback):
    self.callback = callback

  def add(self, message, side):
    self.waiting[side] = [*self.waiting[side], message][-self.queue_size :]
    stamp = message.header.stamp
    close = [m for m in self.waiting[1 - side] if abs(m.header.stamp - stamp) <= self.slop]
    if not close:
      return
    other = min(close, key=lambda m: abs(m.header.stamp - stamp))
    for kept, used in ((side, message), (1 - side, other)):
      self.waiting[kept] = [m for m in self.waiting[kept] if m.header.stamp > used.header.stamp]
    self.callback(*((message, other) if side == 0 else (other, message)))


def install(patch) -> None:
  """Puts the modules where `import` finds them, until `patch` is undone."""
  profile = SimpleNamespace
  policy = SimpleNamespace(BEST_EFFORT="best effort")
  for name, content in {
    "rclpy": {},
    "rclpy.node": {"Node": Node},
    "rclpy.qos": {"QoSProfile": profile, "ReliabilityPolicy": policy},
    "sensor_msgs": {},
    "sensor_msgs.msg": {"Image": Image},
    "message_filters": {
      "Subscriber": Subscriber,
      "ApproximateTimeSynchronizer": ApproximateTimeSynchronizer,
    },
  }.items():
    module = types.ModuleType(name)
    vars(module).update(content)
    patch.setitem(sys.modules, name, module)
