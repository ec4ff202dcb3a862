"""Data sets in the layouts that their authors distribute, and folders of one's own."""
