"""Connections to web servers that keep a policy: urllib3's, which look where they lead and at the clock.

An address is checked at the moment of connecting, and the connection goes to the very address that was checked: looking
a name up beforehand would let its owner answer differently the second time.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from functools import partial
from typing import Any, ClassVar

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from caption_core.archive.sources.network_addresses import is_public
from caption_core.archive.sources.options import WebPolicy
from caption_core.errors import ImageError
from caption_core.records import ErrorKind

# A manifest names many hosts, mostly a few again and again; a worker reads with up to 24 threads.
_HOSTS_KEPT = 64
_CONNECTIONS_KEPT_PER_HOST = 32


class TryError(Exception):
    """A try that gave no image.

    Args:
        message: the cause in words, without the address.
        may_pass: whether another try could do better.
        retry_after_s: how long the server wants to be left alone.
    """

    def __init__(self, message: str, *, may_pass: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s


class TryClock(threading.local):
    """When the try that this thread is at has to be over."""

    def __init__(self) -> None:
        self._deadline = float("inf")

    def start(self, total_s: float) -> None:
        """Begin a try."""
        self._deadline = time.monotonic() + total_s

    def left_s(self) -> float:
        """What is left of it, in seconds; 0 where nothing is."""
        return max(0.0, self._deadline - time.monotonic())


def open_pools(policy: WebPolicy, clock: TryClock) -> PoolManager:
    """Connections that are kept open between images; several threads may use them.

    No proxy is used, whatever the environment says: behind one, nobody could tell which address is connected to.
    """
    pools = PoolManager(num_pools=_HOSTS_KEPT, maxsize=_CONNECTIONS_KEPT_PER_HOST)
    pools.pool_classes_by_scheme = {
        "http": _bound(HTTPConnectionPool, _Connection, policy, clock),
        "https": _bound(HTTPSConnectionPool, _TlsConnection, policy, clock),
    }
    return pools


def _bound(
    pool: type[HTTPConnectionPool], connection: type[HTTPConnection], policy: WebPolicy, clock: TryClock
) -> type[HTTPConnectionPool]:
    """urllib3 makes pools and connections itself, from their classes: what they shall know has to be in the class."""
    bound = type(connection.__name__, (connection,), {"policy": policy, "clock": clock})
    return type(pool.__name__, (pool,), {"ConnectionCls": bound})


class _Connection(HTTPConnection):
    policy: ClassVar[WebPolicy]
    clock: ClassVar[TryClock]

    def _new_conn(self) -> socket.socket:
        """urllib3's hook for connecting; TLS, which checks the host's name, comes on top of it."""
        addresses = _look_up(self.host.strip("[]"), self.port)
        if not self.policy.private_addresses:
            addresses = [address for address in addresses if is_public(address)]
            if not addresses:
                raise ImageError(ErrorKind.REFUSED, "its host is a private address, or this machine's own")
        sock = self._connect(addresses)
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        return sock

    def _connect(self, addresses: list[str]) -> socket.socket:
        """Connect to the first of a host's addresses that answers."""
        cause = "no connection"
        for address in addresses:
            timeout_s = min(self.policy.timeout_s, self.clock.left_s())
            if not timeout_s:
                break
            try:
                return socket.create_connection((address, self.port), timeout_s)
            except TimeoutError:
                cause = f"no connection within {self.policy.timeout_s:g} s"
            except OSError as error:
                cause = f"no connection: {error.strerror or error}"
        raise TryError(cause, may_pass=True)

    def getresponse(self) -> Any:
        """See urllib3; the answer's bytes come in time or not at all."""
        timed = partial(_TimedResponse, timeout_s=self.policy.timeout_s, clock=self.clock)
        self.response_class = timed  # type: ignore[assignment]  # whatever makes an answer of a socket
        return super().getresponse()


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _TimedResponse(http.client.HTTPResponse):
    """An answer whose header and body together keep to the clock, even if they come a byte at a time."""

    def __init__(self, sock: socket.socket, *args: Any, timeout_s: float, clock: TryClock, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedBytes(self.fp.detach(), sock, timeout_s, clock))


class _TimedBytes(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, timeout_s: float, clock: TryClock) -> None:
        self._raw = raw
        self._sock = sock
        self._timeout_s = timeout_s
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        timeout_s = min(self._timeout_s, self._clock.left_s())
        if not timeout_s:
            raise TimeoutError
        self._sock.settimeout(timeout_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _look_up(host: str, port: int) -> list[str]:
    """The IP addresses of a host, as the system prefers them."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        passing = error.errno == socket.EAI_AGAIN
        raise TryError("its host's address can't be looked up", may_pass=passing) from error
    except UnicodeError as error:  # a label that is empty or too long
        raise ImageError(ErrorKind.BAD_REFERENCE, "its host is no name that a host can have") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
