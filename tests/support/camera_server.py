"""A network camera for tests: MJPEG on the loopback address, which goes away and comes back."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

LEVELS = 12
"""Different pictures, before the first one comes again."""


class CameraServer:
    """An MJPEG camera on the loopback address; a test lets its frames out one by one."""

    def __init__(self, port: int = 0) -> None:
        self._frames = threading.Semaphore(0)
        self._number = 0
        self._connections: list[socket.socket] = []
        self.clients = threading.Semaphore(0)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.serve(self)

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None: ...

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        self._connections.append(handler.connection)
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        self.clients.release()
        while True:
            self._frames.acquire()
            if self._connections[-1] is not handler.connection:
                self._frames.release()
                return
            self._number += 1
            picture = np.full((48, 64, 3), 20 * (self._number % LEVELS), np.uint8)
            data = cv2.imencode(".jpg", picture)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            handler.wfile.write(head.encode() + data + b"\r\n")

    def send(self, frames: int) -> None:
        self._frames.release(frames)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client was faster
