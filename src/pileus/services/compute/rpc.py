"""Messages between the compute conductor, the agent on each hypervisor host, and the schedulers.

The conductor calls the agent with the structs of `AGENT_CALLS`; the agent answers with the struct named
there. The agent sends `HostReport` periodically and `GuestEvent` when a guest changes without having been
asked to.

Rules both sides keep:

* **Generation.** Each server has a generation, a number that the conductor raises with every new intent
  (build, start, stop, reboot, ...). A message with a generation lower than the last one the agent accepted is
  refused (`stale_generation`). The same message twice is harmless: the second joins the first if it is still
  running, or finds its work done.
* **A build is two calls of one generation.** `PrepareServer` makes everything but the running guest (image in
  the cache, root disk, config drive, taps plugged, guest defined) and ends with the taps present, so that the
  conductor can wait for the network to wire the ports; `StartServer` then starts the guest.
* **Refusals are data.** Every reply about one server is a `ServerReport`; `fault` says what went wrong, in
  words that may be shown to the user, and whether the same call may succeed later. No call raises for a
  reason that lies in the request.
* **Destroy wins.** After `DestroyServer` of generation g, messages of that server with a generation <= g stay
  refused (`stale_generation`), so a late duplicate cannot bring a deleted server back. `DestroyServer` itself
  may be repeated; it also succeeds for a server that this host never had.

Topics
    ``compute-agent@<host>``   calls to the agent of a host (`AGENT_CALLS`)
    ``compute-conductor``      from agents to any one conductor: calls with `HostReport`, repeated soon when nobody
                               takes it, and casts of `GuestEvent`; losing one costs time only, because the next
                               report shows the same
    ``compute-scheduler``      calls from conductors to any one scheduler: `SelectHosts`. It only answers, and claims
                               nothing, so that a question that is put twice, or to two of them, does no harm
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from pileus.kernel.bus.messages import Message

# How long a caller waits for each reply, in seconds. A call that timed out may be repeated: it joins the work
# under way.
PREPARE_TIMEOUT_S: Final = 1_700.0  # may download and unpack an image of many GiB
START_TIMEOUT_S: Final = 900.0  # may queue behind other starts on an emulating host
STOP_MARGIN_S: Final = 60.0  # on top of StopServer.soft_timeout_s
REBOOT_TIMEOUT_S: Final = 900.0
DESTROY_TIMEOUT_S: Final = 120.0
QUERY_TIMEOUT_S: Final = 20.0

HOST_REPORT_INTERVAL_S: Final = 20.0  # a host silent for several of these is down
HOST_REPORT_TIMEOUT_S: Final = 30.0

MAX_CONSOLE_LINES: Final = 10_000
MAX_CONFIG_DRIVE_BYTES: Final = 48 * 2**20

SELECT_TIMEOUT_S: Final = 30.0

AGENT_ROLE: Final = "compute-agent"
CONDUCTOR_TOPIC: Final = "compute-conductor"
SCHEDULER_TOPIC: Final = "compute-scheduler"

PowerState = Literal["absent", "stopped", "running", "paused", "crashed"]
"""`absent`: not on this host (or not yet prepared). `stopped`: defined, not running."""


RebootType = Literal["SOFT", "HARD"]

FaultCode = Literal[
    "stale_generation",  # a newer intent (or a destroy) has been accepted
    "unknown_server",  # this host has no such server
    "not_prepared",  # start before prepare has succeeded
    "image_unavailable",  # the image service did not deliver it, or its checksum differs
    "image_unsafe",  # refused by the format gate
    "image_too_big",  # virtual size exceeds the flavor's root disk
    "no_space",  # the host's disk is full
    "network_plug_failed",
    "driver_failed",  # the hypervisor refused
    "driver_timeout",  # the hypervisor did not answer in time
    "boot_silent",  # the guest never wrote to its console, twice; it was stopped
]


class Fault(msgspec.Struct, frozen=True):
    """Why something did not succeed. `message` may be shown to the server's owner; `detail` is for operators
    only."""

    code: FaultCode
    message: str
    detail: str = ""
    retryable: bool = False  # the same call may succeed later, or on another host



def agent_topic(host: str) -> str:
    """The topic of the agent on one host."""
    return f"{AGENT_ROLE}@{host}"


# --- what a server is, as the agent needs to know it --------------------------------------------------------


class FlavorFacts(msgspec.Struct, frozen=True):
    """The server's own copy of its flavor."""

    vcpus: int
    ram_mib: int
    root_gib: int = 0  # 0: as large as the image
    ephemeral_gib: int = 0
    swap_mib: int = 0
    extra_specs: dict[str, str] = {}


