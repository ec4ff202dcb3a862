"""Pure array operations."""
