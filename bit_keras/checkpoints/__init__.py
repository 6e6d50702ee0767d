"""Weight files: their format, and where they lie. Stands on keras and numpy alone."""
