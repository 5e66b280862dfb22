"""The address of the embedded broker, and whether its port can be had."""

from __future__ import annotations

import errno
import socket

HOST = "127.0.0.1"


def port_fault(port: int) -> str | None:
    """Why nothing can listen on this loopback port, in a sentence with the remedy, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return bind_fault(port, error)
    return None


def bind_fault(port: int, error: OSError) -> str:
    """The sentence for a port that could not be opened."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by another program; set mqtt.broker.port"
    if error.errno == errno.EACCES:
        return f"port {port} needs special rights; set mqtt.broker.port to one above 1023"
    return f"port {port} cannot be opened ({error.strerror}); set mqtt.broker.port"
