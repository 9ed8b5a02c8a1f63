"""An HTTP server that a test kills: says who it is, takes its time for POSTs, writes down which of them arrived.

    python toy_api.py ADDRESS PORT NAME FILE
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WORK_S = 0.02


class Handler(BaseHTTPRequestHandler):
    """GET: its name. POST: the body goes into the file before the answer."""

    protocol_version = "HTTP/1.1"
    wbufsize = 16_384  # a whole answer at once: no proxy can ask again for one that was cut in its middle

    def do_GET(self) -> None:
        if self.path != "/":
            time.sleep(WORK_S)
        self._answer(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with Path(sys.argv[4]).open("a") as file:
            file.write(body + "\n")
        time.sleep(WORK_S)
        self._answer(202)

    def _answer(self, code: int) -> None:
        body = sys.argv[3].encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """With room for connections that are not accepted yet."""

    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
