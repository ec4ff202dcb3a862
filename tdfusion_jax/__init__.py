"""TDFusion in JAX: task-driven image fusion with a learnable fusion loss."""

__version__ = "0.1.0"
