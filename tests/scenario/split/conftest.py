"""The split cloud that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Shop
from tests.scenario.split.split_cloud import SplitCloud


@pytest.fixture(scope="module")
def split(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB
) -> Iterator[SplitCloud]:
    with SplitCloud(tmp_path_factory.mktemp("split"), broker=rabbitmq, database=mariadb) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def shop(split: SplitCloud) -> Shop:
    return Shop(split)
