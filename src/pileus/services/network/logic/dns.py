"""DNS names of ports."""

from __future__ import annotations

import re

MAX_NAME_CHARS = 253
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


def check_name(value: object) -> str:
    """A name of one or more labels, lower case; "" is none. Raises ValueError."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARS:
        raise ValueError(f"'{str(value)[:60]}' is not a valid DNS name")
    labels = value.rstrip(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"'{value[:60]}' not a valid PQDN or FQDN. Reason: labels hold letters, digits and hyphens")
    return value.lower()


def assignment(dns_name: str, addresses: list[str], domain: str) -> list[dict[str, str]]:
    """What each address of a port is called: by its own name, else by its address."""
    found = []
    for address in addresses:
        host = dns_name.rstrip(".") or "host-" + address.replace(".", "-").replace(":", "-")
        fqdn = f"{host}.{domain.rstrip('.')}." if domain and not host.endswith(domain.rstrip(".")) else f"{host}."
        found.append({"hostname": host, "ip_address": address, "fqdn": fqdn})
    return found


def hostname(dns_name: str, address: str) -> str:
    """One label for the DHCP server."""
    return dns_name.split(".")[0] or "host-" + address.replace(".", "-").replace(":", "-")
