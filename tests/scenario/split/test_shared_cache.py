"""Services in processes of their own that share what they know of tokens: fewer questions, and nothing else changes."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator

import pytest

from engines.memcached import Memcached
from engines.rabbitmq import RabbitMQ
from tests.scenario.split.split_cloud import SplitCloud

ROLES = ("identity-api", "image-api", "network-api")
IMAGES, NETWORKS = "/image/v2/images", "/network/v2.0/networks"
TOKENS = 20
AT_ONCE_S = 2.0
LATENCY_LIMIT_S = 3.0  # on a busy machine


@pytest.fixture(scope="module")
def memcached() -> Iterator[Memcached]:
    with Memcached("-m", "16") as server:
        yield server


@pytest.fixture(scope="module")
def cloud(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, memcached: Memcached
) -> Iterator[SplitCloud]:
    tables = {"cache": {"servers": [memcached.address]}}
    directory = tmp_path_factory.mktemp("cached")
    with SplitCloud(directory, broker=rabbitmq, database=None, tables=tables, roles=ROLES) as running:
        for path in (IMAGES, NETWORKS):  # connected, and they know the generation
            assert running.request("GET", path, token=running.admin_token()).status_code == 200
            assert running.request("GET", path, token=running.admin_token()).status_code == 200
        yield running


def questions(cloud: SplitCloud) -> int:
    """How often identity was asked what a token means."""
    return cloud.log("identity-api", last=10_000_000).count("GET /identity/v3/auth/tokens")


def test_a_token_is_asked_about_once_for_all_processes(cloud: SplitCloud, memcached: Memcached) -> None:
    tokens = [cloud.admin_token() for _ in range(2 * TOKENS)]
    cold, warm = [], []
    before = questions(cloud)
    for unknown, known in zip(tokens[::2], tokens[1::2], strict=True):
        assert cloud.request("GET", IMAGES, token=known).status_code == 200
        for token, times in ((unknown, cold), (known, warm)):
            begun = time.perf_counter()
            assert cloud.request("GET", NETWORKS, token=token).status_code == 200
            times.append(time.perf_counter() - begun)
    assert questions(cloud) - before <= 2 * TOKENS + 2  # not three times as many
    print(f"a second process: {statistics.median(cold) * 1e3:.1f} ms asking identity, "
          f"{statistics.median(warm) * 1e3:.1f} ms from memcached")
    assert statistics.median(warm) < statistics.median(cold)
    assert memcached.names()
    assert not any(token.encode() in memcached.names() for token in tokens)


def test_a_revoked_token_is_refused_at_once_by_all_processes(cloud: SplitCloud, memcached: Memcached) -> None:
    admin, token = cloud.admin_token(), cloud.admin_token()
    for path in (IMAGES, NETWORKS):
        assert cloud.request("GET", path, token=token).status_code == 200
    kept = {key: memcached.get(key) for key in memcached.names()}
    headers = {"X-Subject-Token": token}
    assert cloud.request("DELETE", "/identity/v3/auth/tokens", token=admin, headers=headers).status_code == 204
    begun = time.monotonic()
    for path in (IMAGES, NETWORKS):
        while cloud.request("GET", path, token=token).status_code != 401:
            assert time.monotonic() - begun < AT_ONCE_S
    for key, value in kept.items():  # somebody puts back what was there before
        if value is not None:
            memcached.put(key, value)
    for path in (NETWORKS, IMAGES):
        assert cloud.request("GET", path, token=token).status_code == 401


def test_losing_memcached_costs_latency_only(cloud: SplitCloud, memcached: Memcached) -> None:
    token = cloud.admin_token()
    ending = threading.Event()
    failures: list[str] = []
    longest = [0.0]

    def load(path: str) -> None:
        while not ending.is_set():
            begun = time.monotonic()
            answer = cloud.request("GET", path, token=token)
            longest[0] = max(longest[0], time.monotonic() - begun)
            if answer.status_code != 200:
                failures.append(answer.text)

    threads = [threading.Thread(target=load, args=(path,)) for path in (IMAGES, NETWORKS)]
    for thread in threads:
        thread.start()
    try:
        for harm, repair in ((memcached.kill, memcached.start), (memcached.hang, memcached.go_on)):
            time.sleep(1)
            harm()
            time.sleep(7)  # longer than anything is remembered
            repair()
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    print(f"longest request {longest[0] * 1e3:.0f} ms")
    assert failures == []
    assert longest[0] < LATENCY_LIMIT_S
