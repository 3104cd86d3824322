"""An HTTP server that writes down what it is sent and answers as a test says: also nothing, late, or no HTTP at all."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Said:
    """An answer. `garbage`: these bytes instead of HTTP; `hold`: seconds before it answers, or until the server ends."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    garbage: bytes = b""
    hold: float = 0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: float  # epoch seconds

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RecordingServer:
    """Answers each POST by `answer`, which gets the request and its number from 0."""

    def __init__(self, answer: Callable[[Asked, int], Said] = lambda _, __: Said()) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._ending = threading.Event()
        recorder, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # who asked was killed
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                with lock:
                    number = len(recorder.asked)
                    recorder.asked.append(Asked(path=self.path, headers=headers, body=body, at=time.time()))
                said = recorder.answer(recorder.asked[number], number)
                if said.hold:
                    recorder._ending.wait(said.hold)
                if said.garbage:
                    self.wfile.write(said.garbage)
                    self.close_connection = True
                    return
                out = said.body.encode()
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                self.wfile.write(out)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # who asked went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
