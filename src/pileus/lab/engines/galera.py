"""MariaDB Galera: members that each hold everything, and the order in which they start.

A member joins by copying another's data (SST, by rsync) or, when it was away for a short time, by catching up (IST).
When none runs, the one that has the most begins the cluster anew; any other would throw away what was accepted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pileus.lab.engines.mariadb import PORT, USER, MariaDB
from pileus.lab.engines.member import Members
from pileus.lab.place import Place

GROUP_PORT, IST_PORT, SST_PORT = 4567, 4568, 4444
PROVIDER = "/usr/lib/galera/libgalera_smm.so"
JOIN_TIMEOUT_S = 180.0
RECOVER_TIMEOUT_S = 120.0
ASK_TIMEOUT_S = 10.0
POLL_S = 0.2

# Writes stand still for 2.3 s after a member has died, not for 6 s. The provider starts only if the suspect timeout is
# at least three keepalive periods; it says no more than "-34" otherwise.
FAILURE_DETECTION = {
    "evs.keepalive_period": "PT0.5S", "evs.suspect_timeout": "PT2S", "evs.inactive_check_period": "PT0.25S",
    "evs.join_retrans_period": "PT0.3S",
}  # fmt: skip
STATUS = ("wsrep_local_state_comment", "wsrep_cluster_status", "wsrep_cluster_size")


@dataclass(frozen=True)
class Position:
    """How far a member's data are: `seqno` transactions of the cluster whose history is `uuid`. seqno -1: unknown."""

    uuid: str
    seqno: int


class GaleraMember(MariaDB):
    """One member. peers: the places of all members, its own among them; the first is the one that is written to."""

    def __init__(
        self, place: Place, *, cluster: str, peers: Sequence[Place], port: int = PORT,
        settings: Mapping[str, str] | None = None, provider_options: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        address = place.address
        provider = {
            "gmcast.listen_addr": f"tcp://{address}:{GROUP_PORT}", "ist.recv_addr": f"{address}:{IST_PORT}",
            "gcache.size": "64M", "gcs.fc_limit": "256", **FAILURE_DETECTION, **(provider_options or {}),
        }  # fmt: skip
        super().__init__(place, port=port, settings={
            "binlog-format": "ROW", "default-storage-engine": "InnoDB", "innodb-autoinc-lock-mode": "2",
            "wsrep-on": "ON", "wsrep-provider": PROVIDER, "wsrep-cluster-name": cluster,
            "wsrep-cluster-address": "gcomm://" + ",".join(f"{peer.address}:{GROUP_PORT}" for peer in peers),
            "wsrep-node-name": place.name, "wsrep-node-address": address, "wsrep-sst-method": "rsync",
            # Who gives a copy stands still meanwhile: the writer only if nobody else is there (an empty name: anybody).
            "wsrep-sst-donor": ",".join([peer.name for peer in reversed(peers) if peer.name != place.name] + [""]),
            "wsrep-sst-receive-address": f"{address}:{SST_PORT}",
            "wsrep-provider-options": '"' + ";".join(f"{key}={value}" for key, value in provider.items()) + '"',
            **(settings or {}),
        })  # fmt: skip

    def bootstrap(self) -> None:
        """Start as the first: what it holds is what the cluster holds. Only while no member runs."""
        state = self.data / "grastate.dat"
        if state.exists():
            state.write_text(state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))
        (self.data / "gvwstate.dat").unlink(missing_ok=True)  # it would wait for those whom it saw last
        self._launch("--wsrep-new-cluster", *self._where_it_is())

    def start(self) -> None:
        """Join the members that run. Does not wait until it has all data."""
        if not self.alive():
            self._launch(*self._where_it_is())

    def _where_it_is(self) -> list[str]:
        """After a crash the server does not know it by itself: the first would begin a new history, the others would
        copy everything instead of catching up."""
        position = self.position()
        return [f"--wsrep-start-position={position.uuid}:{position.seqno}"] if position.seqno >= 0 else []

    def position(self) -> Position:
        """How far its data are. Only while it does not run."""
        found = self._written_position()
        return self._recovered_position() if found.seqno < 0 else found

    def answers(self) -> bool:
        """Whether it has the data of a cluster with a majority."""
        return _serves(self.variables())

    def status(self) -> str:
        """`running, 3 members`: itself and those that it sees; or what it is otherwise."""
        found = self.variables()
        if not found:
            return self._silent()
        state, part, size = (found.get(name, "?") for name in STATUS)
        return f"{'running' if _serves(found) else f'{state}, {part}'}, {size} members"

    def variables(self) -> dict[str, str]:
        """The server's `wsrep_…` variables; empty when it does not answer."""
        if not self.alive():
            return {}
        try:
            rows = self.execute("SHOW GLOBAL STATUS LIKE 'wsrep\\_%'", timeout_s=ASK_TIMEOUT_S)
        except RuntimeError:
            return {}
        return {row[0]: row[1] for row in rows if len(row) == 2}

    def _written_position(self) -> Position:
        """What a clean end has left in a file; a crash leaves -1 there."""
        state = self.data / "grastate.dat"
        found = re.search(r"uuid:\s*(\S+)\s+seqno:\s*(-?\d+)", state.read_text()) if state.exists() else None
        return Position(found.group(1), int(found.group(2))) if found else Position("", -1)

    def _recovered_position(self) -> Position:
        """What the server finds in its tables after a crash."""
        if not (self.data / "mysql").exists():
            return Position("", -1)
        log = self.place.directory / "recover.log"
        log.unlink(missing_ok=True)
        command = ["mariadbd", f"--defaults-file={self.file}", f"--log-error={log}", "--wsrep-recover"]
        self.place.run(command, timeout_s=RECOVER_TIMEOUT_S, user=USER)
        found = re.findall(r"Recovered position:\s*([0-9a-f-]{36}):(-?\d+)", log.read_text(errors="replace"))
        return Position(found[-1][0], int(found[-1][1])) if found else Position("", -1)


