"""Image files and pictures: reading, writing, pairing, registration, contact sheets; no JAX."""
