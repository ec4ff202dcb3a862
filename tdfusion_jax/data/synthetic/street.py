"""The empty street: sky, ground in perspective, walls with windows, light, lane marks."""

from typing import NamedTuple

import numpy as np

from tdfusion_jax.data.synthetic.canvas import Canvas, Polygon, smooth_noise
from tdfusion_jax.data.synthetic.objects import LAMP_LIGHT

CAMERA_HEIGHT = 2.4
ROAD = 3.6
PAVEMENT = 6.4


class View(NamedTuple):
  """A camera over flat ground: metres to pixels."""

  height: int
  width: int
  horizon: float
  centre: float

  def project(self, x: float, up: float, depth: float) -> tuple[float, float]:
    """(right, up, ahead) in metres -> (x, y) in pixels."""
    unit = self.height / depth
    return self.centre + x * unit, self.horizon + (CAMERA_HEIGHT - up) * unit


class Street(NamedTuple):
  """What all objects need to know about the scene."""

  view: View
  night: bool
  ambient: np.ndarray
  lamps: tuple[tuple[float, float, float, float], ...]
  """(x, depth, radius, strength) of every pool of light, in metres."""

  def light(self, x, depth) -> np.ndarray:
    """RGB light at ground positions; the result has one axis more than `x`."""
    pools = (
      sum(
        s * np.exp(-((x - lx) ** 2 + (0.6 * (depth - lz)) ** 2) / (2 * r * r))
        for lx, lz, r, s in self.lamps
      )
      if self.lamps
      else np.zeros(np.shape(x))
    )
    return self.ambient + np.asarray(pools)[..., None] * LAMP_LIGHT


class Wall(NamedTuple):
  """A house front along the road: x of the front, depth range and height in metres."""

  x: float
  near: float
  far: float
  height: float
  colour: np.ndarray
  heat: float


def make_walls(rng: np.random.Generator) -> list[Wall]:
  """Rows of house fronts on both sides, far ones first."""
  walls = []
  for side in (-1, 1):
    depth = rng.uniform(3, 9)
    for _ in range(int(rng.integers(2, 5))):
      length = rng.uniform(5, 12)
      colour = np.array(
        [[0.62, 0.5, 0.4], [0.55, 0.55, 0.55], [0.6, 0.35, 0.28], [0.72, 0.68, 0.58]]
      )[rng.integers(4)]
      walls.append(
        Wall(
          side * rng.uniform(7.5, 9),
          depth,
          depth + length,
          rng.uniform(5, 12),
          colour * rng.uniform(0.8, 1.1),
          rng.uniform(0.3, 0.4),
        )
      )
      depth += length + rng.choice([0.0, rng.uniform(2, 6)])
  return sorted(walls, key=lambda wall: -wall.near)


def empty_street(street: Street, rng: np.random.Generator, walls: list[Wall]) -> Canvas:
  """Sky, ground and houses as both cameras see them, lit."""
  view, night = street.view, street.night
  shape = (view.height, view.width)
  ys, xs = np.mgrid[0.5 : view.height, 0.5 : view.width].astype(np.float32)
  below = np.maximum(ys - view.horizon, 0.35)
  depth = CAMERA_HEIGHT * view.height / below
  across = (xs - view.centre) * depth / view.height
  sky = ys < view.horizon
  up = np.clip((view.horizon - ys) / view.horizon, 0, 1)

  albedo, heat = _ground(rng, depth, across, night)
  canvas = Canvas(albedo, heat)
  for wall in walls:
    _draw_wall(canvas, view, wall, rng, depth, across)
  lit = canvas.vi * street.light(across, depth).astype(np.float32)
  empty = sky & (canvas.owner < 0)
  clouds = smooth_noise(rng, shape, 5) * 0.6 + smooth_noise(rng, shape, 11) * 0.4
  if night:
    colour = np.array([0.02, 0.025, 0.05]) + (1 - up[..., None]) ** 4 * np.array([0.1, 0.075, 0.05])
  else:
    colour = np.array([0.42, 0.6, 0.85]) + (1 - up[..., None]) ** 2 * np.array([0.38, 0.27, 0.1])
    cover = np.clip(clouds * 1.6 + rng.uniform(-0.5, 0.4), 0, 1)[..., None] * 0.8
    colour = colour + (np.array([0.93, 0.93, 0.95]) - colour) * cover
  cold = 0.06 + 0.14 * (1 - up) ** 3 + 0.02 * clouds
  canvas.vi = np.where(empty[..., None], colour, lit).astype(np.float32)
  canvas.ir = np.where(empty, cold, canvas.ir).astype(np.float32)
  canvas.owner[:] = -1
  canvas.full_area.clear()
  return canvas


