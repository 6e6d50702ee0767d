"""The error of the publishing program, whose message is shown to the user."""


class PublishError(Exception):
    """A module cannot be published; the message says why and what to do."""
