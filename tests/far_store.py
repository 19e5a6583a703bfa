"""A store of objects as far away as one likes: a server in front of another, which lets what passes by wait."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import NamedTuple
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from tests.s3_server import S3Server

_REQUEST = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) (\S+) HTTP")
_PIECE_BYTES = 1 << 16


class Request(NamedTuple):
    """A request that passed by."""

    method: str
    path: str


class FarStore:
    """Passes connections on; each direction takes half of the round trip.

    Args:
        endpoint: where to.

    Attributes:
        endpoint: its own http address, once it listens.
        requests: that passed by.
        round_trip_s: may be changed at any time.
    """

    def __init__(self, endpoint: str) -> None:
        place = urlsplit(endpoint)
        self._server = (place.hostname, place.port)
        self.endpoint = ""
        self.requests: list[Request] = []
        self.round_trip_s = 0.0

    async def serve(self, listens: Event, is_over: asyncio.Event) -> None:
        """Listen until it is over."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        listens.set()
        await is_over.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._server)
        there = self._pass_on(reader, far_writer, notes=True)
        with suppress(asyncio.CancelledError):  # at the end, for connections that clients keep
            await asyncio.gather(there, self._pass_on(far_reader, writer, notes=False))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, notes: bool) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        late = asyncio.create_task(_written_late(pieces, writer))
        piece = b"?"
        while piece:
            try:
                piece = await reader.read(_PIECE_BYTES)
            except ConnectionError:
                piece = b""
            if notes and (request := _REQUEST.match(piece)):
                self.requests.append(Request(request[1].decode(), unquote(request[2].decode())))
            pieces.put_nowait((asyncio.get_running_loop().time() + self.round_trip_s / 2, piece))
        await late


async def _written_late(pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    while True:
        due_s, piece = await pieces.get()
        await asyncio.sleep(due_s - asyncio.get_running_loop().time())
        if not piece:
            writer.close()
            return
        writer.write(piece)


@contextmanager
def far_store(server: S3Server) -> Iterator[FarStore]:
    """Until the end, s3:// leads to the server by a way as long as one likes."""
    store, listens, over = FarStore(server.endpoint), Event(), list[asyncio.Event]()
    loops = list[asyncio.AbstractEventLoop]()

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        over.append(asyncio.Event())
        await store.serve(listens, over[0])

    thread = Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    listens.wait()
    try:
        with patch.dict(os.environ, {"AWS_ENDPOINT_URL": store.endpoint, "AWS_ENDPOINT_URL_S3": store.endpoint}):
            yield store
    finally:
        loops[0].call_soon_threadsafe(over[0].set)
        thread.join(timeout=30)
