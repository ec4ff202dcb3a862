"""People, cars, signs, trees and lamps: how each looks in visible light and in the infrared."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tdfusion_jax.data.synthetic.canvas import Canvas, Ellipse, Limb, Point, Polygon, Shape

SKIN = np.array([0.78, 0.6, 0.48])
CLOTHES = np.array(
  [
    [0.12, 0.14, 0.2],
    [0.55, 0.12, 0.12],
    [0.15, 0.3, 0.55],
    [0.75, 0.72, 0.65],
    [0.2, 0.2, 0.2],
    [0.2, 0.42, 0.25],
    [0.8, 0.55, 0.15],
    [0.42, 0.2, 0.45],
  ]
)
PAINTS = np.array(
  [
    [0.85, 0.85, 0.87],
    [0.6, 0.1, 0.1],
    [0.12, 0.2, 0.42],
    [0.18, 0.18, 0.2],
    [0.55, 0.57, 0.6],
    [0.7, 0.6, 0.2],
    [0.15, 0.35, 0.3],
  ]
)
LAMP_LIGHT = np.array([1.0, 0.82, 0.5])


class Spot(NamedTuple):
  """Where an object stands in the image."""

  x: float
  y: float
  """Its foot point, in pixels."""
  unit: float
  """Pixels that one of the object's own units takes: a metre, its height or its width."""
  light: np.ndarray
  """RGB light there."""

  def at(self, right: float | int, up: float | int) -> Point:
    """The pixel at (right, up) of the foot point, in the object's units."""
    return self.x + right * self.unit, self.y - up * self.unit


Placer = Callable[[float, float], Point]


def _ellipse(centre: Point, rx: float, ry: float) -> Ellipse:
  return Ellipse(centre[0], centre[1], rx, ry)


TORSO = (
  (-0.1, 0.83),
  (0.1, 0.83),
  (0.135, 0.78),
  (0.1, 0.6),
  (0.105, 0.47),
  (-0.105, 0.47),
  (-0.1, 0.6),
  (-0.135, 0.78),
)


def _body(at: Placer, rng: np.random.Generator, height: float) -> dict[str, Sequence[Shape]]:
  """The parts of a walking person, in units of the body's height."""
  side = float(rng.choice([-1.0, 1.0]))
  stride, swing = side * rng.uniform(0.02, 0.13), -side * rng.uniform(0.02, 0.1)
  legs, shoes, arms = [], [], []
  for s in (-1.0, 1.0):
    foot = s * (0.045 + stride)
    legs.append(
      Limb(
        [at(s * 0.045, 0.5), at(s * (0.05 + stride * 0.7), 0.27), at(foot, 0.045)], 0.085 * height
      )
    )
    shoes.append(_ellipse(at(foot + side * 0.025, 0.022), 0.055 * height, 0.025 * height))
    elbow, hand = at(s * 0.155 + swing * 0.5, 0.63), at(s * 0.135 + swing * 1.4, 0.49)
    arms.append(Limb([at(s * 0.125, 0.79), elbow, hand], 0.055 * height))
  torso = [
    Polygon([at(u, v) for u, v in TORSO]),
    Limb([at(0.0, 0.83), at(0.0, 0.87)], 0.07 * height),
  ]
  head = [_ellipse(at(0.0, 0.93), 0.052 * height, 0.068 * height)]
  hair = [_ellipse(at(-side * 0.012, 0.955), 0.05 * height, 0.05 * height)]
  return {"legs": legs, "shoes": shoes, "torso": torso, "arms": arms, "head": head, "hair": hair}