class ImageRef(msgspec.Struct, frozen=True):
    """An image of the image service. `hash_algo`/`hash_value` are its os_hash_* attributes, checked after
    download."""

    id: str
    disk_format: str  # as declared to the image service: raw, qcow2, aki, ari, ...
    size_bytes: int | None = None  # None or 0: not known
    hash_algo: str = ""
    hash_value: str = ""
    properties: dict[str, str] = {}  # hw_machine_type, hw_disk_bus, hw_vif_model, pileus_silent_boot_s


class Nic(msgspec.Struct, frozen=True):
    """One port of the network service, plugged as a tap device that the agent creates."""

    port_id: str
    mac: str  # lower case, colons
    tap: str  # device name as the L2 agent expects it, at most 15 characters
    mtu: int = 1500
    network_id: str = ""


class ConfigDriveFile(msgspec.Struct, frozen=True):
    """One file of the config drive. `path` is relative with forward slashes, e.g.
    openstack/latest/meta_data.json."""

    path: str
    data: bytes


class ServerSpec(msgspec.Struct, frozen=True):
    """Everything the agent needs to build a server. User data and metadata reach the guest through the
    metadata service and, if `config_drive` is not empty, through the files listed there (the caller renders
    them, once for both)."""

    server_id: str
    name: str
    project_id: str
    flavor: FlavorFacts
    image: ImageRef | None = None  # None: an empty root disk
    kernel: ImageRef | None = None  # image property kernel_id: boot this kernel directly
    ramdisk: ImageRef | None = None  # image property ramdisk_id
    kernel_cmdline: str = ""  # image property os_command_line; only with `kernel`
    nics: tuple[Nic, ...] = ()
    config_drive: tuple[ConfigDriveFile, ...] = ()
    hostname: str = ""
    request_id: str = ""


# --- replies ------------------------------------------------------------------------------------------------


class ServerReport(msgspec.Struct, frozen=True):
    """State of one server on this host after a call."""

    server_id: str
    host: str
    generation: int  # the newest generation that the agent has accepted for this server
    power_state: PowerState
    prepared: bool = False
    instance_name: str = ""  # the hypervisor's name of the guest, OS-EXT-SRV-ATTR:instance_name
    root_device: str = ""  # /dev/vda
    fault: Fault | None = None


class ConsoleText(msgspec.Struct, frozen=True):
    """Tail of a console log; bytes that are not UTF-8 are replaced, control characters are kept as the guest
    wrote them."""

    server_id: str
    output: str
    fault: Fault | None = None


class GuestSummary(msgspec.Struct, frozen=True):
    """One guest on a host. `journaled` is False for a guest of this cloud that the agent knows nothing about.
    """

    server_id: str
    generation: int
    power_state: PowerState
    journaled: bool
    instance_name: str = ""


class GuestList(msgspec.Struct, frozen=True):
    """Reply to `ListGuests`."""

    host: str
    guests: tuple[GuestSummary, ...]


# --- messages from the agent --------------------------------------------------------------------------------


class CpuInfo(msgspec.Struct, frozen=True):
    """The host's processor, as shown in hypervisor details."""

    arch: str
    model: str
    vendor: str
    sockets: int
    cores: int
    threads: int
    features: tuple[str, ...] = ()


class Acceleration(msgspec.Struct, frozen=True):
    """Whether guests run on the processor (`kvm`) or are emulated (`tcg`), and how that was found out."""

    kind: Literal["kvm", "tcg", "none"]  # none: the fake driver
    reason: str


class HostReport(Message, frozen=True):
    """Heartbeat and inventory of a host. `disk_*` describe the file system that holds the instances."""

    traced: ClassVar[bool] = False
    host: str  # name of the compute host, unique in the cloud
    hypervisor_hostname: str  # the resource provider's name, unique too; every driver so far has one node per host
    host_ip: str
    hypervisor_type: str  # QEMU, fake
    hypervisor_version: int  # 7.2.22 -> 7002022
    vcpus: int
    ram_mib: int
    disk_gib: int
    disk_free_gib: int
    ram_free_mib: int
    cpu: CpuInfo
    acceleration: Acceleration
    guests: tuple[GuestSummary, ...]
    images_cached: tuple[str, ...] = ()
    started_at: str = ""  # when this agent started, ISO 8601 UTC
    sequence: int = 0  # counts up from 1 per agent start


