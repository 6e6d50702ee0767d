"""What can be wrong with a weight file."""


class CheckpointError(ValueError):
    """A weight file that cannot be used; the message names file and key, and what to do."""


class DownloadError(OSError):
    """A file that could not be fetched; the message names its address, and what to do."""
