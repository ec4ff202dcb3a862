"""Image files and pictures: reading, writing, scaling, pairing, registration, contact sheets. Imports no JAX."""
