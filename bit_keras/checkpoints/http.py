"""One HTTP download to a temporary file, resumed after a break and retried after a failure.

`requests` can neither resume nor retry a body that breaks off, so this module does both.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from bit_keras.checkpoints.address import check_address, shown_address, without_secrets
from bit_keras.checkpoints.errors import DownloadError
from bit_keras.utils.partial_files import left_behind, partial_path, remove_left
from bit_keras.utils.regular_file import SpecialFileError, read_regular_file

# Timeouts in seconds: for the connection, and for each read of the response's body.
TIMEOUT = (10, 60)

# Seconds to wait before each further try of a download.
PAUSES = (1, 2, 4, 8)

_MAX_REDIRECTS = 5

# The largest number of bytes that are read from the connection at once.
_PIECE_BYTES = 1 << 16

# A transfer counts as broken off if it brings fewer than `_LEAST_BYTES_PER_SECOND` over a period of
# `_PERIOD` seconds. Without this limit, a server that sends a byte a minute would keep a process
# waiting for years.
_LEAST_BYTES_PER_SECOND, _PERIOD = 10_000, 60.0

# HTTP statuses below 500 after which a retry may succeed: request timeout, too early, too many
# requests.
_RETRIED = (408, 425, 429)

_ADVICE = {
    401: "The server asks for a password. Check the address.",
    403: "The server refuses access. Check the address, and your settings of a proxy.",
    404: "There is no such file on the server. Check the address ($BIT_KERAS_BASE_URL).",
}

# The pattern of a strong ETag (RFC 9110, section 8.8.3). A stored ETag is checked against it,
# because a power cut may damage the file of the ETag.
_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')

# Errors of the address or of the server's identity, after which no retry can succeed.
_PERMANENT = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
)


class _Session(requests.Session):
    """A session that follows no redirect; `requests` would read the whole body of each redirect."""

    def get_redirect_target(self, response: requests.Response) -> None:
        """Returns None, so that `requests` takes no response for a redirect and follows none."""


def fetch(address: str, path: Path, accept: Callable[[Path], None], most_bytes: int) -> None:
    """Downloads an address to a temporary file; the function `accept` checks and moves that file.

    No other process uses the temporary file. A temporary file that a killed process has left is
    resumed, if the server's ETag is still the same.

    Args:
        address: a http or https URL.
        path: the path beside which the temporary file is made; its directory exists.
        accept: checks the complete temporary file and moves it where it belongs, or raises a
            ValueError.
        most_bytes: a longer file is refused before or while it is transferred.

    Raises:
        DownloadError: the address is not valid, the server refuses, or fails at every try, or the
            content is not accepted. No message holds a password or a token of the address.
        OSError: the temporary file cannot be written; it is removed.
    """
    adopted, new = _adopt(path), partial_path(path)
    for partial in (adopted, new) if adopted else (new,):
        _download(address, partial, most_bytes)
        try:
            accept(partial)
            break
        except ValueError as error:
            # A resumed file that is not accepted may have been damaged by a power cut, so the
            # address is downloaded again from the start.
            if partial is new:
                raise DownloadError(
                    f"{shown_address(address)} did not give the file that was asked for: {error}"
                ) from error
        finally:
            _remove(partial)
    remove_left(path, own=True)


def _download(address: str, partial: Path, most_bytes: int) -> None:
    """Downloads an address; after a failure, tries again and resumes the unfinished download."""
    shown = shown_address(address)
    for pause in (*PAUSES, None):
        try:
            _try_once(address, partial, most_bytes)
            return
        # The errors of `requests` are not shown as causes, because they contain the whole address
        # with its password or token.
        except _PERMANENT as error:
            _remove(partial)
            problem = without_secrets(str(error))
            raise DownloadError(f"{shown} cannot be fetched: {problem}") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if pause is None:
                kept, problem = _keep(partial), without_secrets(str(error))
                raise DownloadError(
                    f"{shown} could not be fetched in {len(PAUSES) + 1} tries: {problem}. {kept}"
                ) from None
            time.sleep(pause)
        except DownloadError:
            _remove(partial)
            raise
        except OSError as error:
            _remove(partial)
            reason = f"{error.strerror}, while fetching {shown}; nothing was kept"
            raise OSError(error.errno, reason, str(partial.parent)) from error


def _try_once(address: str, partial: Path, most_bytes: int) -> None:
    """Downloads the missing bytes into a temporary file, or the whole file from the start."""
    have, etag = _progress(partial)
    # The server is asked not to compress the file, because a compressed transfer has no known size
    # and cannot be resumed.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    with _open(address, headers) as response:
        resumed, total = response.status_code != 200, _total(response)
        if resumed and not _is_rest(response, have, etag):
            _remove(partial)
            raise requests.ConnectionError(
                f"the answer {response.status_code} {response.reason} does not begin at byte {have}"
            )
        # With status 416 the server says that the temporary file is already complete.
        if response.status_code == 416:
            return
        have = have if resumed else 0
        _check_size(address, total or 0, most_bytes)
        with (
            open(partial, "ab" if resumed else "wb") as file,
            tqdm(
                desc=urlsplit(address).path.rsplit("/", 1)[-1],
                initial=have,
                total=total,
                unit="B",
                unit_scale=True,
                # With disable=None, tqdm shows the progress bar only on a terminal.
                disable=None,
            ) as bar,
        ):
            # The new ETag is stored only after open() has removed the bytes that came with an older
            # ETag.
            _store_etag(partial, response.headers.get("ETag", ""))
            for piece in _pieces(response):
                have += len(piece)
                _check_size(address, have, most_bytes)
                file.write(piece)
                bar.update(len(piece))
            file.flush()
            os.fsync(file.fileno())
    size = partial.stat().st_size
    if total is not None and size != total:
        raise requests.ConnectionError(f"only {size} of {total} bytes were received")


def _check_size(address: str, size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise DownloadError(
            f"{shown_address(address)} gives at least {size:,} bytes, but expected were at most "
            f"{most_bytes:,}. Check the address ($BIT_KERAS_BASE_URL)."
        )


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Yields the pieces of a response's body; raises a ConnectionError if they come too slowly."""
    start, received = time.monotonic(), 0
    # read1 returns the bytes that have arrived; read would wait until _PIECE_BYTES have arrived.
    while piece := response.raw.read1(_PIECE_BYTES, decode_content=False):
        yield piece
        received += len(piece)
        passed = time.monotonic() - start
        if passed > _PERIOD:
            if received < passed * _LEAST_BYTES_PER_SECOND:
                raise requests.ConnectionError(f"only {received} bytes came in {passed:.0f} s")
            start, received = time.monotonic(), 0


