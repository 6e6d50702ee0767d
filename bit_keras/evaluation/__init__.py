"""What a trained network is worth: exact accuracies, and pictures of them."""
