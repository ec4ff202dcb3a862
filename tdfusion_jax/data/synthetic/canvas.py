"""Painting shapes into a visible and an infrared image at once, with anti-aliased edges."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
RGB = Sequence[float] | np.ndarray


class Polygon(NamedTuple):
  """A filled polygon, points (x, y) in pixels."""

  points: Sequence[Point]


class Ellipse(NamedTuple):
  """A filled ellipse: centre and radii in pixels."""

  x: float
  y: float
  rx: float
  ry: float


class Limb(NamedTuple):
  """A line with round ends through some points."""

  points: Sequence[Point]
  width: float


Shape = Polygon | Ellipse | Limb


class Patch(NamedTuple):
  """Coverage `alpha` [h, w] in [0, 1] of a part `where` of the image."""

  where: tuple[slice, slice]
  alpha: np.ndarray


def _bounds(shape: Shape) -> tuple[float, float, float, float]:
  if isinstance(shape, Ellipse):
    return shape.x - shape.rx, shape.y - shape.ry, shape.x + shape.rx, shape.y + shape.ry
  margin = shape.width / 2 if isinstance(shape, Limb) else 0.0
  xs, ys = [p[0] for p in shape.points], [p[1] for p in shape.points]
  return min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin


def _draw(draw: ImageDraw.ImageDraw, shape: Shape, left: int, top: int, scale: int) -> None:
  # No function within this one, which is called hundreds of times a scene: where calls are
  # typechecked, as in the tests, each would be taken apart anew, ten times as long as the drawing.
  if isinstance(shape, Ellipse):
    x, y, rx, ry = shape
    corners = [(x - rx, y - ry), (x + rx, y + ry)]
    draw.ellipse([((x - left) * scale, (y - top) * scale) for x, y in corners], 255)
    return
  points = [((x - left) * scale, (y - top) * scale) for x, y in shape.points]
  if isinstance(shape, Polygon):
    draw.polygon(points, fill=255)
    return
  radius = shape.width * scale / 2
  draw.line(points, fill=255, width=max(1, round(2 * radius)))
  for x, y in points:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)


class Canvas:
  """Two images of one scene, what glows in the visible one, and who owns each pixel.

  `vi` [H, W, 3] and `ir` [H, W] are brightness and heat, about 0 to 1; `glow` [H, W, 3] is light
  sent out, added with a halo by the camera; `owner` [H, W] is the topmost object's number, -1 for
  none.
  """

  def __init__(self, vi: np.ndarray, ir: np.ndarray):
    self.vi, self.ir = vi, ir
    self.backdrop = ir.copy()
    self.glow = np.zeros_like(vi)
    self.owner = np.full(ir.shape, -1, np.int16)
    self.full_area: dict[int, int] = {}

  def patch(self, *shapes: Shape) -> Patch | None:
    """Coverage of the union of `shapes`, or None outside the image."""
    height, width = self.ir.shape
    boxes = np.array([_bounds(shape) for shape in shapes])
    left, top = max(0, int(np.floor(boxes[:, 0].min()))), max(0, int(np.floor(boxes[:, 1].min())))
    right = min(width, int(np.ceil(boxes[:, 2].max())) + 1)
    bottom = min(height, int(np.ceil(boxes[:, 3].max())) + 1)
    if right <= left or bottom <= top:
      return None
    scale = 4 if (right - left) * (bottom - top) < 6000 else 2
    image = Image.new("L", ((right - left) * scale, (bottom - top) * scale))
    draw = ImageDraw.Draw(image)
    for shape in shapes:
      _draw(draw, shape, left, top, scale)
    alpha = np.asarray(image.reduce(scale), np.float32) / np.float32(255)
    return Patch(np.s_[top:bottom, left:right], alpha)

  def paint(
    self,
    patch: Patch | None,
    colour: RGB | None = None,
    heat: float | np.ndarray | None = None,
    opacity: float = 1.0,
  ) -> None:
    """Covers a patch with a colour (RGB or [h, w, 3]) and a heat."""
    if patch is None:
      return
    where, alpha = patch
    if colour is not None:
      target = self.vi[where]
      target += (np.asarray(colour, np.float32) - target) * (alpha * np.float32(opacity))[..., None]
    if heat is not None:
      target = self.ir[where]
      target += (np.asarray(heat, np.float32) - target) * alpha

  def shine(self, patch: Patch | None, colour: RGB) -> None:
    """Makes a patch send out light."""
    if patch is not None:
      self.glow[patch.where] += np.asarray(colour, np.float32) * patch.alpha[..., None]

  def dim(self, patch: Patch | None, factor: float, heat: float = 0.0) -> None:
    """A shadow: darkens the visible image under a patch and adds `heat` to the infrared one."""
    if patch is not None:
      self.vi[patch.where] *= (1 - (1 - np.float32(factor)) * patch.alpha)[..., None]
      self.ir[patch.where] += np.float32(heat) * patch.alpha

  def hide(self, patch: Patch | None) -> None:
    """Sets the infrared image back to the backdrop: nothing warmer than its surroundings."""
    if patch is not None:
      target = self.ir[patch.where]
      target += (self.backdrop[patch.where] - target) * patch.alpha

  def own(self, patch: Patch | None, number: int) -> None:
    """Makes an object the topmost one where it covers more than half a pixel."""
    if patch is None:
      self.full_area.setdefault(number, 0)
      return
    covered = patch.alpha > 0.5
    self.full_area[number] = int(covered.sum())
    self.owner[patch.where][covered] = number

  def extinguish(self, patch: Patch | None) -> None:
    """Takes away light that comes from behind an opaque object."""
    if patch is not None:
      self.glow[patch.where] *= (1 - patch.alpha)[..., None]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
  """[H, W] float32 noise around 0, about -1 to 1, with `cells` bumps along the height."""
  rows = max(2, cells)
  columns = max(2, round(cells * shape[1] / shape[0]))
  grid = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
  return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