def draw_person(
  canvas: Canvas,
  number: int,
  rng: np.random.Generator,
  spot: Spot,
  hidden: bool,
  shadow: bool,
) -> None:
  """A walking person.

  Args:
    canvas: to draw on.
    number: the object's.
    rng: draws pose, clothes and warmth.
    spot: in units of the person's height.
    hidden: nearly the brightness of what is behind (unlit at night).
    shadow: by day.
  """
  x, y, height, light = spot
  parts = _body(spot.at, rng, height)
  top, trousers = CLOTHES[rng.integers(len(CLOTHES), size=2)]
  warmth = rng.uniform(0.74, 0.9)
  whole = canvas.patch(*(shape for shapes in parts.values() for shape in shapes))
  if shadow:
    canvas.dim(canvas.patch(Ellipse(x + 0.12 * height, y, 0.28 * height, 0.035 * height)), 0.55)
  canvas.extinguish(whole)
  looks = {
    "legs": (trousers, warmth - 0.08),
    "shoes": (np.full(3, 0.1), warmth - 0.28),
    "torso": (top, warmth - 0.03),
    "arms": (top * 0.85, warmth + 0.02),
    "head": (SKIN, 0.97),
    "hair": (np.full(3, 0.12), 0.86),
  }
  for name, (colour, heat) in looks.items():
    canvas.paint(canvas.patch(*parts[name]), colour * light, heat, 0.08 if hidden else 1.0)
  canvas.own(whole, number)


def draw_car(
  canvas: Canvas,
  number: int,
  rng: np.random.Generator,
  spot: Spot,
  front: bool,
  night: bool,
) -> None:
  """A car.

  Args:
    canvas: to draw on.
    number: the object's.
    rng: draws its paint, and whether the engine runs.
    spot: in units of the car's width.
    front: seen from the front (headlights, hot bonnet), or from behind (tail lights, exhaust).
    night: lamps shine.
  """
  (x, y, width, light), at = spot, spot.at
  paint, running = PAINTS[rng.integers(len(PAINTS))], rng.random() < 0.85
  body = Polygon(
    [
      at(-0.47, 0.1),
      at(0.47, 0.1),
      at(0.5, 0.2),
      at(0.5, 0.4),
      at(0.46, 0.48),
      at(-0.46, 0.48),
      at(-0.5, 0.4),
      at(-0.5, 0.2),
    ]
  )
  cabin = Polygon(
    [
      at(-0.44, 0.46),
      at(0.44, 0.46),
      at(0.345, 0.74),
      at(0.29, 0.79),
      at(-0.29, 0.79),
      at(-0.345, 0.74),
    ]
  )
  glass = Polygon([at(-0.375, 0.49), at(0.375, 0.49), at(0.3, 0.72), at(-0.3, 0.72)])
  wheels = [
    Polygon([at(s * 0.29, 0), at(s * 0.46, 0), at(s * 0.46, 0.22), at(s * 0.29, 0.22)])
    for s in (-1, 1)
  ]
  mirrors = [_ellipse(at(s * 0.5, 0.52), 0.055 * width, 0.035 * width) for s in (-1, 1)]
  whole = canvas.patch(body, cabin, *wheels, *mirrors)
  canvas.dim(
    canvas.patch(Ellipse(x, y, 0.56 * width, 0.06 * width)), 0.35, 0.12 if running else 0.0
  )
  canvas.extinguish(whole)
  canvas.paint(canvas.patch(*wheels), np.full(3, 0.07) * light, 0.7 if running else 0.4)
  canvas.paint(canvas.patch(cabin, *mirrors), paint * 0.92 * light, 0.4)
  canvas.paint(canvas.patch(body), paint * light, 0.5)
  canvas.paint(
    canvas.patch(Polygon([at(-0.46, 0.1), at(0.46, 0.1), at(0.48, 0.2), at(-0.48, 0.2)])),
    paint * 0.45 * light,
    0.46,
  )
  canvas.paint(canvas.patch(glass), np.array([0.2, 0.26, 0.32]) * light, 0.17)
  if not front:
    canvas.paint(
      canvas.patch(Limb([at(-0.15, 0.52), at(0.2, 0.69)], 0.03 * width)),
      np.full(3, 0.42) * light,
      0.2,
    )
  _car_details(canvas, spot, front, night, running)
  canvas.own(whole, number)


