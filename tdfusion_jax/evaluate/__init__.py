"""Scores of fused images and of task networks, and the tables of them."""
