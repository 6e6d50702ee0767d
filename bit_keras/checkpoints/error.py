"""The one exception of every refusal of a weight file."""


class CheckpointError(ValueError):
    """A weight file that cannot be used; the message names file and key, and what to do."""
