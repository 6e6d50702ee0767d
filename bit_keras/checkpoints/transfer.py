"""One HTTP transfer into a temporary file: gone on with where it can be, tried again where it may
help."""

import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm

from bit_keras.checkpoints.error import DownloadError

# Seconds to connect, and between two pieces: a server that is silent for longer hangs.
TIMEOUT = (10, 60)

# Seconds before the second, third ... try.
PAUSES = (1, 2, 4, 8)

_MAX_REDIRECTS = 5

# Small: what has come of a piece when the connection breaks is lost.
_CHUNK_BYTES = 1 << 16

_HOST = re.sub(r"\W", "_", socket.gethostname())

# HTTP statuses that may pass: request timeout, too early, too many requests; and all from 500.
_PASSING = (408, 425, 429)

_ADVICE = {
    401: "The server asks for a password; look at the address.",
    403: "The server forbids it; look at the address, or at a proxy in between.",
    404: "There is no such file on the server; look at the address ($BIT_KERAS_BASE_URL).",
}


class _MayPassError(Exception):
    """What may go better the next time."""


class _RefusedError(Exception):
    """The content is not what was asked for."""


# A strong ETag (RFC 9110, section 8.8.3); after a power cut anything may stand in its place.
_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')

# Faults of the address or of the server's identity: they do not pass.
_LASTING = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
)


def fetch(address: str, path: Path, accept: Callable[[Path], None]) -> None:
    """Fetches an address to a temporary file beside `path` and hands that over, complete.

    No other process uses the temporary file. One that a process left when it died is gone on
    with, if the server's ETag is still the same.

    Args:
        address: http or https.
        path: beside which the temporary file lies; the directory exists.
        accept: is given the temporary file; checks it and moves it where it belongs, or raises
            a ValueError.

    Raises:
        DownloadError: the server refuses, or fails at every try; or the content is not accepted.
        OSError: the temporary file cannot be written; it is removed.
    """
    adopted = _adopt(path)
    try:
        _fetch_into(adopted or _new_partial(path), address, accept)
    except _RefusedError as error:
        if adopted is None:
            raise _unwanted(address, error) from error
        # What a process left when the power went may be rubbish: once more, from the start.
        try:
            _fetch_into(_new_partial(path), address, accept)
        except _RefusedError as again:
            raise _unwanted(address, again) from again
    for left in _left_by_the_dead(path):
        left.unlink(missing_ok=True)


def _fetch_into(partial: Path, address: str, accept: Callable[[Path], None]) -> None:
    _transfer_patiently(address, partial)
    try:
        accept(partial)
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    finally:
        _remove(partial)


def _unwanted(address: str, error: _RefusedError) -> DownloadError:
    return DownloadError(f"{address} did not give the file that was asked for: {error}")


def _transfer_patiently(address: str, partial: Path) -> None:
    for pause in (*PAUSES, None):
        try:
            _transfer(address, partial)
            return
        except _LASTING as error:
            _remove(partial)
            raise DownloadError(f"{address} cannot be fetched: {error}") from error
        except (_MayPassError, requests.RequestException) as error:
            if pause is None:
                kept = _keep(partial)
                raise DownloadError(
                    f"{address} could not be fetched in {len(PAUSES) + 1} tries: {error}. {kept}"
                ) from error
            time.sleep(pause)
        except DownloadError:
            _remove(partial)
            raise
        except OSError as error:
            _remove(partial)
            reason = f"{error.strerror}, while fetching {address}; nothing was kept"
            raise OSError(error.errno, reason, str(partial.parent)) from error


