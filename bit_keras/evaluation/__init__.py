"""Measures trained networks: predictions, accuracies, the linear probe, and pictures of them."""
