"""Training: from a config to a finished run folder."""

from tdfusion_jax.train.loop import DivergedError, train

__all__ = ["DivergedError", "train"]
