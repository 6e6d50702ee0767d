"""Directories of training runs: writes their files, and finds finished runs."""
