"""The error that the publishing program raises for its user."""


class PublishError(Exception):
    """A module cannot be published; the message says why and what to do."""
