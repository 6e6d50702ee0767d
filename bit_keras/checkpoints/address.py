"""The addresses that weight files are downloaded from, and how to show them without secrets."""

import os
import re
from urllib.parse import urlsplit

from bit_keras.checkpoints.errors import DownloadError

# The address of the official weights (README of google-research/big_transfer).
_BASE_URL = "https://storage.googleapis.com/bit_models/"

# Regular expressions for the secrets in an address: the user and the password, and the query and
# the fragment (after ? or #), which may hold tokens and signatures. A password may hold any
# character, so everything up to the last @ of a word is matched. The slashes may be missing,
# because a mistyped address may hold a password too.
_SCHEME = r"(?:(?:https?|ftp):/*|//)?"
_USER = re.compile(rf"(?<!\S)([('\"<\[]*{_SCHEME})\S*@", re.IGNORECASE)
_QUERY = re.compile(r"([?#])\S+")
_USER_OF_ADDRESS = re.compile(rf"({_SCHEME}).*@", re.IGNORECASE | re.DOTALL)


def address_of(file: str) -> str:
    """Returns the URL of a file of the release, below `$BIT_KERAS_BASE_URL` if that is set.

    It may hold a password or a token: see `shown_address`.

    Args:
        file: its path below the base address; "" is the base address itself.
    """
    base, rest = re.fullmatch(
        r"([^?#]*)(.*)", os.environ.get("BIT_KERAS_BASE_URL") or _BASE_URL, re.DOTALL
    ).groups()
    return f"{base.rstrip('/')}/{file}{rest}"


def without_secrets(text: str) -> str:
    """Returns a text in which the user, the password and the query of each address become ***.

    The addresses have no spaces, as `check_address` ensures.

    >>> without_secrets("https://me:secret@example.org/a.npz?token=secret is not there")
    'https://***@example.org/a.npz?*** is not there'
    """
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))


def shown_address(address: str) -> str:
    """Returns an address, which may be mistyped, with *** for the user, the password and the query.

    >>> shown_address("me:a secret@example.org/a.npz?token=secret")
    '***@example.org/a.npz?***'
    """
    shown = _USER_OF_ADDRESS.sub(r"\1***@", address, count=1)
    return re.sub(r"([?#]).+", r"\1***", shown, flags=re.DOTALL)


def check_address(address: str) -> None:
    """Raises a DownloadError if a text is not the address of a file on a http or https server."""
    try:
        if re.search(r"[\s\x00-\x1f\x7f]", address):
            # The error message does not show the address, because a space may be part of a
            # password.
            raise DownloadError(
                "The address of the weights contains a space or a control character. Percent-"
                "encode the character in $BIT_KERAS_BASE_URL; a space is %20."
            )
        parts = urlsplit(address)
        problem = _problem(parts.scheme, parts.hostname, parts.port)
    except ValueError:
        # The ValueError is not shown, because it quotes the text that was taken for a port, which
        # may be part of a password.
        problem = (
            "has a port that is not a number from 0 to 65535, or brackets that do not hold an IPv6 "
            "address"
        )
    if problem:
        raise DownloadError(
            f"{shown_address(address)} {problem}, so it cannot be fetched. Expected an address "
            "such as https://example.org/weights/. Check $BIT_KERAS_BASE_URL."
        )


def _problem(scheme: str, host: str | None, port: int | None) -> str | None:
    if scheme not in ("http", "https"):
        return "is not a http or https address"
    if not host:
        return "names no server"
    try:
        host.encode("idna")
    except UnicodeError:
        return "has a name of a server that is not valid"
    return "has the port 0" if port == 0 else None
