"""The errors that loading and downloading of weight files raise."""


class CheckpointError(ValueError):
    """A weight file cannot be used; the message names the file, the array, and what to do."""


class DownloadError(OSError):
    """A file could not be fetched; the message names its address, and what to do."""