def _open(address: str, headers: dict[str, str]) -> requests.Response:
    """Sends a request, follows redirects, and returns a response with status 200, 206 or 416."""
    for _ in range(_MAX_REDIRECTS + 1):
        check_address(address)
        shown = shown_address(address)
        try:
            response = _Session().get(address, headers=headers, stream=True, timeout=TIMEOUT)
        except (urllib3.exceptions.LocationValueError, UnicodeError) as error:
            raise DownloadError(
                f"{shown} is not a valid address: {without_secrets(str(error))}"
            ) from None
        if not response.is_redirect:
            break
        response.close()  # The body of the redirect is not read, but dropped.
        try:
            target = urljoin(address, response.headers["Location"])
        except ValueError:
            raise DownloadError(f"{shown} redirects to an address that is not valid.") from None
        if urlsplit(address).scheme == "https" and urlsplit(target).scheme != "https":
            raise DownloadError(
                f"{shown} redirects to {shown_address(target)}, which is refused because it is "
                "not encrypted"
            )
        address = target
    else:
        raise DownloadError(f"{shown} is still redirected after {_MAX_REDIRECTS} redirects.")
    status = response.status_code
    if status in (200, 206, 416):
        return response
    response.close()
    message = f"{shown} answered {status} {response.reason}"
    if status >= 500 or status in _RETRIED:
        raise requests.ConnectionError(message)
    raise DownloadError(f"{message}. {_ADVICE.get(status, 'Check the address.')}")


def _total(response: requests.Response) -> int | None:
    """Returns the size of the whole file by a response's headers, or None if they lack it."""
    if response.status_code == 200:
        total = response.headers.get("Content-Length", "")
    else:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    # A number of more than 18 digits is not a file's size and is ignored; int() would refuse
    # thousands of digits.
    return int(total) if total.isdecimal() and len(total) <= 18 else None


def _is_rest(response: requests.Response, have: int, etag: str) -> bool:
    """Returns True if a response continues a file of `have` bytes or says the file is complete."""
    content = response.headers.get("Content-Range", "")
    if not have:
        return False
    if response.status_code == 416:
        return content == f"bytes */{have}"
    return content.startswith(f"bytes {have}-") and response.headers.get("ETag") == etag


def _progress(partial: Path) -> tuple[int, str]:
    """Returns a temporary file's size and ETag, or 0 and "" if its ETag is unknown."""
    try:
        etag = read_regular_file(_etag_path(partial)).decode("ascii")
        return (partial.stat().st_size, etag) if _ETAG.fullmatch(etag) else (0, "")
    except (FileNotFoundError, SpecialFileError, UnicodeDecodeError):
        return 0, ""


def _keep(partial: Path) -> str:
    """Removes a temporary file that cannot be resumed; returns a sentence for the error message."""
    have, _ = _progress(partial)
    if have:
        return f"{have} bytes are kept; the next call fetches the rest."
    _remove(partial)
    return "Try again later."


def _store_etag(partial: Path, etag: str) -> None:
    # Weak ETags are not stored, because files with the same weak ETag may differ in their bytes.
    if _ETAG.fullmatch(etag):
        _etag_path(partial).write_text(etag)
    else:
        _etag_path(partial).unlink(missing_ok=True)


def _etag_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.etag")


def _adopt(path: Path) -> Path | None:
    """Takes over an ended process's unfinished file; returns the new path, or None without one."""
    for left in left_behind(path, own=True):
        if left.suffix == ".partial":
            ours = partial_path(path)
            try:
                os.replace(left, ours)
                os.replace(_etag_path(left), _etag_path(ours))
            except FileNotFoundError:  # Another process took the file, or the file has no ETag.
                _remove(ours)
            else:
                return ours
    return None


def _remove(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _etag_path(partial).unlink(missing_ok=True)
