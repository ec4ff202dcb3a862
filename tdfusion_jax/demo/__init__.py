"""A page in the browser that fuses a pair."""
