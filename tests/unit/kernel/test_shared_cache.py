"""What processes tell each other of tokens over a real memcached: believed when it is true, fresh and ours; never
waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engines.memcached import Memcached as Server
from pileus.kernel.config import ConfigError
from pileus.kernel.context import Clock, Context
from pileus.kernel.errors import Unauthorized
from pileus.kernel.http.shared_cache import Entry, SharedTokens, shared_tokens
from pileus.kernel.http.shared_cache.memcached import AWAY_S, DEADLINE_S, MAX_VALUE_BYTES, Memcached
from pileus.kernel.http.shared_cache.sealed import Sealer
from pileus.kernel.http.token_cache import GENERATION, VALID_FOR_S, TokenCache

BODY: dict[str, Any] = {
    "user": {"id": "u", "name": "u", "domain": {"id": "default"}}, "expires_at": "2999-01-01T00:00:00.000000Z",
    "roles": [{"name": "member"}],
}  # fmt: skip
CONTEXT = Context(user_id="u", roles=("member",))


class Shifted(Clock):
    """Another host's clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)


class Identity:
    """Knows one token; counts how often it is asked."""

    def __init__(self) -> None:
        self.questions = 0
        self.generation = 5
        self.knows = True

    async def validate(self, _token: str) -> dict[str, Any]:
        self.questions += 1
        if not self.knows:
            raise Unauthorized()
        return BODY | {GENERATION: str(self.generation)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-m", "16") as running:
        yield running


@contextlib.asynccontextmanager
async def shared(server: Server, secret: str = "secret", clock: Clock | None = None) -> AsyncIterator[SharedTokens]:
    made = shared_tokens({"cache": {"servers": [server.address]}}, secret, clock or Clock(), keep_s=VALID_FOR_S)
    assert made is not None
    await connected(made._servers[0])
    yield made
    made.close()


async def connected(client: Memcached) -> None:
    deadline = time.monotonic() + 5
    while client._usable() is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def entry(generation: int = 5, age_s: float = 0.0) -> Entry:
    return Entry(CONTEXT, generation, time.time() - age_s)


async def test_a_second_process_need_not_ask_identity(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pileus.kernel.http.shared_cache.memcached.DEADLINE_S", 10.0)  # not a slow machine's test
    identity = Identity()
    async with shared(server) as one, shared(server) as two:
        first, second = TokenCache(identity.validate, Clock(), one), TokenCache(identity.validate, Clock(), two)
        assert (await second.context_of("warm")).user_id == "u"  # from here on it knows the generation
        assert (await first.context_of("both")).roles == ("member",)
        async with asyncio.timeout(10.0):  # nobody waits for what is written there
            while await two.get("both") is None:
                await asyncio.sleep(0.01)
        before = identity.questions
        assert await second.context_of("both") == await first.context_of("both")
        assert identity.questions == before


async def test_who_has_just_begun_asks_identity(server: Server) -> None:
    identity = Identity()
    async with shared(server) as one, shared(server) as two:
        await TokenCache(identity.validate, Clock(), one).context_of("old")
        identity.knows = False  # revoked, and the new process has heard of nothing
        with pytest.raises(Unauthorized):
            await TokenCache(identity.validate, Clock(), two).context_of("old")


async def test_after_a_revocation_no_entry_from_before_it_is_taken(server: Server) -> None:
    identity = Identity()
    async with shared(server) as one, shared(server) as two:
        first, second = TokenCache(identity.validate, Clock(), one), TokenCache(identity.validate, Clock(), two)
        await second.context_of("warm2")
        await first.context_of("revoked")
        identity.knows, identity.generation = False, 6
        second.clear(6)
        with pytest.raises(Unauthorized):
            await second.context_of("revoked")


async def test_an_entry_of_a_newer_generation_tells_of_a_revocation_that_was_not_heard_of(server: Server) -> None:
    identity = Identity()
    async with shared(server) as one, shared(server) as two:
        first, second = TokenCache(identity.validate, Clock(), one), TokenCache(identity.validate, Clock(), two)
        await second.context_of("remembered")
        identity.generation = 7
        await first.context_of("another")
        await second.context_of("another")
        before = identity.questions
        await second.context_of("remembered")
        assert identity.questions == before + 1


@pytest.mark.parametrize("kind", ["forged", "other secret", "other token", "old", "future", "cut", "empty", "huge"])
async def test_what_is_not_ours_or_not_fresh_is_not_believed(server: Server, kind: str) -> None:
    ours, theirs = Sealer(b"secret"), Sealer(b"theirs")
    name = ours.name(kind)
    sealed = ours.seal(name, entry())
    planted = {
        "forged": bytes(len(sealed)),
        "other secret": theirs.seal(name, entry()),
        "other token": ours.seal(ours.name("another"), entry()),
        "old": ours.seal(name, entry(age_s=VALID_FOR_S + 0.1)),
        "future": ours.seal(name, entry(age_s=-60)),
        "cut": sealed[:-1], "empty": b"", "huge": sealed + bytes(MAX_VALUE_BYTES),
    }[kind]  # fmt: skip
    async with shared(server) as tokens:
        server.put(name, sealed)
        assert await tokens.get(kind) is not None
        server.put(name, planted)
        assert await tokens.get(kind) is None


def test_nothing_that_lies_there_says_who_it_is_about(server: Server) -> None:
    sealer = Sealer(b"secret")
    name = sealer.name("a-token")
    assert b"a-token" not in name
    assert b"member" not in sealer.seal(name, entry())
    assert sealer.seal(name, entry()) != sealer.seal(name, entry())


@pytest.mark.parametrize(("ahead_s", "is_taken"), [(0.5, True), (3.0, False), (-3.0, True), (-6.0, False)])
async def test_a_wrong_clock_costs_entries_and_never_time(server: Server, ahead_s: float, is_taken: bool) -> None:
    async with shared(server, clock=Shifted(0)) as reader:
        token = f"clock {ahead_s}"
        reader.put(token, Entry(CONTEXT, 5, Shifted(ahead_s).now().timestamp()))
        await asyncio.sleep(0.05)
        found = await reader.get(token)
        assert (found is not None) == is_taken
        assert found is None or found[1] <= VALID_FOR_S


async def test_a_hung_server_costs_one_deadline_and_then_nothing(server: Server) -> None:
    async with shared(server) as tokens:
        server.hang()
        try:
            begun = time.monotonic()
            assert await asyncio.gather(*(tokens.get(f"hung {number}") for number in range(50))) == [None] * 50
            assert time.monotonic() - begun < 20 * DEADLINE_S  # on a busy machine
            begun = time.monotonic()
            for number in range(100):
                assert await tokens.get(f"hung {number}") is None
            assert time.monotonic() - begun < 20 * DEADLINE_S  # not one for each
        finally:
            server.go_on()


async def test_a_killed_server_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pileus.kernel.http.shared_cache.memcached.AWAY_S", AWAY_S / 20)
    with Server("-m", "16") as server:
        async with shared(server) as tokens:
            tokens.put("token", entry())
            await asyncio.sleep(0.05)
            assert await tokens.get("token") is not None
            server.kill()
            assert await tokens.get("token") is None
            server.start()
            await connected(tokens._servers[0])
            assert await tokens.get("token") is None
            tokens.put("token", entry())
            await asyncio.sleep(0.05)
            assert await tokens.get("token") is not None


async def test_a_full_server_forgets_and_goes_on() -> None:
    with Server("-m", "1", "-I", "512k") as server:
        async with shared(server) as tokens:
            for number in range(8_000):
                tokens.put(f"token {number}", entry())
                if number % 200 == 0:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
            assert await tokens.get("token 7999") is not None
            found = [await tokens.get(f"token {number}") for number in range(0, 8_000, 100)]
            assert None in found
            assert all(one is None or one[0].context == CONTEXT for one in found)


async def test_answers_go_to_those_who_asked(server: Server) -> None:
    """Many at once, some of whom go away before their answer comes."""
    async with shared(server) as tokens:
        for number in range(200):
            tokens.put(f"many {number}", Entry(Context(user_id=str(number)), 5, time.time()))

        async def ask(number: int) -> None:
            asking = asyncio.create_task(tokens.get(f"many {number}"))
            if number % 7 == 0:
                await asyncio.sleep(0)
                asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                found = await asking
                assert found is None or found[0].context.user_id == str(number)

        await asyncio.gather(*(ask(number) for number in range(200)))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\r\n\r\n", b"VALUE other 0 1\r\nx\r\nEND\r\n", b"x" * 100_000])
async def test_a_server_that_speaks_something_else_is_left_alone(answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)

    listening = await asyncio.start_server(speak, "127.0.0.1", 0)
    client = Memcached("127.0.0.1", listening.sockets[0].getsockname()[1])
    await connected(client)
    assert await client.get(b"key") is None
    assert await client.get(b"key") is None
    assert client._usable() is None
    client.close()
    listening.close()


@pytest.mark.parametrize("text", ["", "host:port", "http://10.0.0.1:1", "10.0.0.1:99999", "a/b"])
def test_a_server_is_written_as_host_and_port(text: str) -> None:
    with pytest.raises(ConfigError, match=r"\[cache\] servers: "):
        shared_tokens({"cache": {"servers": [text]}}, "secret", Clock(), keep_s=5)


async def test_a_server_that_goes_takes_only_its_own_share() -> None:
    names = [f"name {number}".encode() for number in range(300)]

    def shares(*ports: int) -> dict[bytes, bytes]:
        servers = [Memcached("127.0.0.1", port) for port in ports]
        tokens = SharedTokens(servers, Sealer(b"x"), Clock(), keep_s=5)
        return {name: tokens._server(name).address for name in names}

    three, two = shares(1, 2, 3), shares(1, 2)
    assert all(two[name] == three[name] for name in names if three[name] != b"127.0.0.1:3")
    assert 50 < sum(address == b"127.0.0.1:3" for address in three.values()) < 150
