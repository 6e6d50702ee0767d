"""Finds out within seconds whether a server can be reached."""

import socket
import threading
import time
from urllib.parse import urlsplit

import requests

# Seconds to wait for a connection, including the look-up of the server's IP address. The short wait
# is for a time at which another server was not reached a moment ago: there is probably no network.
_WAIT, _SHORT_WAIT = 4.0, 1.0

# The number of seconds for which a server that could not be reached is not tried again.
_REMEMBERED = 60.0

# Maps each server (host, port) that could not be reached to the time of the last try and the
# reason.
_unreached: dict[tuple[str, int], tuple[float, str]] = {}


def problem_of_connection(address: str) -> str | None:
    """Returns why no connection to the server of an address can be opened, or None if one can.

    It takes at most four seconds. If a proxy is set for the address, the proxy is tried.

    Args:
        address: a valid http or https URL.
    """
    server = _server(address)
    now = time.monotonic()
    for other, (tried, _) in list(_unreached.items()):
        if now - tried > _REMEMBERED:
            del _unreached[other]
    if server not in _unreached:
        problem = _try(server, _SHORT_WAIT if _unreached else _WAIT)
        if problem is None:
            return None
        _unreached[server] = now, problem
    return f"{server[0]} cannot be reached: {_unreached[server][1]}"


def _server(address: str) -> tuple[str, int]:
    proxies = requests.utils.get_environ_proxies(address)
    parts = urlsplit(requests.utils.select_proxy(address, proxies) or address)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _try(server: tuple[str, int], wait: float) -> str | None:
    # The look-up of a server's IP address has no time limit of its own, so a thread does it, and
    # the program waits for the thread for `wait` seconds at most.
    outcome = [f"no answer within {wait:g} s"]

    def connect() -> None:
        try:
            socket.create_connection(server, timeout=wait).close()
            outcome[0] = None
        except (OSError, UnicodeError) as error:
            outcome[0] = getattr(error, "strerror", None) or str(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(wait)
    return outcome[0]
