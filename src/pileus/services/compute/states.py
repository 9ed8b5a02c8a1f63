"""The states of a server: which action may begin in which, and what users read.

vm_state is where the server rests, task_state what is being done to it, power_state what the guest does. Names, numbers
and the mapping to `status` are those of the public compute API.
"""

from __future__ import annotations

from typing import Final

import msgspec

# vm_state
ACTIVE, BUILDING, STOPPED, ERROR, DELETED = "active", "building", "stopped", "error", "deleted"
PAUSED, SUSPENDED = "paused", "suspended"

# task_state
SCHEDULING, NETWORKING, SPAWNING, DELETING = "scheduling", "networking", "spawning", "deleting"
POWERING_ON, POWERING_OFF = "powering-on", "powering-off"
REBOOTING, REBOOTING_HARD = "rebooting", "rebooting_hard"

# power_state, as numbers of the API
NO_STATE: Final = 0
RUNNING: Final = 1
SHUT_DOWN: Final = 4
CRASHED: Final = 6

POWER_NUMBERS: Final = {"absent": NO_STATE, "stopped": SHUT_DOWN, "running": RUNNING, "paused": 3, "crashed": CRASHED}
"""The words of agents as numbers of the API."""

STATUS_OF_VM_STATE: Final = {
    ACTIVE: "ACTIVE", BUILDING: "BUILD", STOPPED: "SHUTOFF", ERROR: "ERROR", DELETED: "DELETED", PAUSED: "PAUSED",
    SUSPENDED: "SUSPENDED",
}
STATUS_OF_TASK: Final = {
    (ACTIVE, REBOOTING): "REBOOT", (ACTIVE, REBOOTING_HARD): "HARD_REBOOT", (STOPPED, REBOOTING_HARD): "HARD_REBOOT",
    (PAUSED, REBOOTING_HARD): "HARD_REBOOT", (SUSPENDED, REBOOTING_HARD): "HARD_REBOOT",
    (ERROR, REBOOTING_HARD): "HARD_REBOOT",
}
WORDS_WITH_PROGRESS: Final = frozenset({"ACTIVE", "BUILD", "HARD_REBOOT", "REBOOT"})


class Transition(msgspec.Struct, frozen=True):
    """An action: the states it may begin in, the task it sets. `needs_host`: the server must have been placed.

    task_states None: any. `word` is how the action is called in refusals. `ends`: takes everything away, so it may
    begin while what a failed action left is still being cleaned up.
    """

    word: str
    vm_states: frozenset[str] | None
    task_states: frozenset[str | None] | None
    task: str
    needs_host: bool = True
    ends: bool = False


TRANSITIONS: Final = {
    "start": Transition("start", frozenset({STOPPED}), frozenset({None}), POWERING_ON),
    "stop": Transition("stop", frozenset({ACTIVE, ERROR}), frozenset({None}), POWERING_OFF),
    "reboot_soft": Transition("reboot", frozenset({ACTIVE}), frozenset({None}), REBOOTING),
    "reboot_hard": Transition(
        "reboot", frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR}), frozenset({None, REBOOTING, REBOOTING_HARD}),
        REBOOTING_HARD,
    ),
    "delete": Transition("delete", None, None, DELETING, needs_host=False, ends=True),
}


def status_of(vm_state: str, task_state: str | None) -> str:
    """What users read as `status`."""
    return STATUS_OF_TASK.get((vm_state, task_state or "")) or STATUS_OF_VM_STATE.get(vm_state, "UNKNOWN")


def states_of(status: str) -> list[tuple[str, str | None]]:
    """The (vm_state, task_state) pairs that read as `status`; a task of None stands for every task without a word of
    its own in that vm_state. Empty for a status that does not exist."""
    wanted = status.upper()
    pairs: list[tuple[str, str | None]] = [(vm, task) for (vm, task), word in STATUS_OF_TASK.items() if word == wanted]
    return pairs + [(vm, None) for vm, word in STATUS_OF_VM_STATE.items() if word == wanted]


def tasks_with_own_status(vm_state: str) -> list[str]:
    """Tasks that change the status of servers in `vm_state`."""
    return [task for vm, task in STATUS_OF_TASK if vm == vm_state]