GuestEventKind = Literal[
    "stopped_by_itself",  # powered off or crashed without being asked to
    "started",  # started by the agent itself after a host restart
    "boot_restarted",  # silent boot: restarted once
    "boot_failed",  # silent boot again: stopped, see fault
    "recovery_failed",  # should run after a host restart, could not be started
    "unknown_guest",  # a guest of this cloud without a journal was found
]


class GuestEvent(Message, frozen=True):
    """A guest changed without a call. May be lost: the next HostReport shows the same power state. Receivers
    compare `generation` with the server's."""

    host: str
    server_id: str
    generation: int
    kind: GuestEventKind
    power_state: PowerState
    fault: Fault | None = None


# --- calls to the agent -------------------------------------------------------------------------------------


class PrepareServer(Message, frozen=True):
    """Make everything the server needs but the running guest. On failure all of it is undone before the
    reply."""

    reply: ClassVar[type[ServerReport]] = ServerReport
    generation: int
    spec: ServerSpec


class StartServer(Message, frozen=True):
    """Start the guest (second half of a build, or start of a stopped server). Answers once the hypervisor
    runs it."""

    reply: ClassVar[type[ServerReport]] = ServerReport
    server_id: str
    generation: int


class StopServer(Message, frozen=True):
    """Power off: ACPI button first, then by force when the guest still runs after `soft_timeout_s` (0: force
    at once)."""

    reply: ClassVar[type[ServerReport]] = ServerReport
    server_id: str
    generation: int
    soft_timeout_s: float = 60.0


class RebootServer(Message, frozen=True):
    """Restart the guest. SOFT asks the guest first and falls back to HARD after `soft_timeout_s`. A stopped
    server starts."""

    reply: ClassVar[type[ServerReport]] = ServerReport
    server_id: str
    generation: int
    reboot_type: RebootType
    soft_timeout_s: float = 60.0


class DestroyServer(Message, frozen=True):
    """Leave nothing of the server on this host: process, definition, taps, disks, logs."""

    reply: ClassVar[type[ServerReport]] = ServerReport
    server_id: str
    generation: int


class DescribeServer(Message, frozen=True):
    """Read the state of one server. An unknown server answers power_state `absent` and no fault."""

    reply: ClassVar[type[ServerReport]] = ServerReport
    server_id: str


class ConsoleLog(Message, frozen=True):
    """Read the tail of the serial console: the last `lines` lines, or all that is kept when None."""

    reply: ClassVar[type[ConsoleText]] = ConsoleText
    server_id: str
    lines: int | None = None


class ListGuests(Message, frozen=True):
    """Every guest of this cloud on this host, including those the agent has no journal of."""

    traced: ClassVar[bool] = False
    reply: ClassVar[type[GuestList]] = GuestList


class ReportHost(Message, frozen=True):
    """Ask for a `HostReport` now instead of waiting for the next one."""

    traced: ClassVar[bool] = False
    reply: ClassVar[type[HostReport]] = HostReport


AGENT_CALLS: Final[tuple[type[Message], ...]] = (
    PrepareServer,
    StartServer,
    StopServer,
    RebootServer,
    DestroyServer,
    DescribeServer,
    ConsoleLog,
    ListGuests,
    ReportHost,
)
"""Every call to an agent; its answer is the message's `reply`."""


# --- calls to a scheduler -----------------------------------------------------------------------------------


class Destination(msgspec.Struct, frozen=True):
    """A host, and what would be claimed there: amounts by provider and resource class."""

    host: str
    node: str
    allocations: dict[str, dict[str, int]]
    mappings: dict[str, list[str]] = {}


class Selection(msgspec.Struct, frozen=True):
    """Reply to `SelectHosts`. `hosts`: those that fit, best first; nothing is claimed. `explanation`: for operators,
    what was chosen, or which filter turned down whom. silent: there are hosts that may be used, and none reports."""

    hosts: tuple[Destination, ...]
    explanation: str
    silent: bool = False


class SelectHosts(Message, frozen=True):
    """Where could the server go? The rest is what its owner, or an administrator, wishes."""

    reply: ClassVar[type[Selection]] = Selection
    server_id: str
    zone: str | None = None
    requested_host: str | None = None
    requested_node: str | None = None
    forced: bool = False
