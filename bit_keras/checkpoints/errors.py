"""The errors that loading and downloading of weight files raise."""


class CheckpointError(ValueError):
    """Raised if a weight file cannot be used; the message names the file and what to do."""


class DownloadError(OSError):
    """Raised if a file cannot be downloaded; the message names its address, and what to do."""
