"""Downstream tasks and the tf.data pipeline that feeds them to a network."""
