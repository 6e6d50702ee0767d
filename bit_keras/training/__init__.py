"""Recipes that train a network, each over Keras' own `model.fit`."""
