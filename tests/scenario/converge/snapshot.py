"""All that the network agents make on a host, as plain data that two looks can be compared by."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.scenario.network_plane.plane import Host

# One process for the whole look: prints the answers one after another, each under its name.
LOOK = r"""
look() { # prefix, namespace path
  echo "@@$1 links"; nsenter --net=$2 ip -j -d link
  echo "@@$1 addresses"; nsenter --net=$2 ip -j address
  echo "@@$1 routes"; nsenter --net=$2 ip -j route
  echo "@@$1 routes6"; nsenter --net=$2 ip -j -6 route
  echo "@@$1 iptables"; nsenter --net=$2 iptables-save
  echo "@@$1 ip6tables"; nsenter --net=$2 ip6tables-save
}
look host /proc/self/ns/net
for name in $(ls /run/netns | grep -E '^q(router|dhcp)-'); do
  look $name /run/netns/$name
  echo "@@$name sysctls"
  nsenter --net=/run/netns/$name sh -c 'cd /proc/sys/net; grep -H . ipv4/ip_forward ipv6/conf/all/forwarding \
    ipv4/conf/all/arp_ignore ipv4/conf/all/arp_announce ipv4/conf/all/rp_filter \
    ipv4/conf/q*/forwarding ipv4/conf/q*/rp_filter' 2>/dev/null
done
echo "@@host sysctls"
sh -c 'cd /proc/sys/net; grep -H . bridge/bridge-nf-call-* ipv6/conf/brq*/disable_ipv6 ipv6/conf/vxlan*/disable_ipv6'
echo "@@host fdb"; bridge -j fdb show
echo "@@host nft"; nft list tables bridge | while read table family name; do nft list table bridge $name; done
echo "@@host files"; cd /run/dhcp; for file in */hosts */options */names; do echo "$file:"; cat $file; done; ls -d */*
echo "@@host dnsmasq"
for pid in $(pgrep -x dnsmasq); do
  args=$(tr '\0' ' ' </proc/$pid/cmdline)
  network=$(echo "$args" | sed 's,.*--pid-file=/run/dhcp/\([^/]*\)/pid.*,\1,')
  [ $(stat -Lc %i /proc/$pid/ns/net) = $(stat -c %i /run/netns/qdhcp-$network) ] && home=right || home=wrong
  [ $(cat /run/dhcp/$network/pid) = $pid ] && file=right || file=wrong
  echo "$home $file $(sed 's/.*) \(.\).*/\1/;s/[SRD]/lives/' /proc/$pid/stat) $args"
done
echo "@@end"
"""
INNER = ("qr-", "qg-", "ns-")


def look(host: Host) -> dict[str, Any]:
    """What there is, without counters, indices and process ids."""
    printed = host.run("sh", "-c", LOOK, check=False, timeout_s=60).stdout
    found: dict[str, Any] = {}
    for part in printed.split("@@")[1:-1]:
        name, _, text = part.partition("\n")
        found[name] = _plain(name, text)
    return found


def _plain(name: str, text: str) -> Any:
    kind = name.split(" ")[1]
    if kind in ("iptables", "ip6tables"):
        return [re.sub(r" \[\d+:\d+\]", "", line) for line in text.splitlines() if not line.startswith("#")]
    if kind in ("nft", "files"):
        return text.splitlines()
    if kind in ("sysctls", "dnsmasq"):
        return sorted(text.splitlines())
    try:
        entries = json.loads(text or "[]")
    except json.JSONDecodeError:  # cut short by a change: another look will differ
        return text
    return sorted(map(str, filter(None, map(_READERS[kind], entries))))


def _link(entry: dict[str, Any]) -> Any:
    info = entry.get("linkinfo", {})
    data = info.get("info_data", {})
    name = entry["ifname"]
    return (
        name, info.get("info_kind"), entry["mtu"], "UP" in entry["flags"], entry.get("master"), entry.get("ifalias"),
        entry.get("address") if name.startswith(INNER) else None,
        [data.get(key) for key in ("forward_delay", "stp_state", "mcast_snooping", "id", "port", "local", "learning")],
    )  # fmt: skip


def _address(entry: dict[str, Any]) -> Any:
    cidrs = sorted(
        f"{info['local']}/{info['prefixlen']}" for info in entry.get("addr_info", [])
        if ("local" in info and info["scope"] != "link") or entry["ifname"] in ("lo",)
    )  # fmt: skip
    return entry["ifname"], cidrs


def _route(entry: dict[str, Any]) -> Any:
    if entry["dst"].startswith("fe80"):
        return None
    return entry["dst"], entry.get("gateway"), entry.get("dev"), entry.get("protocol"), entry.get("type")


def _forwarding(entry: dict[str, Any]) -> Any:
    return (entry["ifname"], entry["mac"], entry["dst"]) if "dst" in entry and entry["state"] == "permanent" else None


_READERS = {
    "links": _link, "addresses": _address, "routes": _route, "routes6": _route, "fdb": _forwarding,
}  # fmt: skip


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is missing (-) and what is new (+), in words for a failed test."""
    lines: list[str] = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if not isinstance(old, list) or not isinstance(new, list):
            lines.append(f"{name}: {old!r:.200} -> {new!r:.200}")
            continue
        less, more = Counter(old) - Counter(new), Counter(new) - Counter(old)
        lines += [f"{name}: -{line}" for line in less.elements()]
        lines += [f"{name}: +{line}" for line in more.elements()]
        if not less and not more:
            lines.append(f"{name}: another order")
    return lines


def identities(host: Host, marks: set[str]) -> dict[str, str]:
    """What tells things from others made anew under the same name: device indices, inodes, process ids.

    Only of those whose name contains one of `marks`.
    """
    script = (
        "ip -j link | tr '}' '\\n' | sed -n 's/.*\"ifindex\":\\([0-9]*\\).*\"ifname\":\"\\([^\"]*\\)\".*/\\2 \\1/p';"
        "cd /run/netns; for name in *; do echo $name $(stat -c %i $name); done;"
        "cd /run/dhcp && for name in *; do echo dnsmasq-$name pid $(cat $name/pid); done"
    )
    found = dict(line.split(" ", 1) for line in host.run("sh", "-c", script, check=False).stdout.splitlines())
    return {name: number for name, number in found.items() if any(mark in name for mark in marks)}
