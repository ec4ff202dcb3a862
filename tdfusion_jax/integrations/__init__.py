"""Bridges to other projects; each imports its partner only when it is used."""
