"""A cloud whose move is refused: it runs for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.scenario.moved.moving_cloud import MovingCloud


@pytest.fixture(scope="module")
def refused_cloud(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, rabbitmq: RabbitMQ
) -> Iterator[MovingCloud]:
    with MovingCloud(tmp_path_factory.mktemp("refused"), mariadb, rabbitmq) as cloud:
        yield cloud
