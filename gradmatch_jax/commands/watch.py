"""Whether the other processes of a run still live: a connection each, which ends with its process.

The kernel closes a dead process's sockets at once, whatever killed it. A collective may wait for it
for ever, and JAX's own heartbeat for minutes. Process 0 listens; the others connect and say who
they are; what ends without a word was lost. Nothing that is received is trusted beyond that.
"""

import secrets
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

TOKEN = 16
DONE = b"d"
HELLO_SECONDS = 60.0


class Address(NamedTuple):
    """Where process 0 listens, and the word that its own processes know."""

    host: str
    port: int
    token: bytes


class Watch:
    """Of process 0 on the others, and of each of them on process 0.

    `lost` is called, in a thread, with the number of a process that ended without `done`.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()

    @staticmethod
    def listen(host: str) -> tuple[socket.socket, Address]:
        """A socket of process 0's, and what to tell the others."""
        server = socket.create_server(("", 0))
        return server, Address(host, server.getsockname()[1], secrets.token_bytes(TOKEN))

    def start(
        self, server: socket.socket, address: Address, others: int, lost: Callable[[int], None]
    ) -> None:
        """Wait for the others, in a thread."""

        def accept() -> None:
            missing = set(range(1, others + 1))
            while missing:
                connection, _ = server.accept()
                connection.settimeout(HELLO_SECONDS)
                try:
                    hello = _exactly(connection, TOKEN + 4)
                except OSError:
                    hello = b""
                number = int.from_bytes(hello[TOKEN:], "big")
                if not secrets.compare_digest(hello[:TOKEN], address.token) or (
                    number not in missing
                ):
                    connection.close()
                    continue
                missing.remove(number)
                self._follow(connection, number, lost)
            server.close()

        threading.Thread(target=accept, name="watch", daemon=True).start()

    def join(self, address: Address, number: int, lost: Callable[[int], None]) -> None:
        """Connect to process 0.

        Raises:
            OSError: it cannot be reached.
        """
        connection = socket.create_connection((address.host, address.port), HELLO_SECONDS)
        connection.sendall(address.token + number.to_bytes(4, "big"))
        self._follow(connection, 0, lost)

    def _follow(self, connection: socket.socket, number: int, lost: Callable[[int], None]) -> None:
        connection.settimeout(None)
        # A host that lost its power says nothing: ask.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sockets.append(connection)

        def listen() -> None:
            try:
                word = connection.recv(1)
            except OSError:
                word = b""
            if word != DONE and not self._done.is_set():
                lost(number)

        threading.Thread(target=listen, name=f"watch-{number}", daemon=True).start()

    def done(self) -> None:
        """Say that this process has ended well, and look no more."""
        self._done.set()
        for connection in self._sockets:
            try:
                connection.sendall(DONE)
            except OSError:
                continue


def _exactly(connection: socket.socket, size: int) -> bytes:
    """That many bytes, or fewer where the other side ended."""
    got = b""
    while len(got) < size and (part := connection.recv(size - len(got))):
        got += part
    return got
