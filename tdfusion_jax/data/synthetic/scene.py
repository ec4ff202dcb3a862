"""One street scene: places objects by depth, draws them far to near, takes both photos."""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from tdfusion_jax.data.synthetic.canvas import Canvas, smooth_noise
from tdfusion_jax.data.synthetic.objects import (
  Spot,
  draw_car,
  draw_lamp,
  draw_person,
  draw_sign,
  draw_tree,
)
from tdfusion_jax.data.synthetic.street import (
  PAVEMENT,
  ROAD,
  Street,
  View,
  draw_lanes,
  empty_street,
  make_walls,
)

PERSON, CAR, SIGN, LANE = 1, 2, 3, 4
"""Values in the class map; 0 is everything else."""


class Thing(NamedTuple):
  """An object of a labelled class: where it stands (metres) and what sets it apart."""

  kind: int
  x: float
  depth: float
  hidden: bool = False
  front: bool = False


def make_scene(
  rng: np.random.Generator,
  size: tuple[int, int],
  night: bool,
  lanes_count: bool = True,
  noise: float = 1.0,
) -> dict[str, Any]:
  """Draws one scene; see `SyntheticSource.scene` for the entries."""
  view = View(
    *size, horizon=size[0] * rng.uniform(0.38, 0.46), centre=size[1] * rng.uniform(0.4, 0.6)
  )
  posts = _lamp_posts(rng)
  cars = _place_cars(rng, view)
  pools = [(x - np.sign(x) * 1.3, z, 2.3, 0.8) for x, z in posts]
  pools += [(car.x, car.depth - 4.5, 1.5, 0.5) for car in cars if car.front]
  ambient = (
    np.array([0.1, 0.11, 0.15]) if night else np.array([1.0, 0.98, 0.95]) * rng.uniform(0.8, 1.05)
  )
  street = Street(view, night, ambient, tuple(pools) if night else ())
  things = cars + _place_signs(rng, view)
  things += _place_people(rng, street, things)

  canvas = empty_street(street, rng, make_walls(rng))
  lanes = draw_lanes(canvas, street, rng)
  canvas.backdrop = canvas.ir.copy()
  things = sorted(things, key=lambda thing: -thing.depth)
  _draw_all(canvas, street, rng, things, posts)
  return _describe(canvas, lanes, things, rng, street, lanes_count, noise)


def _lamp_posts(rng: np.random.Generator) -> list[tuple[float, float]]:
  side, start = rng.choice([-1, 1]), rng.uniform(8, 13)
  return [(float(side * (-1) ** i * (ROAD + 0.7)), float(start + 9 * i)) for i in range(3)]


def _place_cars(rng: np.random.Generator, view: View) -> list[Thing]:
  cars, depth = [], {-1: rng.uniform(8, 15), 1: rng.uniform(9, 16)}
  for _ in range(int(rng.integers(1, 4))):
    side = int(rng.choice([-1, 1]))
    cars.append(
      Thing(CAR, side * 1.75 + rng.uniform(-0.35, 0.35), float(depth[side]), front=side < 0)
    )
    depth[side] += rng.uniform(7, 12)
  return cars


def _place_signs(rng: np.random.Generator, view: View) -> list[Thing]:
  signs = []
  for side in rng.permutation([-1, 1])[: rng.integers(1, 3)]:
    room = (view.width - view.centre if side > 0 else view.centre) / view.height
    nearest = (ROAD + 1.3) / room
    signs.append(
      Thing(
        SIGN, float(side * (ROAD + rng.uniform(0.5, 0.9))), float(rng.uniform(nearest, nearest + 5))
      )
    )
  return signs


def _place_people(rng: np.random.Generator, street: Street, others: list[Thing]) -> list[Thing]:
  view, people = street.view, []
  for _ in range(int(rng.integers(2, 6))):
    for _ in range(12):
      depth = rng.uniform(6.5, 15)
      pavement = rng.random() < 0.65
      x = (
        rng.choice([-1, 1]) * rng.uniform(ROAD + 0.4, PAVEMENT)
        if pavement
        else rng.uniform(-ROAD, ROAD)
      )
      column = view.project(x, 0.0, depth)[0] / view.width
      if not 0.04 < column < 0.96 or any(
        _covers(view, x, depth, thing) for thing in [*others, *people]
      ):
        continue
      dark = street.night and street.light(x, depth).max() < 0.24
      if street.night and not dark and rng.random() < 0.6:
        continue
      people.append(Thing(PERSON, float(x), float(depth), hidden=bool(dark)))
      break
  return people


def _covers(view: View, x: float, depth: float, thing: Thing) -> bool:
  """True if a person at (x, depth) and `thing` would mostly overlap on the image."""
  half = {PERSON: 0.3, CAR: 0.9, SIGN: 0.35}[thing.kind]
  gap = abs(view.project(x, 0.0, depth)[0] - view.project(thing.x, 0.0, thing.depth)[0])
  return bool(gap < 0.75 * view.height * (0.25 / depth + half / thing.depth))


