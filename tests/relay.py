"""A TCP relay that behaves like a slow and lossy link: it holds bytes back, stalls, and resets.

`python -S -m tests.relay DELAY_MS LOSS SEED LISTEN_PORT=HOST:PORT …`

A program cannot lose a packet of a TCP connection; it shows what a loss costs. So LOSS is the
share of the pieces of a stream after which everything behind them waits for a retransmission,
200 ms and more; one such loss in 20 resets the connection instead. DELAY_MS is for one direction.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
from contextlib import suppress

HOST = "127.0.0.1"
PIECE_BYTES = 16384
RETRANSMISSION_S = 0.2
RESETS = 1 / 20  # of the losses
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


class Link:
    """The way of bytes between a port of this host and a server."""

    def __init__(self, *, delay_s: float, loss: float, rng: random.Random) -> None:
        self._delay_s = delay_s
        self._loss = loss
        self._rng = rng
        self._connections: set[asyncio.Task[None] | None] = set()  # a loop's references are weak

    async def relay(
        self, client: asyncio.StreamReader, back: asyncio.StreamWriter, host: str, port: int
    ) -> None:
        """Carry one connection to its end."""
        writers = [back]
        self._connections.add(task := asyncio.current_task())
        try:
            await asyncio.sleep(2 * self._delay_s)  # SYN and its answer
            server, forth = await asyncio.open_connection(host, port)
            writers.append(forth)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(client, forth))
                both.create_task(self._carry(server, back))
        except* OSError:  # one end has gone: so does the other
            for writer in writers:
                connection = writer.get_extra_info("socket")
                with suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        finally:
            self._connections.discard(task)
            for writer in writers:
                writer.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """One direction: what is read at a time is written `delay_s` later, in order."""
        flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        now = asyncio.get_running_loop().time
        in_order_at = 0.0
        async with asyncio.TaskGroup() as arriving:
            arriving.create_task(self._arrive(flying, target))
            data = b"-"
            while data:
                data = await source.read(PIECE_BYTES)
                in_order_at = max(in_order_at, now() + self._delay_s + self._stall_s())
                await flying.put((in_order_at, data))

    async def _arrive(
        self, flying: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
    ) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due_at, data = await flying.get()
            await asyncio.sleep(due_at - now())
            if not data:
                with suppress(OSError):
                    target.write_eof()
                return
            target.write(data)
            await target.drain()

    def _stall_s(self) -> float:
        """How much longer a piece takes.

        Raises:
            ConnectionResetError: The connection is lost with it.
        """
        if self._rng.random() >= self._loss:
            return 0.0
        if self._rng.random() < RESETS:
            raise ConnectionResetError
        return RETRANSMISSION_S * 2 ** self._rng.randrange(3)


async def main(delay_ms: str, loss: str, seed: str, *ways: str) -> None:
    """Relay until the process is ended."""
    link = Link(delay_s=float(delay_ms) / 1e3, loss=float(loss), rng=random.Random(seed))
    async with asyncio.TaskGroup() as group:
        for way in ways:
            listen, _, target = way.partition("=")
            host, _, port = target.rpartition(":")

            async def serve(
                client: asyncio.StreamReader,
                back: asyncio.StreamWriter,
                host: str = host,
                port: int = int(port),
            ) -> None:
                await link.relay(client, back, host, port)

            server = await asyncio.start_server(serve, HOST, int(listen))
            group.create_task(server.serve_forever())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
