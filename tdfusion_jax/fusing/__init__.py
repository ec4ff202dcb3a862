"""Fusing images: arrays, pairs, folders, huge images, videos."""

from tdfusion_jax.fusing.arrays import make_fuse_fn

__all__ = ["make_fuse_fn"]
