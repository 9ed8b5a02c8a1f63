"""One flow being run: from where its journal ends to its own end, or until it is handed back for a while."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from pileus.kernel import context as ctx
from pileus.kernel.db import DatabaseUnavailable, Tx
from pileus.kernel.errors import ServiceError
from pileus.kernel.flows.definition import Flow, Retry, Run, Step, StepFunction
from pileus.kernel.flows.store import FlowStore
from pileus.kernel.flows.tables import DONE, FAILED, RUNNING, UNDOING, Fault, FlowRow, LeaseLost
from pileus.kernel.observe import hops

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

log = logging.getLogger(__name__)

UNDO_ATTEMPTS = 8
"""After so many failures of one undo the resource gets its final state, and the clean-up goes on behind it."""
MAX_BACKOFF_S = 30.0
MAX_DOUBLINGS = 16
MAX_CLEAN_UP_PAUSE_S = 300.0
HAND_BACK_FROM_S = 2.0
"""Pauses from here on do not hold one of the runner's places: the flow is handed back and claimed again."""
STOP_GRACE_S = 10.0

CANCELLED = Fault(409, "Cancelled", "The operation was cancelled.", cancelled=True)
TOO_LATE = Fault(504, "DeadlineExceeded", "The operation took too long.")


class _Stopped(Exception):
    """The flow is to be undone, whatever its step was doing."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


class Execution:
    """Runs one claimed flow. `wake_in(seconds)`: asks the runner to look for due flows again after that time."""

    def __init__(
        self, rt: Runtime[Any], store: FlowStore, flow: Flow, row: FlowRow, wake_in: Callable[[float], None]
    ) -> None:
        self.rt, self.store, self.flow, self.row = rt, store, flow, row
        self.data = msgspec.json.decode(row.data, type=flow.data)
        self.step, self.attempt, self.fault, self.settled = row.step, row.attempt, row.fault, row.settled
        self.cancelled = asyncio.Event()
        if row.cancel:
            self.cancelled.set()
        self._wake_in = wake_in

    async def run(self) -> None:
        """Until the end, or until it is handed back. Raises `LeaseLost` when another runner has the flow."""
        ctx.enter(self.row.context)
        if self.row.taken_over is not None:
            text = f"{self.row.taken_over} did not end it"
            await self._write(self._current_step().name, "resumed", text, time.monotonic(), attempt=self.attempt)
        if self.row.state == RUNNING:
            while self.fault is None:
                if self.step == len(self.flow.steps):
                    return
                if not await self._forward(self._current_step()):
                    return
        await self._unwind()

    # -- forward -------------------------------------------------------------------------------------------------

    async def _forward(self, step: Step) -> bool:
        """One attempt of a step. False: handed back. Sets `fault` when the flow must be undone."""
        run, started = self._new_run(step), time.monotonic()
        try:
            self._check_may_go_on()
            await self._attempt(step, run)
            await self.rt.db.write(self._pass, step, run, started)
        except (LeaseLost, DatabaseUnavailable):
            raise  # not the step's fault: the flow goes on from its journal, elsewhere or later
        except _Stopped as stopped:
            await self._give_up(step, stopped.fault, started)
            return True
        except Exception as error:  # every failure of a step is its flow's business
            return await self._failed(step, error, started)
        self.step, self.attempt = self.step + 1, 0
        return True

    def _check_may_go_on(self) -> None:
        if self.cancelled.is_set():
            raise _Stopped(CANCELLED)
        if self._seconds_left() <= 0:
            raise _Stopped(TOO_LATE)

    def _seconds_left(self) -> float:
        return (self.row.deadline_at - self.rt.clock.now()).total_seconds()

    async def _attempt(self, step: Step, run: Run[Any]) -> None:
        """Run the step until it ends, or its time, or the flow's, or somebody cancels."""
        left_s = self._seconds_left()
        work = asyncio.ensure_future(step.do(run))
        stop = asyncio.ensure_future(self.cancelled.wait())
        try:
            await asyncio.wait({work, stop}, timeout=min(step.timeout_s, left_s), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                if stop.done():
                    raise _Stopped(CANCELLED)
                if left_s <= step.timeout_s:
                    raise _Stopped(TOO_LATE)
                raise TimeoutError(f"step {step.name} took more than {step.timeout_s:g} s")
            if work.cancelled():
                raise RuntimeError(f"step {step.name} cancelled itself")
            work.result()
        finally:
            stop.cancel()
            await self._end(step, work)

    async def _end(self, step: Step, work: asyncio.Future[None]) -> None:
        """Cancel what still runs, and wait until it has stopped; not for ever."""
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=STOP_GRACE_S)
        if not work.done():
            log.error("step %s of flow %s %s does not stop", step.name, self.row.name, self.row.id)
            work.add_done_callback(lambda late: None if late.cancelled() else late.exception())
        elif not work.cancelled():
            work.exception()  # looked at, so that nobody reports it as lost

    def _pass(self, tx: Tx, step: Step, run: Run[Any], started: float) -> None:
        """The step is done: its own writes, its journal line, and after the last step the end of the flow."""
        after = self.step + 1
        self._line(
            tx, step.name, "done", run.detail, started, at_attempt=self.attempt, step=after, data=self._encoded()
        )
        for write in run.writes:
            write(tx)
        if after == len(self.flow.steps):
            self._close(tx, DONE, "done")

    async def _failed(self, step: Step, error: Exception, started: float) -> bool:
        """Try again after a pause, if that may help, or have everything undone. False: handed back."""
        fault = _fault_of(error, step)
        retryable = isinstance(error, Retry | TimeoutError | ConnectionError) or fault.code == 503
        if not retryable or self.attempt + 1 >= step.attempts:
            if not isinstance(error, ServiceError | Retry | TimeoutError):
                log.error("step %s of %s failed", step.name, self.row.name, exc_info=error)
            await self._give_up(step, fault, started)
            return True
        pause_s = error.after_s if isinstance(error, Retry) else step.backoff_s * 2**self.attempt
        pause_s = min(pause_s, MAX_BACKOFF_S, max(self._seconds_left(), 0.0))
        return await self._again_in(pause_s, step, "retry", fault.text, started)

    async def _give_up(self, step: Step, fault: Fault, started: float) -> None:
        event, at_attempt = "cancelled" if fault.cancelled else "failed", self.attempt
        self.fault, self.attempt = fault, 0
        await self._write(
            step.name, event, fault.text, started, at_attempt=at_attempt, state=UNDOING, data=self._encoded(),
            fault=msgspec.json.encode(fault).decode(),
        )

    # -- back ----------------------------------------------------------------------------------------------------

    async def _unwind(self) -> None:
        """Undo from the step that failed back to the first. The failed one may have done half its work."""
        while self.step >= 0:
            step = self._current_step()
            while step.undo is not None:
                started = time.monotonic()
                error = await self._try_undo(step, step.undo, started)
                if error is None:
                    break
                if not await self._undo_again(step, error, started):
                    return
            self.step, self.attempt = self.step - 1, 0
        await self.rt.db.write(self._close, FAILED, "undone")

    async def _try_undo(self, step: Step, undo: StepFunction, started: float) -> Exception | None:
        """One attempt of an undo. Returns what stopped it, if anything did."""
        run = self._new_run(step)
        try:
            async with asyncio.timeout(step.undo_timeout_s):
                await undo(run)
            await self.rt.db.write(self._pass_undo, step, run, started)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as error:  # an undo must go on being tried, whatever stopped it
            log.warning("undo of %s in %s failed (%d): %r", step.name, self.row.name, self.attempt + 1, error)
            return error
        return None

    async def _undo_again(self, step: Step, error: Exception, started: float) -> bool:
        """Wait for the next attempt. False: handed back."""
        text = _fault_of(error, step).text
        if self.attempt + 1 >= UNDO_ATTEMPTS and not self.settled:
            await self._settle(step, text, started)
            return False
        if self.settled:
            doublings = max(0, self.attempt - UNDO_ATTEMPTS)
            pause_s = min(MAX_BACKOFF_S * 2 ** min(doublings, MAX_DOUBLINGS), MAX_CLEAN_UP_PAUSE_S)
        else:
            pause_s = min(step.backoff_s * 2**self.attempt, MAX_BACKOFF_S)
        return await self._again_in(pause_s, step, "undo retry", text, started)

    def _pass_undo(self, tx: Tx, step: Step, run: Run[Any], started: float) -> None:
        self._line(
            tx, step.name, "undone", run.detail, started, at_attempt=self.attempt, step=self.step - 1,
            data=self._encoded(),
        )
        for write in run.writes:
            write(tx)

    async def _settle(self, step: Step, text: str, started: float) -> None:
        """The user has waited long enough: the resource's final state now, the rest of the clean-up behind it."""

        def settle(tx: Tx) -> None:
            self._line(
                tx, step.name, "settled", text, started, at_attempt=self.attempt, attempt=self.attempt + 1,
                data=self._encoded(), settled=True, run_again_at=tx.now() + timedelta(seconds=MAX_BACKOFF_S),
            )
            self.flow.on_failed(tx, self.data, self._final_fault())

        await self.rt.db.write(settle)
        self._wake_in(MAX_BACKOFF_S)

    # -- both ----------------------------------------------------------------------------------------------------

    def _close(self, tx: Tx, state: str, event: str) -> None:
        """The flow's end and what it makes of the resource, together."""
        detail = "" if state == DONE else self._final_fault().text
        self._line(tx, "end", event, detail, time.monotonic(), state=state)
        if state == DONE and self.flow.on_done is not None:
            self.flow.on_done(tx, self.data)
        elif state == FAILED and not self.settled:
            self.flow.on_failed(tx, self.data, self._final_fault())

    async def _again_in(self, pause_s: float, step: Step, event: str, text: str, started: float) -> bool:
        """Write down that another attempt comes, and wait for it here; a long wait happens outside. False: it does."""
        at_attempt, self.attempt = self.attempt, self.attempt + 1
        here = pause_s < HAND_BACK_FROM_S
        await self._write(
            step.name, event, text, started, at_attempt=at_attempt, attempt=self.attempt, data=self._encoded(),
            run_again_at=None if here else self.rt.clock.now() + timedelta(seconds=pause_s),
        )
        if here:
            await self._pause(pause_s)
        else:
            self._wake_in(pause_s)
        return here

    async def _pause(self, seconds: float) -> None:
        if self.fault is not None:  # undoing already: a cancel is no reason to hurry
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.cancelled.wait()

    def _current_step(self) -> Step:
        return self.flow.steps[max(0, min(self.step, len(self.flow.steps) - 1))]

    def _new_run(self, step: Step) -> Run[Any]:
        context = msgspec.structs.replace(self.row.context, cause=hops.step_id(self.row.id, step.name))
        ctx.enter(context)
        return Run(
            rt=self.rt, flow_id=self.row.id, resource_id=self.row.resource_id, context=context, data=self.data,
            attempt=self.attempt, guard=lambda tx: self.store.check(tx, self.row.id, self.row.lease),
        )

    def _final_fault(self) -> Fault:
        return self.fault or Fault(500, "InternalError", "The operation failed.")

    def _encoded(self) -> str:
        return msgspec.json.encode(self.data).decode()

    def _line(self, tx: Tx, at_step: str, event: str, detail: str, started: float, **changes: Any) -> None:
        self.store.write_progress(
            tx, self.row.id, lease=self.row.lease, host=self.rt.host, at_step=at_step, event=event, detail=detail,
            duration_ms=round((time.monotonic() - started) * 1000), **changes,
        )

    async def _write(self, at_step: str, event: str, detail: str, started: float, **changes: Any) -> None:
        await self.rt.db.write(self._line, at_step, event, detail, started, **changes)


def _fault_of(error: BaseException, step: Step) -> Fault:
    if isinstance(error, ServiceError):
        return Fault(error.code, error.type, error.text, step.name, error.detail or "")
    if isinstance(error, TimeoutError):
        return Fault(504, "Timeout", str(error) or f"{step.name} did not answer in time.", step.name)
    if isinstance(error, Retry):
        return Fault(503, "NotReady", str(error), step.name)
    return Fault(500, "InternalError", "An unexpected error stopped the operation.", step.name, repr(error))
