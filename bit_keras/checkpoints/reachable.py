"""Finds out within seconds whether a server can be reached."""

import socket
import threading
import time
from urllib.parse import urlsplit

import requests
import urllib3

# Seconds to wait for a connection, including the look-up of the server's IP address. The short wait
# is for a time at which another server was not reached a moment ago: there is probably no network.
_WAIT, _SHORT_WAIT = 4.0, 1.0

# The ports of proxies whose address names no port.
_PORTS_OF_PROXIES = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}

# The number of seconds for which a server that could not be reached is not tried again.
_REMEMBERED = 60.0

# Maps each server (host, port) that could not be reached to the time of the last try and the
# reason.
_unreached: dict[tuple[str, int], tuple[float, str]] = {}


def problem_of_connection(address: str) -> str | None:
    """Returns why no connection to the server of an address can be opened, or None if one can.

    It takes at most four seconds. If a proxy is set for the address, the proxy is tried. For a
    proxy that `requests` cannot use, None is returned, and the error of `requests` says why.

    Args:
        address: a valid http or https URL.
    """
    server = _server(address)
    if server is None:
        return None
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


def _server(address: str) -> tuple[str, int] | None:
    proxies = requests.utils.get_environ_proxies(address)
    proxy = requests.utils.select_proxy(address, proxies)
    if not proxy:
        parts = urlsplit(address)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        # The address of a proxy may lack the scheme, and is read in the way of `requests`.
        found = urllib3.util.parse_url(requests.utils.prepend_scheme_if_needed(proxy, "http"))
    except urllib3.exceptions.LocationParseError:
        return None
    if not found.host or found.scheme not in _PORTS_OF_PROXIES:
        return None
    return found.host.strip("[]"), found.port or _PORTS_OF_PROXIES[found.scheme]


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
