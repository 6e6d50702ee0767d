"""Measures trained networks: predictions, accuracies, linear probes, and pictures of results."""
