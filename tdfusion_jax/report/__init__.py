"""A page about runs: curves, scores, pictures under a slider."""