def _serves(variables: Mapping[str, str]) -> bool:
    return variables.get("wsrep_ready") == "ON" and variables.get("wsrep_local_state_comment") == "Synced"


class GaleraCluster(Members[GaleraMember]):
    """All members. `restart` brings up whatever does not run, from whatever state they are in.

    places: in the order in which a proxy would choose the writer.
    """

    ready_timeout_s = JOIN_TIMEOUT_S

    def __init__(
        self, places: Sequence[Place], *, name: str = "pileus", port: int = PORT,
        settings: Mapping[str, str] | None = None, provider_options: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            GaleraMember(
                place, cluster=name, peers=places, port=port, settings=settings, provider_options=provider_options
            )
            for place in places
        )

    def restart(self, timeout_s: float | None = None) -> None:
        """Start every member that does not run and wait until each has all data. timeout_s: for each of them.
        RuntimeError when one does not."""
        timeout_s = timeout_s or self.ready_timeout_s
        if not self.primaries():
            self._begin(timeout_s)
        for member in self.members:
            if not member.alive():
                member.start()
                member.wait_ready(timeout_s)  # one after the other: each copy keeps a member busy
        for member in self.members:
            member.wait_ready(timeout_s)

    def primaries(self) -> list[GaleraMember]:
        """The members that belong to a majority now."""
        return [m for m in self.members if m.variables().get("wsrep_cluster_status") == "Primary"]

    def wait_size(self, size: int, timeout_s: float) -> None:
        """Return when all members that run see each other, that many, in a majority."""
        deadline = time.monotonic() + timeout_s
        while not all(self._sees(member, size) for member in self.members if member.alive()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster did not come to {size} members: {self.status()}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End all in good order; the last one notes that it is the one to begin with."""
        for member in reversed(self.members):
            member.stop()

    def _begin(self, timeout_s: float) -> None:
        """Make a majority: of those that run without one, or else of the one that has the most."""
        running = [member for member in self.members if member.alive()]
        if running:
            # Nobody else runs, and who is started joins these: they cannot be two halves that each go on.
            most = max(running, key=lambda member: int(member.variables().get("wsrep_last_committed", -1)))
            most.execute("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
        else:
            most = self._most_advanced()
            most.bootstrap()
        most.wait_ready(timeout_s)

    def _most_advanced(self) -> GaleraMember:
        positions = [(member, member.position()) for member in self.members]
        histories = {position.uuid for _, position in positions if position.seqno >= 0}
        if len(histories) > 1:
            raise RuntimeError(f"the members hold different histories, somebody must choose one: {positions}")
        return max(positions, key=lambda pair: pair[1].seqno)[0]

    @staticmethod
    def _sees(member: GaleraMember, size: int) -> bool:
        status = member.variables()
        return status.get("wsrep_cluster_status") == "Primary" and status.get("wsrep_cluster_size") == str(size)
