"""`pileus db move NEW.toml`: a running cloud's databases from files to MariaDB, and its messages to a broker.

All that takes long, or may go wrong, is done while the cloud runs: looking at the target, making the tables, copying
all rows, comparing them. Then its process stops, what has changed meanwhile is copied and compared, the new
configuration takes the old one's place in one step, and the process starts with it. Before that step the old cloud is
the cloud, whatever happens; after it, the new one. The same command goes on with what was cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from sqlalchemy.exc import DBAPIError

from pileus.cli import daemon, db_plan, processes, verify
from pileus.cli.db_plan import Part, Plan
from pileus.cli.layout import Layout
from pileus.kernel.config import ConfigError
from pileus.kernel.db import Database, move
from pileus.kernel.db.move import Copying
from pileus.kernel.host import durable
from pileus.kernel.process import buses
from pileus.kernel.process.databases import SECTION

NUMBER_FILE = "db-move"
"""In the state directory while a move is not over: its number, by which it knows its schemas."""
AHEAD_ROUNDS = 3
FEW_CHANGES = 500


class _Move(msgspec.Struct):
    """What is open during a move."""

    plan: Plan
    copyings: list[Copying]
    stack: contextlib.ExitStack


def run(layout: Layout, wanted: Path, state_dir: str | None) -> int:
    """Move, start, verify. Returns the exit status of the verification. Raises ConfigError, RuntimeError, OSError."""
    signal.signal(signal.SIGTERM, _end)  # an end by signal is a failure like others: the old cloud is started again
    with _only_move(layout.state_dir) as number:
        plan = db_plan.plan(layout, wanted, state_dir)
        if plan.is_switched:
            print("The new configuration is in force already; going on after it.", flush=True)
            _up(plan)
        else:
            with contextlib.ExitStack() as stack:
                _carry(_Move(plan, _prepared(plan, number, stack), stack))
        _tidy(plan)
    (layout.state_dir / NUMBER_FILE).unlink(missing_ok=True)
    print("Verifying ...", flush=True)
    found = asyncio.run(verify.judge(plan.new, None))
    print(verify.as_text(found))
    return verify.status_of(found)


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


@contextlib.contextmanager
def _only_move(state_dir: Path) -> Iterator[str]:
    """Keep other moves of this cloud out; gives the number of this one, the same for all its attempts."""
    if not state_dir.is_dir():
        raise RuntimeError(f"there is no cloud in {state_dir}")
    with os.fdopen(os.open(state_dir / NUMBER_FILE, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another `pileus db move` of the cloud in {state_dir} is at work") from None
        number = file.read()
        if not re.fullmatch("[0-9a-f]{32}", number):
            number = uuid.uuid4().hex
            file.seek(0)
            file.truncate()
            file.write(number)
            file.flush()
            os.fsync(file.fileno())
            durable.sync(state_dir)
        yield number


# -- while the cloud runs ------------------------------------------------------------------------------------


def _prepared(plan: Plan, number: str, stack: contextlib.ExitStack) -> list[Copying]:
    """See that everything can be had, and make the tables in the new places."""
    plan.place.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(plan.place.parent, os.W_OK):
        raise ConfigError(f"the new configuration cannot be written into {plan.place.parent}")
    if not buses.is_local(plan.new.tables) and plan.old.tables.get("bus") != plan.new.tables.get("bus"):
        asyncio.run(buses.probe(plan.new.node, plan.new.tables))
        print("The message broker can be used.", flush=True)
    for part in plan.fresh:
        _prepared_target(part, number, stack)
    return [_prepared_part(plan, part, number, stack) for part in plan.parts]


def _prepared_part(plan: Plan, part: Part, number: str, stack: contextlib.ExitStack) -> Copying:
    source = part.open_source(plan.old)
    stack.callback(source.close)
    target = _prepared_target(part, number, stack)
    return Copying(source, target, part.tables, grows=part.grows)


def _prepared_target(part: Part, number: str, stack: contextlib.ExitStack) -> Database:
    target = Database(part.url, name=part.name)
    stack.callback(target.close)
    try:
        target.engine.connect().close()  # once, and now: what is wrong with a URL shall be said at once
        target.backend.wait_until_ready()
        if not db_plan.is_file(part.url):
            move.claim(target, number, part.where)
        part.make_tables(target)
    except DBAPIError as error:
        reason = error.orig.args[-1] if error.orig is not None and error.orig.args else error
        raise ConfigError(f"[{SECTION}] {part.name}: {part.where} cannot be used: {reason}") from error
    print(f"{part.name}: {part.where} is ready.", flush=True)
    return target


def _ahead(copyings: list[Copying]) -> None:
    """Copy and compare all while the cloud works; again, so that little is left to do when it stands still."""
    for copying in copyings:
        begun = time.monotonic()
        for _ in range(AHEAD_ROUNDS):
            outcome = copying.bring_over()
            if outcome.changed < FEW_CHANGES:
                break
        copying.compare()
        took_s = time.monotonic() - begun
        print(f"{copying.name}: {outcome.rows} rows copied and compared in {took_s:.1f} s.", flush=True)


# -- the pause -----------------------------------------------------------------------------------------------


def _carry(this: _Move) -> None:
    """Copy ahead, stop, copy the rest, switch, start."""
    plan = this.plan
    durable.write(plan.staged, plan.content)
    this.stack.callback(plan.staged.unlink, missing_ok=True)
    ready = daemon.Ready(processes.whole(msgspec.structs.replace(plan.new, config_file=plan.staged)))
    this.stack.callback(ready.give_up)
    _ahead(this.copyings)
    stopping = time.monotonic()
    whole = processes.whole(plan.old)
    was_up = daemon.holder_pid(whole) is not None
    print("Stopping the cloud; guests and networks go on ..." if was_up else "The cloud does not run.", flush=True)
    daemon.stop(plan.old)
    stopped = time.monotonic()
    try:
        with daemon.only_process(whole):
            changed = 0
            for copying in this.copyings:
                changed += copying.bring_over().changed
                copying.compare()
            copied = time.monotonic()
            _switch(plan)
    except BaseException:
        if was_up and not _is_in_force(plan):
            print("Failed; starting the old cloud again, as it was ...", flush=True)
            _start(plan.old)
        raise
    _begin(plan, ready.go)
    print(
        f"The API was away for {time.monotonic() - stopping:.1f} s: stopping {stopped - stopping:.1f}, "
        f"{changed} changed rows and comparing {copied - stopped:.1f}, starting {time.monotonic() - copied:.1f}.",
        flush=True,
    )


def _switch(plan: Plan) -> None:
    """The old configuration gets another name beside its own; the new one takes its place, whole or not at all."""
    if plan.place.exists():
        durable.write(db_plan.kept(plan.place), plan.place.read_bytes())
    durable.publish(plan.staged, plan.place)


def _is_in_force(plan: Plan) -> bool:
    return plan.place.exists() and plan.place.read_bytes() == plan.content


# -- afterwards ----------------------------------------------------------------------------------------------


def _up(plan: Plan) -> None:
    """Start the cloud with the new configuration, unless it runs."""
    whole = processes.whole(plan.new)
    pid = daemon.holder_pid(whole)
    if pid is None:
        _begin(plan, lambda: _start(plan.new))
    elif not daemon.comes_up(whole, pid):
        raise RuntimeError(f"process {pid} of this cloud runs but does not answer at {plan.new.node.url}")


def _start(layout: Layout) -> None:
    for _ in daemon.start([processes.whole(layout)]):
        pass


def _begin(plan: Plan, start: Callable[[], object]) -> None:
    try:
        start()
    except daemon.StartFailed as error:
        raise RuntimeError(
            f"the cloud's data is in the new databases and {plan.place} names them, but it does not start; put right "
            f"what it says and run the same command again: {error}"
        ) from error


def _tidy(plan: Plan) -> None:
    """The old files get names under which no cloud takes them for its own; the schemas are nobody's target any more."""
    for file, name in db_plan.moved_files(plan.new):
        old = Database(f"sqlite:///{file}", name=file.stem)
        old.engine.connect().close()
        old.close()  # the last to close takes what a killed process left beside the file into it
        file.replace(name)
        durable.sync(file.parent)
        print(f"The old {file.name} is {name} now.", flush=True)
    for name, url in plan.new.tables.get(SECTION, {}).items():
        database = Database(url, name=name)
        try:
            if move.is_claimed(database):
                move.release(database)
        finally:
            database.close()
