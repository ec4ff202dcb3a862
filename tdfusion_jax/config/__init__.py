"""Settings: every field with the paper's value, the options after the colon, config files."""

from tdfusion_jax.config.fields import Config, ConfigError, base
from tdfusion_jax.config.options import ABLATIONS, OPTIONS, finish

__all__ = ["ABLATIONS", "OPTIONS", "Config", "ConfigError", "base", "finish"]
