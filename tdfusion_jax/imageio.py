"""Reading and writing image files for fusion: 8-bit gray, RGB, RGBA and palette, paired by name."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_MAX_PIXELS = 150_000_000  # Pillow refuses on its own from 179 million


class ImageError(ValueError):
  """An image that cannot be used, with the file and the reason."""


def read_image(path: str | Path) -> np.ndarray:
  """[H, W, 1] or [H, W, 3] float32 in [0, 1]: gray files stay gray, colour and palette become RGB, alpha is dropped.

  EXIF orientation is applied. 16-bit gray is divided by 65535, whatever range it uses.

  Raises:
    ImageError: missing, corrupt, larger than 150 megapixels, floating point, or whole numbers outside 16 bits.
  """
  path = Path(path)
  try:
    with Image.open(path) as image:
      if image.width * image.height > _MAX_PIXELS:
        raise ImageError(f"{path}: {image.width}x{image.height} pixels are more than {_MAX_PIXELS // 10**6} million.")
      image = ImageOps.exif_transpose(image)
      if image.mode.startswith("I;16") or image.mode == "I":
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
          raise ImageError(f"{path}: values from {deep.min()} to {deep.max()} do not fit 16 bits.")
        return (deep.astype(np.float32) / 65535)[..., None]
      if image.mode == "F":
        raise ImageError(f"{path} holds floating point values, whose range is not known; save it with 8 or 16 bits.")
      gray = image.mode in ("1", "L", "LA")
      array = np.asarray(image.convert("L" if gray else "RGB"), np.float32) / 255
  except FileNotFoundError:
    raise ImageError(f"{path} does not exist.") from None
  except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
    if isinstance(error, ImageError):
      raise
    raise ImageError(f"{path} cannot be read as an image: {error}") from error
  return array[..., None] if gray else array


def write_image(path: str | Path, image: np.ndarray) -> None:
  """Writes [H, W, 1] or [H, W, 3] in [0, 1] as 8 bits, rounded and clipped; whole or not at all.

  Raises:
    ImageError: it could not be written.
  """
  path = Path(path)
  byte = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
  temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(byte[..., 0] if byte.shape[-1] == 1 else byte).save(temporary)
    os.replace(temporary, path)
  except OSError as error:
    raise ImageError(f"{path} cannot be written: {error}") from error
  finally:
    temporary.unlink(missing_ok=True)


def list_pairs(ir_dir: str | Path, vi_dir: str | Path) -> list[tuple[str, Path, Path]]:
  """(name, infrared file, visible file) of two folders, paired by equal file stems, in name order.

  Raises:
    ImageError: a folder is missing or empty, two files share a stem, or files have no partner (listed).
  """
  ir, vi = _by_stem(Path(ir_dir)), _by_stem(Path(vi_dir))
  lonely = [f"{ir[n]} has no partner in {vi_dir}" for n in sorted(ir.keys() - vi.keys())]
  lonely += [f"{vi[n]} has no partner in {ir_dir}" for n in sorted(vi.keys() - ir.keys())]
  if lonely:
    more = f"\n  and {len(lonely) - 10} more" if len(lonely) > 10 else ""
    raise ImageError("files are paired by equal names, but\n  " + "\n  ".join(lonely[:10]) + more)
  return [(name, ir[name], vi[name]) for name in sorted(ir)]


def _by_stem(folder: Path) -> dict[str, Path]:
  if not folder.is_dir():
    raise ImageError(f"{folder} is not a folder.")
  found: dict[str, Path] = {}
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
      if path.stem in found:
        raise ImageError(f"{found[path.stem]} and {path} have the same name.")
      found[path.stem] = path
  if not found:
    raise ImageError(f"{folder} holds no image ({', '.join(EXTENSIONS)}).")
  return found
