"""Requests to siblings in other processes, against servers that answer, stall, lie and die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from pileus.kernel.errors import RemoteError
from pileus.kernel.http import network_transport
from pileus.kernel.http.network_transport import NetworkTransport

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve, port: int = 0) -> AsyncIterator[NetworkTransport]:
    """A TCP server that does what `serve` says with each connection, and a transport to it."""
    running = await asyncio.start_server(serve, "127.0.0.1", port)
    where = running.sockets[0].getsockname()[1]
    transport = NetworkTransport("image", f"http://127.0.0.1:{where}/image")
    try:
        yield transport
    finally:
        transport.close()
        running.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
    return head + await reader.readexactly(length)


def answering(*answers: bytes) -> tuple[Serve, list[bytes], list[int]]:
    """A server that gives these answers in order; what it was asked, and how many connections it had."""
    asked: list[bytes] = []
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        try:
            while True:
                asked.append(await read_request(reader))
                writer.write(answers[min(len(asked), len(answers)) - 1])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return serve, asked, connections


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Subject-Token: t\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
GONE = b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_answers_come_back_whole_and_connections_are_kept() -> None:
    serve, asked, connections = answering(OK, CHUNKED, GONE, OK)
    async with server(serve) as transport:
        first = await transport.send("POST", "/image/v2/images?a=b%20c", {"X-Auth-Token": "t"}, b'{"x": 1}')
        assert (first.status, first.headers["x-subject-token"], first.json()) == (200, "t", {})
        assert (await transport.send("GET", "/image/v2", {}, b"")).body == b"abcdefg"
        assert (await transport.send("DELETE", "/image/v2/images/1", {}, b"")).status == 204
        assert (await transport.send("GET", "/image/v2/é", {}, b"")).status == 200
    assert asked[0].startswith(b"POST /image/v2/images?a=b%20c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert asked[0].endswith(b'X-Auth-Token: t\r\n\r\n{"x": 1}')
    assert asked[3].startswith(b"GET /image/v2/%C3%A9 ")
    assert len(connections) == 1


async def test_many_requests_at_once_use_connections_of_their_own_and_no_more_than_the_bound() -> None:
    open_now, most = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            while True:
                await read_request(reader)
                await asyncio.sleep(0.01)
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            open_now -= 1

    async with server(serve) as transport:
        answers = await asyncio.gather(*(transport.send("GET", "/image", {}, b"") for _ in range(300)))
        assert {answer.status for answer in answers} == {200}
        assert 1 < most <= network_transport.MAX_CONNECTIONS


async def test_a_stream_comes_in_pieces_and_its_refusal_is_an_error() -> None:
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"
    serve, _, connections = answering(CHUNKED, refusal, OK)
    async with server(serve) as transport:
        assert b"".join([piece async for piece in transport.stream("GET", "/image/file", {})]) == b"abcdefg"
        with pytest.raises(RemoteError) as caught:
            _ = [piece async for piece in transport.stream("GET", "/image/file", {})]
        assert (caught.value.code, caught.value.text) == (404, "none")
        assert (await transport.send("GET", "/image", {}, b"")).status == 200
    assert len(connections) == 1


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with server(once) as transport:
        for method in ("GET", "POST", "POST", "DELETE"):
            assert (await transport.send(method, "/image", {}, b"")).status == 200
            await asyncio.sleep(0.01)


async def test_a_server_that_dies_over_a_request_that_may_not_be_repeated_is_an_error() -> None:
    requests = 0

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        writer.transport.abort()

    async with server(die) as transport:
        with pytest.raises(RemoteError) as caught:
            await transport.send("POST", "/image", {}, b"")
    assert (caught.value.code, requests) == (503, 1)


@pytest.mark.parametrize("nonsense", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
async def test_what_is_not_an_answer_is_an_error(nonsense: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(nonsense)
        writer.close()

    async with server(serve) as transport:
        with pytest.raises(RemoteError) as caught:
            await transport.send("GET", "/image", {}, b"")
        assert caught.value.code == 503


async def test_a_server_that_stalls_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_transport, "REQUEST_TIMEOUT_S", 0.3)
    released = asyncio.Event()

    async def stall(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    async with server(stall) as transport:
        with pytest.raises(RemoteError, match=r"did not answer in 0\.3 s") as caught:
            await transport.send("GET", "/image", {}, b"")
        assert caught.value.code == 503
        released.set()


async def test_a_sibling_that_is_being_restarted_is_waited_for() -> None:
    serve, asked, _ = answering(OK)
    async with server(serve) as transport:
        port = transport._port
    call = asyncio.create_task(transport.send("POST", "/image", {}, b"{}"))
    await asyncio.sleep(0.5)
    assert not call.done()
    async with server(serve, port):
        assert (await call).status == 200
    assert len(asked) == 1


async def test_a_sibling_that_is_nowhere_is_an_error_that_may_be_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_transport, "UNREACHABLE_S", 0.5)
    async with server(answering(OK)[0]) as transport:
        pass
    begun = time.monotonic()
    with pytest.raises(RemoteError, match="The image service cannot be reached") as caught:
        await transport.send("GET", "/image", {}, b"")
    assert caught.value.code == 503
    assert time.monotonic() - begun < 10