def _car_details(
  canvas: Canvas,
  spot: Spot,
  front: bool,
  night: bool,
  running: bool,
) -> None:
  (_, _, width, light), at = spot, spot.at
  lamps = canvas.patch(
    *(_ellipse(at(s * 0.385, 0.365), 0.085 * width, 0.05 * width) for s in (-1, 1))
  )
  hot = 0.95 if running else 0.5
  if front:
    bonnet = Polygon([at(-0.4, 0.42), at(0.4, 0.42), at(0.36, 0.49), at(-0.36, 0.49)])
    canvas.paint(canvas.patch(bonnet), None, hot - 0.12)
    canvas.paint(
      canvas.patch(Polygon([at(-0.23, 0.27), at(0.23, 0.27), at(0.25, 0.4), at(-0.25, 0.4)])),
      np.full(3, 0.08) * light,
      hot,
    )
    canvas.paint(
      lamps, np.array([0.9, 0.9, 0.85]) * np.maximum(light, 0.3), 0.72 if running else 0.4
    )
  else:
    canvas.paint(canvas.patch(_ellipse(at(0.28, 0.12), 0.07 * width, 0.05 * width)), None, hot)
    canvas.paint(
      canvas.patch(Polygon([at(-0.3, 0.1), at(0.3, 0.1), at(0.3, 0.16), at(-0.3, 0.16)])),
      None,
      hot - 0.25,
    )
    canvas.paint(lamps, np.array([0.75, 0.06, 0.05]) * np.maximum(light, 0.35), 0.55)
  plate = Polygon([at(-0.13, 0.2), at(0.13, 0.2), at(0.13, 0.265), at(-0.13, 0.265)])
  canvas.paint(canvas.patch(plate), np.full(3, 0.85) * light, 0.44)
  if night and running:
    canvas.shine(lamps, [1.6, 1.5, 1.25] if front else [0.9, 0.06, 0.04])


def draw_sign(
  canvas: Canvas,
  number: int,
  rng: np.random.Generator,
  spot: Spot,
) -> None:
  """A traffic sign: reflecting foil in visible light, no contrast in the infrared.

  Args:
    canvas: to draw on.
    number: the object's.
    rng: draws its kind and size.
    spot: in metres.
  """
  light, at = spot.light, spot.at
  pole = canvas.patch(Polygon([at(-0.04, 0), at(0.04, 0), at(0.04, 2.3), at(-0.04, 2.3)]))
  canvas.paint(pole, np.full(3, 0.45) * light)
  canvas.hide(pole)
  kind, radius = int(rng.integers(4)), rng.uniform(0.46, 0.56)
  plate, layers = _sign_face(kind, radius, spot)
  patch = canvas.patch(plate)
  canvas.extinguish(patch)
  for shape, colour in layers:
    canvas.paint(canvas.patch(shape), colour)
  canvas.hide(patch)
  canvas.own(patch, number)


