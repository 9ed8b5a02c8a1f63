"""A cloud that is well has no findings, whatever is under way in it."""

from __future__ import annotations

import threading

from actors import Shop

from cloud import Cloud
from verified import assert_clean, config_of, pileus, verdict

ROUNDS = 4


def test_a_cloud_at_rest(cloud: Cloud, shop: Shop) -> None:
    config = config_of(cloud)
    server = shop.boot("rests")
    shop.user.until_status(server, "ACTIVE")
    assert_clean(cloud.state_dir, config=config)
    done = pileus("verify", cloud.state_dir, config=config)
    assert done.returncode == 0
    assert done.stdout.startswith("verify: nothing found (1 servers, 1 networks, ")
    shop.user.delete(server)
    assert_clean(cloud.state_dir, config=config)


def test_a_cloud_in_which_servers_come_and_go(cloud: Cloud, shop: Shop) -> None:
    config, stop = config_of(cloud), threading.Event()
    errors: list[BaseException] = []

    def churn(number: int) -> None:
        try:
            while not stop.is_set():
                server = shop.boot(f"busy-{number}")
                shop.user.until_status(server, "ACTIVE")
                shop.user.delete(server)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    try:
        looks = [verdict(cloud.state_dir, config=config, settle_s=1) for _ in range(ROUNDS)]
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not errors
    assert [look["findings"] for look in looks] == [[]] * ROUNDS
    assert_clean(cloud.state_dir, config=config)
