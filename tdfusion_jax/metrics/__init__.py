"""Task and fusion metrics."""
