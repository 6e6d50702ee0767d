"""Exports trained models as SavedModels and in the file formats of other programs."""
