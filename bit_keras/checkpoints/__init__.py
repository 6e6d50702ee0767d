"""Weight files: their format, their names, and how they come to this machine."""
