"""Weight files: their format, their published names, the download and the cache."""
