"""What the image tests do over and over, through HTTP alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import requests

from cloud import Cloud

OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
WAIT_S = 20.0


def new_image(cloud: Cloud, token: str, **attributes: Any) -> dict[str, Any]:
    """A registered image without data: raw, bare, private unless told otherwise."""
    body = {"disk_format": "raw", "container_format": "bare", "visibility": "private"} | attributes
    response = cloud.request("POST", "/image/v2/images", token=token, json=body)
    assert response.status_code == 201, response.text
    return response.json()


def upload(cloud: Cloud, token: str, image_id: str, data: bytes | Iterable[bytes], **headers: str) -> requests.Response:
    """PUT the data; chunked when it is an iterable."""
    path = f"/image/v2/images/{image_id}/file"
    sent = OCTETS | {key.replace("_", "-"): value for key, value in headers.items()}
    return cloud.request("PUT", path, token=token, data=data, headers=sent)


def active_image(cloud: Cloud, token: str, data: bytes = b"some bytes", **attributes: Any) -> dict[str, Any]:
    """An image with data."""
    image = new_image(cloud, token, **attributes)
    response = upload(cloud, token, image["id"], data)
    assert response.status_code == 204, response.text
    return show(cloud, token, image["id"])


def show(cloud: Cloud, token: str, image_id: str) -> dict[str, Any]:
    """The image as its owner sees it."""
    response = cloud.request("GET", f"/image/v2/images/{image_id}", token=token)
    assert response.status_code == 200, response.text
    return response.json()


def patch(
    cloud: Cloud, token: str, image_id: str, *operations: dict[str, Any], headers: dict[str, str] = PATCH
) -> requests.Response:
    """Apply a JSON patch."""
    return cloud.request("PATCH", f"/image/v2/images/{image_id}", token=token, json=list(operations), headers=headers)


def stored_files(cloud: Cloud) -> list[Path]:
    """All files of the file store, whole or not."""
    return sorted((cloud.state_dir / "image" / "images").iterdir())


def until(condition: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Wait for a condition; its last value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
    return value
