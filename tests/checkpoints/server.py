"""A local HTTP server with faults on demand, and processes that download from it."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PIECE_BYTES = 1 << 15
_PACKAGE = Path(__file__).parents[2] / "bit_keras"


@dataclass(frozen=True)
class Answer:
    """The server's answer to one request: by default the file, or the range asked for.

    Attributes:
        status: HTTP status of an answer that has its own body.
        body: the body, or None for that of the file.
        headers: HTTP headers in addition to those of the file.
        cut: number of bytes of the body after which nothing more is sent.
        hangs: if True, the connection then stays open.
        framing: "length", "chunked", or "none" for a body that ends with the connection.
    """

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    hangs: bool = False
    framing: str = "length"


class Server(ThreadingHTTPServer):
    """Serves `files` from memory on 127.0.0.1, in threads.

    Attributes:
        files: content of the files by name.
        answers: one answer to each of the next requests; the default answer follows them.
        etag: format of the ETag for the digest of a file; "" for no ETag.
        ranges: "right", "ignored", or "unconditional", which ignores If-Range.
        pause: seconds of waiting before each piece of a body.
        requests: the first byte that each request asked for.
        asked: the path with its query, and the Authorization header, of each request.
        lengths: the number of bytes of each answer's body, before it is cut.
        sent: total bytes of bodies that were sent.
    """

    daemon_threads = True
    request_queue_size = 16

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.answers: list[Answer] = []
        self.etag, self.ranges, self.pause = '"{}"', "right", 0.0
        self.requests: list[int] = []
        self.asked: list[tuple[str, str | None]] = []
        self.lengths: list[int] = []
        self.sent = 0
        self.closed = threading.Event()
        # The server polls every 0.01 s for the end, so that close() is quick.
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self.shutdown()
            self._thread.join()
            self.server_close()

    def handle_error(self, request, client_address) -> None:
        # Connection errors are expected, because clients are killed or hang up.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        server.requests.append(start)
        server.asked.append((self.path, self.headers.get("Authorization")))
        answer = server.answers.pop(0) if server.answers else Answer()
        if answer.body is None:
            answer = self._of_the_file(start, answer)
        server.lengths.append(len(answer.body))
        self._send(answer)

    def _of_the_file(self, start: int, answer: Answer) -> Answer:
        content = self.server.files.get(self.path.partition("?")[0].lstrip("/"))
        if content is None:
            return Answer(404, b"<html>Not Found</html>")
        etag = self.server.etag.format(hashlib.md5(content).hexdigest())
        headers = answer.headers | ({"ETag": etag} if etag else {})
        same = self.server.ranges == "unconditional" or self.headers.get("If-Range") == etag
        if not start or not same or self.server.ranges == "ignored":
            return replace(answer, body=content, headers=headers)
        size = len(content)
        if start >= size:
            return Answer(416, b"", headers | {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        return replace(answer, status=206, body=content[start:], headers=headers)

    def _send(self, answer: Answer) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        framing = {
            "length": {"Content-Length": str(len(answer.body))},
            "chunked": {"Transfer-Encoding": "chunked"},
            "none": {},
        }[answer.framing]
        for name, value in (framing | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        body, chunked = answer.body[: answer.cut], answer.framing == "chunked"
        for i in range(0, len(body), _PIECE_BYTES):
            piece = body[i : i + _PIECE_BYTES]
            time.sleep(self.server.pause)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            self.server.sent += len(piece)
        if chunked and answer.cut is None:
            self.wfile.write(b"0\r\n\r\n")
        if answer.hangs:
            self.server.closed.wait(30)


# The program imports no keras, which would take seconds, so it replaces bit_keras/__init__.py.
_PROGRAM = """
import contextlib, hashlib, sys, types
package = sys.modules["bit_keras"] = types.ModuleType("bit_keras")
package.__path__ = [sys.argv[1]]
from bit_keras.checkpoints import download, http
http.PAUSES = ()
if sys.argv[2] == "locks do nothing":
    download.FileLock = lambda path: contextlib.nullcontext()
assert "keras" not in sys.modules
print("ready", flush=True)
for line in sys.stdin:
    try:
        path = download.local_file(line.strip(), lambda path: None)
        print(hashlib.sha256(path.read_bytes()).hexdigest(), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


class Client:
    """A process that downloads files by name; it starts in half a second.

    Args:
        locks: "work", or "locks do nothing".
        mount: shell commands whose mounts only this process sees; `$0` is `where`.
        where: the directory that `mount` uses.
    """

    def __init__(self, locks: str = "work", mount: str = "", where: Path | None = None):
        command = [sys.executable, "-c", _PROGRAM, str(_PACKAGE), locks]
        if mount:
            root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
            script = f'{mount} && exec "$@"'
            command = ["unshare", *root, "--mount", "sh", "-c", script, str(where), *command]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def __enter__(self) -> "Client":
        if self.process.stdout.readline() != "ready\n":
            self.kill()
            raise RuntimeError(
                "The process did not start. Where it mounts something, it must run as root with "
                "CAP_SYS_ADMIN, or where user namespaces are allowed: "
                f"{self.process.stderr.read()}"
            )
        return self

    def __exit__(self, *exception) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def ask(self, file: str) -> None:
        print(file, file=self.process.stdin, flush=True)

    def answer(self) -> str:
        """Returns the sha256 of the downloaded file, or the error."""
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
