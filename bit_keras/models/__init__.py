"""The BiT networks, their Keras model class, and the functions around their inputs."""
