"""Files of object stores and other machines, by fsspec."""
