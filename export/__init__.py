"""The publishing program: models as a tree in TF-Hub style, for a static file server.

It runs from a checkout, `python -m export.publish --help`, and is not installed.
"""