def _ground(rng, depth, across, night) -> tuple[np.ndarray, np.ndarray]:
  tile = rng.uniform(-1, 1, (64, 64)).astype(np.float32)
  grain = tile[(depth * 9).astype(int) % 64, (across * 9).astype(int) % 64] * np.minimum(
    1, 8 / depth
  )
  patches = smooth_noise(rng, depth.shape, 7)
  inside = np.abs(across)
  zones = [inside < ROAD, inside < ROAD + 0.2, inside < PAVEMENT]
  albedo = np.select(
    [zone[..., None] for zone in zones],
    [np.array([0.3, 0.3, 0.32]), np.array([0.62, 0.6, 0.57]), np.array([0.5, 0.47, 0.44])],
    np.array([0.25, 0.36, 0.16]),
  ).astype(np.float32)
  slabs = (inside >= ROAD + 0.2) & (inside < PAVEMENT) & ((depth % 1.4 < 0.12) & (depth < 16))
  rough = np.where(inside < PAVEMENT, 0.1, 0.28)
  albedo = albedo * (1 + rough * grain + 0.06 * patches - 0.2 * slabs)[..., None].astype(np.float32)
  warm = np.select(zones, [0.4, 0.38, 0.37], 0.27) - (0.06 if night else 0.0)
  heat = warm + 0.02 * grain + 0.03 * patches
  return albedo, heat.astype(np.float32)


def _draw_wall(canvas: Canvas, view: View, wall: Wall, rng, depth, across) -> None:
  def quad(z0, z1, low, high):
    return Polygon(
      [view.project(wall.x, h, z) for z, h in ((z0, low), (z0, high), (z1, high), (z1, low))]
    )

  near = max(wall.near, 1.5)
  patch = canvas.patch(quad(near, wall.far, 0.0, wall.height))
  if patch is None:
    return
  shade = 1.0 if wall.x < 0 else 0.78
  texture = 1 + 0.07 * rng.standard_normal(patch.alpha.shape).astype(np.float32)
  canvas.paint(
    patch,
    (wall.colour * shade).astype(np.float32) * texture[..., None],
    wall.heat + 0.15 * (texture - 1),
  )
  columns = np.arange(near + 0.7, wall.far - 1.2, 2.1)
  floors = np.arange(1.0, wall.height - 1.6, 2.6)
  windows = [quad(z, z + 1.1, h, h + 1.45) for z in columns for h in floors]
  if windows:
    lit = rng.random(len(windows)) < 0.3
    frames = [quad(z - 0.12, z + 1.22, h - 0.12, h + 1.57) for z in columns for h in floors]
    canvas.paint(canvas.patch(*frames), wall.colour * 1.25 * shade, wall.heat + 0.02)
    canvas.paint(canvas.patch(*windows), [0.2, 0.26, 0.33], wall.heat - 0.08)
    bright = [w for w, on in zip(windows, lit, strict=True) if on]
    if bright:
      canvas.shine(canvas.patch(*bright), [0.62, 0.5, 0.28])
      canvas.paint(canvas.patch(*bright), None, wall.heat + 0.1)
  if rng.random() < 0.6:  # a heating pipe: warm, and painted like its wall
    z = rng.uniform(near, wall.far - 0.4)
    canvas.paint(
      canvas.patch(quad(z, z + 0.28, 0.0, wall.height * 0.8)), None, rng.uniform(0.65, 0.85)
    )
  canvas.own(patch, 0)
  # The light on a front follows its own distance, not that of the ground its pixels would show.
  covered = patch.alpha > 0.5
  columns_x = np.arange(patch.where[1].start, patch.where[1].stop) + 0.5 - view.centre
  columns_x = np.where(np.abs(columns_x) < 0.5, 0.5, columns_x)
  distance = np.broadcast_to(
    np.clip(wall.x * view.height / columns_x, wall.near, wall.far), covered.shape
  )
  depth[patch.where][covered] = distance[covered]
  across[patch.where][covered] = wall.x


def draw_lanes(canvas: Canvas, street: Street, rng: np.random.Generator) -> np.ndarray:
  """Paints lane marks, which have the road's temperature; returns their mask [H, W] bool."""

  def stripe(x0, x1, z0, z1):
    z0 = max(z0, 1.0)
    return Polygon(
      [street.view.project(x, 0.0, z) for x, z in ((x0, z0), (x0, z1), (x1, z1), (x1, z0))]
    )

  start = rng.uniform(0, 6)
  shapes = [stripe(-0.13, 0.13, z, z + 2.6) for z in np.arange(start - 4, 50, 6.0) if z + 2.6 > 1.5]
  shapes += [stripe(s * 3.2 - 0.1, s * 3.2 + 0.1, 1.5, 60.0) for s in (-1, 1)]
  if rng.random() < 0.4:
    z = rng.uniform(8, 14)
    shapes += [stripe(x, x + 0.5, z, z + 2.8) for x in np.arange(-3.0, 2.7, 1.0)]
  patch = canvas.patch(*shapes)
  mask = np.zeros(canvas.ir.shape, bool)
  if patch is None:
    return mask
  rows, columns = np.mgrid[patch.where[0], patch.where[1]].astype(np.float32) + np.float32(0.5)
  depth = CAMERA_HEIGHT * street.view.height / np.maximum(rows - street.view.horizon, 0.35)
  light = street.light((columns - street.view.centre) * depth / street.view.height, depth)
  wear = rng.uniform(0.75, 1.0, patch.alpha.shape)[..., None]
  # Road paint throws light back towards the camera: it stays faintly visible without a lamp.
  canvas.paint(
    patch, (0.86 * np.maximum(light, 0.2 if street.night else 0.0) * wear).astype(np.float32)
  )
  mask[patch.where] = patch.alpha > 0.5
  return mask
