"""Fusion and task losses."""