def _sign_face(
  kind: int, radius: float, spot: Spot
) -> tuple[Shape, Sequence[tuple[Shape, np.ndarray]]]:
  """(outline, shapes and colours from the back) of one of four kinds, `radius` in metres."""
  (_, _, unit, light), at = spot, spot.at
  bright = np.maximum(light, 0.55)
  white, red, blue, black = (
    np.array(c) * bright
    for c in ([0.95, 0.95, 0.92], [0.85, 0.08, 0.1], [0.08, 0.25, 0.75], [0.06, 0.06, 0.08])
  )
  cx, cy = at(0, 2.35)
  r = radius * unit

  def rim(n, turn, k):
    angles = (np.arange(n) + turn) * 2 * np.pi / n
    return Polygon([(cx + k * r * np.sin(a), cy - k * r * np.cos(a)) for a in angles])

  if kind == 0:  # speed limit
    plate, layers = (
      Ellipse(cx, cy, r, r),
      [(Ellipse(cx, cy, r, r), red), (Ellipse(cx, cy, 0.72 * r, 0.72 * r), white)],
    )
    layers += [
      (Limb([at(s, 2.35 - 0.13), at(s, 2.35 + 0.13)], 0.11 * unit), black) for s in (-0.12, 0.12)
    ]
  elif kind == 1:  # warning triangle
    plate, layers = rim(3, 0, 1.2), [(rim(3, 0, 1.2), red), (rim(3, 0, 0.72), white)]
    layers += [(Limb([at(0, 2.25), at(0, 2.5)], 0.1 * unit), black)]
  elif kind == 2:  # direction: an arrow on blue
    plate = Polygon([at(-0.5, 1.95), at(0.5, 1.95), at(0.5, 2.8), at(-0.5, 2.8)])
    arrow = Polygon(
      [
        at(-0.3, 2.3),
        at(0.02, 2.3),
        at(0.02, 2.12),
        at(0.36, 2.38),
        at(0.02, 2.64),
        at(0.02, 2.46),
        at(-0.3, 2.46),
      ]
    )
    layers = [(plate, blue), (arrow, white)]
  else:  # stop
    plate, layers = rim(8, 0.5, 1.08), [(rim(8, 0.5, 1.08), white), (rim(8, 0.5, 0.98), red)]
    layers += [(Limb([at(-0.26, 2.35), at(0.26, 2.35)], 0.16 * unit), white)]
  return plate, layers


def draw_tree(
  canvas: Canvas,
  rng: np.random.Generator,
  spot: Spot,
  heat: float,
) -> None:
  """A leafy tree: rich texture in visible light, a cool mottled blob in infrared.

  Args:
    canvas: to draw on.
    rng: draws its shape and colour.
    spot: in metres.
    heat: of the leaves.
  """
  (_, _, unit, light), at = spot, spot.at
  tall, spread = rng.uniform(3.6, 5.2), rng.uniform(1.1, 1.6)
  trunk = [Polygon([at(-0.16, 0), at(0.16, 0), at(0.1, tall * 0.65), at(-0.1, tall * 0.65)])]
  canvas.paint(canvas.patch(*trunk), np.array([0.3, 0.22, 0.15]) * light, heat + 0.06)
  centres = rng.normal(0, 0.45, (16, 2)) * [spread, spread * 0.75]
  green = np.array([0.2, 0.36, 0.13]) * rng.uniform(0.75, 1.15, 3)
  for shift, size, tone, count in (
    (0.0, 0.62, 0.62, 16),
    (0.12, 0.42, 1.0, 12),
    (0.24, 0.24, 1.35, 8),
  ):
    blobs = [
      _ellipse(
        at(u + shift * 0.5, tall + v + shift), size * spread * unit, size * spread * 0.85 * unit
      )
      for u, v in centres[:count]
    ]
    patch = canvas.patch(*blobs)
    if patch is None:
      continue
    leaves = rng.uniform(0.6, 1.35, patch.alpha.shape).astype(np.float32)
    canvas.paint(
      patch,
      (green * tone * light).astype(np.float32) * leaves[..., None],
      heat + 0.05 * (leaves - 1),
    )
    canvas.extinguish(patch)


def draw_lamp(canvas: Canvas, spot: Spot, night: bool, inward: float) -> None:
  """A street lamp.

  Args:
    canvas: to draw on.
    spot: in metres.
    night: it shines.
    inward: -1 or 1, the direction of the road, where its arm goes.
  """
  (_, _, unit, light), at = spot, spot.at
  pole = canvas.patch(
    Polygon([at(-0.07, 0), at(0.07, 0), at(0.045, 5.4), at(-0.045, 5.4)]),
    Limb([at(0, 5.38), at(inward * 1.1, 5.55)], 0.09 * unit),
  )
  canvas.paint(pole, np.full(3, 0.35) * light, 0.3)
  head = canvas.patch(_ellipse(at(inward * 1.25, 5.52), 0.3 * unit, 0.1 * unit))
  canvas.paint(head, np.full(3, 0.6) * np.maximum(light, 0.3), 0.72 if night else 0.36)
  if night:
    canvas.shine(head, LAMP_LIGHT * 1.5)
