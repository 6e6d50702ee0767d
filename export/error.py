"""What the publishing program refuses, and why."""


class PublishError(Exception):
    """A module that is not published; the message says why and what to do."""