def _transfer(address: str, partial: Path) -> None:
    """One try: appends what is missing, or starts anew."""
    have, etag = _progress(partial)
    # Compressed on the way, a file could be neither measured nor gone on with.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    with _open(address, headers) as response:
        resumed, total = response.status_code != 200, _total(response)
        if resumed and not _goes_on(response, have, etag):
            _remove(partial)
            raise _MayPassError(f"{response.status_code} {response.reason} for bytes {have}-")
        if response.status_code == 416:  # all of it is here
            return
        with (
            open(partial, "ab" if resumed else "wb") as file,
            # disable=None: only on a terminal.
            tqdm(
                desc=address.rsplit("/", 1)[-1],
                initial=have if resumed else 0,
                total=total,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            # Now that nothing is left of what it does not belong to.
            _note_etag(partial, response.headers.get("ETag", ""))
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    size = partial.stat().st_size
    if total is not None and size != total:
        raise _MayPassError(f"{size} of {total} bytes came")


def _open(address: str, headers: dict[str, str]) -> requests.Response:
    """Returns the answer to a GET, redirects followed; its status is 200, 206 or 416."""
    for _ in range(_MAX_REDIRECTS + 1):
        if urlsplit(address).scheme not in ("http", "https"):
            raise DownloadError(f"{address} is no http or https address (see $BIT_KERAS_BASE_URL).")
        response = requests.get(
            address, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False
        )
        if not response.is_redirect:
            break
        response.close()
        try:
            target = urljoin(address, response.headers["Location"])
        except ValueError as error:
            raise DownloadError(f"{address} redirects to no address: {error}") from error
        if urlsplit(address).scheme == "https" and urlsplit(target).scheme != "https":
            raise DownloadError(f"{address} redirects to {target}, which is not encrypted: refused")
        address = target
    else:
        raise DownloadError(f"{address} is still redirected after {_MAX_REDIRECTS} redirects.")
    status = response.status_code
    if status in (200, 206, 416):
        return response
    response.close()
    message = f"{address} answered {status} {response.reason}"
    if status >= 500 or status in _PASSING:
        raise _MayPassError(message)
    raise DownloadError(f"{message}. {_ADVICE.get(status, 'Look at the address.')}")


def _total(response: requests.Response) -> int | None:
    """Bytes of the whole file, as the answer says; None if it does not."""
    if response.status_code == 200:
        total = response.headers.get("Content-Length", "")
    else:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    # Nothing is a thousand petabytes; Python refuses to read numbers of thousands of digits.
    return int(total) if total.isdecimal() and len(total) <= 18 else None


def _goes_on(response: requests.Response, have: int, etag: str) -> bool:
    """Whether an answer to the question for bytes `have`- is what is missing, or that none is."""
    content = response.headers.get("Content-Range", "")
    if not have:
        return False
    if response.status_code == 416:
        return content == f"bytes */{have}"
    return content.startswith(f"bytes {have}-") and response.headers.get("ETag") == etag


def _progress(partial: Path) -> tuple[int, str]:
    """How many bytes there are to go on from, and of which ETag; 0 if that cannot be told."""
    try:
        etag = _etag_path(partial).read_text("ascii")
        return (partial.stat().st_size, etag) if _ETAG.fullmatch(etag) else (0, "")
    except (FileNotFoundError, UnicodeDecodeError):
        return 0, ""


def _keep(partial: Path) -> str:
    """Keeps what can be gone on with, and removes what cannot; says which."""
    have, _ = _progress(partial)
    if have:
        return f"{have} bytes are kept; call again, and the rest is fetched."
    _remove(partial)
    return "Try again later."


def _note_etag(partial: Path, etag: str) -> None:
    # A weak ETag does not promise the same bytes.
    if _ETAG.fullmatch(etag):
        _etag_path(partial).write_text(etag)
    else:
        _etag_path(partial).unlink(missing_ok=True)


def _etag_path(partial: Path) -> Path:
    return partial.with_suffix(".etag")


def _new_partial(path: Path) -> Path:
    token = f"{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{token}.partial")


def _adopt(path: Path) -> Path | None:
    """Makes ours, by its name, a temporary file that a dead process of this machine left."""
    for left in _left_by_the_dead(path):
        if left.suffix == ".partial":
            ours = _new_partial(path)
            try:
                os.replace(left, ours)
                os.replace(_etag_path(left), _etag_path(ours))
            except FileNotFoundError:  # another process was quicker, or it has no ETag
                _remove(ours)
            else:
                return ours
    return None


def _left_by_the_dead(path: Path) -> list[Path]:
    """The temporary files beside `path` whose processes, of this machine, are no more."""
    owner = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(_HOST)}-(\d+)-\w+\.(partial|etag)")
    matches = (owner.fullmatch(left.name) for left in path.parent.iterdir())
    return [
        path.with_name(match[0])
        for match in matches
        if match and not _is_another_living_process(int(match[1]))
    ]


def _is_another_living_process(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _etag_path(partial).unlink(missing_ok=True)