def _draw_all(
  canvas: Canvas, street: Street, rng, things: list[Thing], posts: list[tuple[float, float]]
) -> None:
  view, night = street.view, street.night
  trees = [
    (s * rng.uniform(PAVEMENT, PAVEMENT + 1.5), rng.uniform(9, 30)) for s in rng.choice([-1, 1], 4)
  ]
  # The deepest first.
  queue = [(thing.depth, "thing", i) for i, thing in enumerate(things)]
  queue += [(z, "lamp", i) for i, (_, z) in enumerate(posts)]
  queue += [(z, "tree", i) for i, (_, z) in enumerate(trees)]
  places = {
    "thing": [thing.x for thing in things],
    "lamp": [x for x, _ in posts],
    "tree": [x for x, _ in trees],
  }
  for depth, what, i in sorted(queue, reverse=True):
    x = places[what][i]
    column, row = view.project(x, 0.0, depth)
    spot = Spot(column, row, view.height / depth, street.light(np.float64(x), depth))
    if what == "tree":
      draw_tree(canvas, rng, spot, 0.25 if night else 0.3)
    elif what == "lamp":
      draw_lamp(canvas, spot, night, -np.sign(x))
    else:
      _draw_thing(canvas, i, rng, spot, things[i], night)


def _draw_thing(
  canvas: Canvas, number: int, rng: np.random.Generator, spot: Spot, thing: Thing, night: bool
) -> None:
  if thing.kind == PERSON:
    tall = rng.uniform(1.6, 1.9) * spot.unit
    draw_person(canvas, number, rng, spot._replace(unit=tall), thing.hidden, not night)
  elif thing.kind == CAR:
    draw_car(canvas, number, rng, spot._replace(unit=1.85 * spot.unit), thing.front, night)
  else:
    draw_sign(canvas, number, rng, spot)


def _describe(
  canvas: Canvas,
  lanes: np.ndarray,
  things: list[Thing],
  rng,
  street: Street,
  lanes_count: bool,
  noise: float,
) -> dict[str, Any]:
  """Labels from the owner map, and the two photos."""
  labels = np.where(lanes & (canvas.owner < 0), LANE, 0).astype(np.uint8)
  ir_only = np.zeros(labels.shape, bool)
  vi_only = (labels == LANE) & lanes_count
  boxes, classes = [], []
  for i, thing in enumerate(things):
    mask = canvas.owner == i
    area = int(mask.sum())
    if not area:
      continue
    labels[mask] = thing.kind
    ir_only |= mask & thing.hidden
    vi_only |= mask & (thing.kind == SIGN)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if area >= max(10, 0.4 * canvas.full_area[i]):
      boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
      classes.append(thing.kind - 1)
  return {
    "ir": _thermal_photo(canvas, rng, noise),
    "vi": _visible_photo(canvas, rng, street.night, noise),
    "labels": labels,
    "boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
    "classes": np.asarray(classes, np.int32),
    "ir_only": ir_only,
    "vi_only": vi_only,
    "night": street.night,
  }


def _blur(image: np.ndarray, radius: float) -> np.ndarray:
  """Gaussian blur of a float image in [0, 1], in 8 bits: fast, and as fine as the photo will be."""
  picture = Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))
  return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)


def _visible_photo(
  canvas: Canvas, rng: np.random.Generator, night: bool, gain: float
) -> np.ndarray:
  height = canvas.ir.shape[0]
  picture = canvas.vi
  if night:
    halo = 0.75 * _blur(canvas.glow, 0.012 * height) + 0.9 * _blur(canvas.glow, 0.05 * height)
    picture = picture + np.minimum(canvas.glow, 1) + halo
  picture = _blur(picture * np.float32(rng.uniform(0.92, 1.08)), 0.0018 * height)
  noise = rng.standard_normal(picture.shape, np.float32) * np.float32(
    gain * (0.014 if night else 0.008)
  )
  return (np.clip(picture + noise, 0, 1) * 255 + 0.5).astype(np.uint8)


def _thermal_photo(canvas: Canvas, rng: np.random.Generator, gain: float) -> np.ndarray:
  shape = canvas.ir.shape
  picture = _blur(canvas.ir, 0.0026 * shape[0])
  picture = (picture - 0.5) * np.float32(rng.uniform(0.9, 1.1)) + np.float32(
    0.5 + rng.uniform(-0.04, 0.04)
  )
  columns = rng.standard_normal((1, shape[1]), np.float32) * np.float32(0.005)
  noise = rng.standard_normal(shape, np.float32) * np.float32(0.01 * gain) + 0.01 * smooth_noise(
    rng, shape, 3
  )
  return (np.clip(picture + columns + noise, 0, 1) * 255 + 0.5).astype(np.uint8)
