"""The error class of the publishing program; the user sees the error's message."""


class PublishError(Exception):
    """The error that a module cannot be published; its message says why and what to do."""
