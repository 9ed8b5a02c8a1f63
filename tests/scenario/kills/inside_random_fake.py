"""Fifty servers at once, guests and networks only imagined, and the cloud's process dies again and again."""

from __future__ import annotations

import os
import random

import pytest

from tests.scenario.cloud.installation import FAKES, Installation
from tests.scenario.kills.boundaries import Trap
from tests.scenario.kills.chaos import Chaos, seed
from tests.scenario.kills.scene import Scene

KILLS = int(os.environ.get("PILEUS_TEST_KILLS", "30"))
SERVERS = 50
PACE_S = 0.2
LONGEST_S = 6.0


def test_every_accepted_request_ends_and_nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("cloud")
    scene = Scene(Installation(directory, name="chaos", more=FAKES), Trap(directory))
    scene.start()
    scene.furnish()
    scene.settle()
    Chaos(scene, random.Random(seed()), servers=SERVERS, longest_s=LONGEST_S, pace_s=PACE_S).run(KILLS)
    scene.verify()
