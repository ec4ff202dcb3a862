"""F, G and the task networks as Linen modules."""
