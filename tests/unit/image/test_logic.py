"""Patches, ranges and queries never fail in an undeclared way, whatever is sent."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from pileus.kernel.errors import ServiceError
from pileus.services.image import errors
from pileus.services.image.config import ImageConfig
from pileus.services.image.logic import attributes, listing, patches
from pileus.services.image.logic.ranges import wanted_range

CONFIG = ImageConfig()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["name", "tags", "min_ram", "owner", "status", "locations", "x", "id", "visibility", ""])
POINTERS = NAMES.map(lambda name: f"/{name}") | st.text(max_size=20)
OPERATIONS = st.fixed_dictionaries(
    {}, optional={"op": st.sampled_from(["add", "replace", "remove"]) | JSON, "path": POINTERS | JSON, "value": JSON,
                  "add": POINTERS, "remove": POINTERS},
)
STATES = {"status", "size", "checksum", "os_hash_value", "store", "store_key", "id", "created_at"}


def expect_users_fault(error: ServiceError) -> None:
    assert 400 <= error.code < 500


def image(**given_attributes: object):
    return attributes.new_image(CONFIG, dict(given_attributes), owner="p", image_id="i", now=datetime.now(UTC))


@given(st.lists(OPERATIONS, max_size=4) | JSON, st.sampled_from([patches.OLD_TYPE, patches.NEW_TYPE]), st.booleans())
def test_a_patch_changes_what_users_may_change_or_is_refused(document: object, media_type: str, admin: bool) -> None:
    before = image(name="before", custom="x")
    try:
        after = patches.apply(CONFIG, before, patches.parse(document, media_type), is_admin=admin)
    except ServiceError as error:
        expect_users_fault(error)
        return
    assert all(getattr(after, name) == getattr(before, name) for name in STATES)
    assert admin or after.owner == before.owner
    assert all(value is None or isinstance(value, str) for value in after.properties.values())


@given(st.dictionaries(NAMES | st.text(max_size=12), JSON, max_size=5))
def test_a_body_makes_an_image_or_is_refused(body: dict[str, object]) -> None:
    try:
        made = attributes.new_image(CONFIG, body, owner="p", image_id="i", now=datetime.now(UTC))
    except ServiceError as error:
        expect_users_fault(error)
        return
    assert (made.status, made.size, made.store_key) == ("queued", None, None)


@given(
    st.none() | st.from_regex(r"bytes=\d{0,4}-\d{0,4}", fullmatch=True) | st.text(max_size=30),
    st.none() | st.from_regex(r"bytes \d{1,3}-\d{1,3}/\d{1,3}", fullmatch=True),
    st.integers(0, 1000),
)
def test_a_range_lies_within_the_image(header: str | None, legacy: str | None, size: int) -> None:
    try:
        span = wanted_range(header, legacy, size)
    except errors.RangeNotSatisfiable as error:
        expect_users_fault(error)
        return
    assert span is None or 0 <= span[0] < span[1] <= size


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["limit", "marker", "sort", "sort_key", "sort_dir", "size_min", "created_at", "name", "tag",
                             "visibility", "protected", "zz"]),
            st.sampled_from(["", "in:", 'in:"a', "in:a,b", "gt:2020-01-01", "asc", "name:asc", "name", "5", "-5"])
            | st.text(max_size=12),
        ),
        max_size=5,
    )
)
def test_a_query_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        asked = listing.parse(QueryParams(pairs), CONFIG)
    except ServiceError as error:
        expect_users_fault(error)
        return
    assert 0 <= asked.limit <= CONFIG.max_page
    assert {key for key, _ in asked.sort} <= set(listing.SORT_KEYS)


def test_every_fault_has_the_shape_that_clients_take_apart() -> None:
    for code in (400, 403, 404, 405, 408, 409, 410, 413, 415, 416, 500, 503):
        error = ServiceError("a <b> & ü")
        error.code = code
        body, media_type = errors.render(error, "req-1")
        assert media_type == "text/html"
        assert f"<title>{code} ".encode() in body
        assert b"a &lt;b&gt; &amp; &#252;<br />" in body
