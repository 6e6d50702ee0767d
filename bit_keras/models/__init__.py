"""The BiT networks, their Keras model class, and functions that prepare and check their inputs."""
