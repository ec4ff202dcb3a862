"""Several settings over several seeds, compared."""
