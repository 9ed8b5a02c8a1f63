"""What goes over a cable of a lab: VXLAN packets on the tunnel network, taken off the switch.

Run as a script in the switch's network namespace: `python wire.py DEVICE`; prints one line of JSON per packet.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Self

from pileus.lab.hosts import Host

VXLAN_PORT = 4789
ETHERTYPE_IP = 0x0800
UDP = 17


class Tap:
    """Listens on the switch's end of a host's cable. A context manager; `packets` afterwards."""

    def __init__(self, lab: Path, host: str, card: int) -> None:
        self._argv = Host(lab, "switch").enter([sys.executable, __file__, f"{host}.{card}"], only_net=True)
        self.packets: list[dict] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n"
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        said, _ = self._process.communicate(timeout=20)
        self.packets = [json.loads(line) for line in said.splitlines()]


def decoded(frame: bytes) -> dict | None:
    """Outer addresses, VNI and inner IPv4 addresses and protocol of a VXLAN frame; None for any other."""
    if len(frame) < 14 or struct.unpack("!H", frame[12:14])[0] != ETHERTYPE_IP:
        return None
    header = (frame[14] & 15) * 4
    outer = frame[14:]
    if outer[9] != UDP or struct.unpack("!H", outer[header + 2:header + 4])[0] != VXLAN_PORT:
        return None
    vxlan = outer[header + 8:]
    inner = vxlan[8:]
    found = {
        "source": socket.inet_ntoa(outer[12:16]), "target": socket.inet_ntoa(outer[16:20]),
        "vni": int.from_bytes(vxlan[4:7]),
    }
    if struct.unpack("!H", inner[12:14])[0] == ETHERTYPE_IP:
        ip = inner[14:]
        found |= {"from": socket.inet_ntoa(ip[12:16]), "to": socket.inet_ntoa(ip[16:20]), "protocol": ip[9]}
    return found


def main() -> None:
    """Print what passes, until killed."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sock:
        sock.bind((sys.argv[1], 0))
        print("listening", flush=True)
        while True:
            if (packet := decoded(sock.recv(65_535))) is not None:
                print(json.dumps(packet), flush=True)


if __name__ == "__main__":
    main()
