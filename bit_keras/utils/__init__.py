"""Small helpers that do not depend on BiT: files, names, tables and integers."""
