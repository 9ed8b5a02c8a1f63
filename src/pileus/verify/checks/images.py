"""Objects of the image store against images."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.image import states
from pileus.verify.checks.parts import read
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference

WITH_BYTES = (states.ACTIVE, states.DEACTIVATED)


def file_without_row(evidence: Evidence) -> Iterator[Difference]:
    """Bytes that belong to no image."""
    known = {image.store_key for image in read(evidence.image).images.values()}
    for item in read(evidence.objects).values():
        if item.key not in known:
            state = "whole" if item.is_whole else "half-written"
            yield Difference(
                resources={"object": item.key}, host=evidence.host,
                says=f"{evidence.host}: the image store has {item.size} bytes under that name, {state}",
                found="image: no image refers to it",
            )  # fmt: skip


def row_without_file(evidence: Evidence) -> Iterator[Difference]:
    """An image without its bytes, or with a wrong number of them: servers cannot be made of it."""
    objects = read(evidence.objects)
    for image in read(evidence.image).images.values():
        if image.status not in WITH_BYTES:
            continue
        item = objects.get(image.store_key or "")
        if item is None or not item.is_whole:
            found = "the image store has nothing under its name"
        elif item.size != image.size:
            found = f"the image store has {item.size} bytes"
        else:
            continue
        yield Difference(
            resources={"image": image.id}, host=evidence.host,
            says=f"image: the image is {image.status} with {image.size} bytes", found=f"{evidence.host}: {found}",
            facts={"store_key": image.store_key or ""},
        )  # fmt: skip
