"""The control plane stops in the middle of its work and comes back: every request still ends."""

from __future__ import annotations

from pathlib import Path

from actors import Actor, Shop

from cloud import Cloud


def actor_of(cloud: Cloud, shop: Shop) -> Actor:
    return Actor(cloud, cloud.token("shop", "s3cret-shop", "shop"), shop.user.project_id)


def test_builds_and_deletes_go_on_after_a_restart(tmp_path: Path) -> None:
    with Cloud(tmp_path) as cloud:
        shop = Shop(cloud)
        old = shop.boot("old")
        shop.admin.until_status(old, "ACTIVE")
        made = [shop.boot(f"n{n}") for n in range(6)]
        assert shop.user.ask("DELETE", f"/servers/{old}").status_code == 204
    with Cloud(tmp_path) as cloud:
        user, admin = actor_of(cloud, shop), Actor(cloud, cloud.admin_token())
        for server in made:
            shown = admin.until_status(server, "ACTIVE")
            assert len(shown["addresses"]["shop-net"]) == 1
        user.until_gone(old)
        ports = user.network("GET", "/ports").json()["ports"]
        assert sorted(p["device_id"] for p in ports if p["device_owner"].startswith("compute:")) == sorted(made)
        for server in made:
            assert user.ask("DELETE", f"/servers/{server}").status_code == 204
    with Cloud(tmp_path) as cloud:
        user, admin = actor_of(cloud, shop), Actor(cloud, cloud.admin_token())
        for server in made:
            user.until_gone(server)
        ports = user.network("GET", "/ports").json()["ports"]
        assert [p for p in ports if p["device_owner"].startswith("compute:")] == []
        for server in [old, *made]:
            claim = cloud.request("GET", f"/placement/allocations/{server}", token=admin.token).json()
            assert claim["allocations"] == {}
        assert not list((tmp_path / "compute").glob("**/disk*"))
