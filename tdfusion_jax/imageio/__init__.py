"""The names by which scripts for earlier versions read and write images; they live in `images`."""

from tdfusion_jax.images.listing import list_files, list_images, list_pairs
from tdfusion_jax.images.opening import ImageError
from tdfusion_jax.images.reading import from_pil, image_size, read_image, read_pixels
from tdfusion_jax.images.scaling import Pixels, Scale, parse_scale, pixels, to_unit
from tdfusion_jax.images.writing import to_bytes, write_image

__all__ = [
  "ImageError",
  "Pixels",
  "Scale",
  "from_pil",
  "image_size",
  "list_files",
  "list_images",
  "list_pairs",
  "parse_scale",
  "pixels",
  "read_image",
  "read_pixels",
  "to_bytes",
  "to_unit",
  "write_image",
]
