"""Models in the formats of other programs, and how fast each of them runs."""
