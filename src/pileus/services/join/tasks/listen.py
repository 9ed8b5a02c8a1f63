"""The role `join-api`: a TLS port of its own, where a connection is one question and one answer."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

import msgspec

from pileus.kernel.config import ConfigError
from pileus.kernel.host import durable
from pileus.kernel.process import Runtime
from pileus.services.join import rpc
from pileus.services.join.api import hosts
from pileus.services.join.config import JoinConfig
from pileus.services.join.db import hosts as known_hosts
from pileus.services.join.errors import Busy
from pileus.services.join.logic.authority import Authority

log = logging.getLogger(__name__)

SECRET = "host-authority"
MOST_AT_ONCE = 16
HANDSHAKE_S = 10.0
QUESTION_S = 10.0
ANSWER_S = 60.0
AFTER_GUESS_S = 0.25
"""A token cannot be guessed; who tries all the same is kept from asking the database more than this often."""
RENEW_EVERY_S = 86_400.0


async def start(rt: Runtime[JoinConfig]) -> None:
    """Take the host's own name, then listen. Raises ConfigError."""
    node = rt.node.config
    own = Authority(rt.node.secret(SECRET), node.cloud)
    rt.put(own)
    place = rt.config.listens_at(node)
    await rt.db.write(known_hosts.be_there, node.host, place)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    async def renew() -> None:
        await asyncio.to_thread(_load, context, own.serve(rt.clock.now()), rt.state_dir / "server.pem")

    await renew()
    try:
        server = await asyncio.start_server(
            _Door(rt).open, place, rt.config.port, ssl=context, ssl_handshake_timeout=HANDSHAKE_S,
            limit=rpc.MAX_REQUEST_BYTES, backlog=64,
        )
    except OSError as error:
        raise ConfigError(f"[join] port: cannot listen on {place}:{rt.config.port}: {error.strerror}") from error
    rt.every(RENEW_EVERY_S, renew, name="join certificate")
    rt.spawn(_serve(server), name="join-api")


async def _serve(server: asyncio.Server) -> None:
    async with server:
        await server.serve_forever()


def _load(context: ssl.SSLContext, pem: bytes, path: Path) -> None:
    """Have a context use a key and certificate; it takes them from a file only."""
    durable.write(path, pem)
    try:
        context.load_cert_chain(path)
    finally:
        path.unlink()


class _Door:
    """Counts who is in."""

    def __init__(self, rt: Runtime[JoinConfig]) -> None:
        self._rt = rt
        self._inside = 0

    async def open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._inside += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await self._answer(reader, str(writer.get_extra_info("peername")[0]))
                writer.write(msgspec.json.encode(found) + b"\n")
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a connection ended early: %s", type(error).__name__)
        finally:
            writer.close()
            self._inside -= 1

    async def _answer(self, reader: asyncio.StreamReader, address: str) -> rpc.Answer:
        if self._inside > MOST_AT_ONCE:
            return rpc.Refusal(Busy().text)
        async with asyncio.timeout(QUESTION_S):
            line = await reader.readuntil(b"\n")
        found, is_guess = await hosts.answer(self._rt, line, address)
        if is_guess:
            await asyncio.sleep(AFTER_GUESS_S)
        return found
