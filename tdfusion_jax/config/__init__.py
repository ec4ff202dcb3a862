"""Settings: every field with the paper's value, the options after the colon, config files."""

from tdfusion_jax.config.fields import ABLATIONS, OPTIONS, Config, ConfigError, base, finish

__all__ = ["ABLATIONS", "OPTIONS", "Config", "ConfigError", "base", "finish"]
