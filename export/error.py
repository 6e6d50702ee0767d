"""The error of the publishing program, whose message is shown to the user."""


class PublishError(Exception):
    """The error that a module cannot be published; its message says why and what to do."""
