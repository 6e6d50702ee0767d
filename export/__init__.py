"""The publishing program, which writes models as a directory tree in the layout of TF-Hub.

It runs from a checkout, `python -m export.publish --help`, and is not installed.
"""
