"""Named network namespaces (as `ip netns` keeps them, under /run/netns) and work done inside one.

Everything is relative to the namespaces this process itself runs in, so it works nested: a whole "host" may be a
network and mount namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from .command import CommandError, Completed, run

NAMESPACE_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000
LISTEN_BACKLOG = 128

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def list_namespaces() -> tuple[str, ...]:
    """Names of all named network namespaces."""
    try:
        return tuple(sorted(os.listdir(NAMESPACE_DIR)))
    except FileNotFoundError:
        return ()


async def add_namespace(name: str) -> None:
    """Make the namespace if it is not there yet, with its loopback up."""
    if not _is_mounted(name):
        # A file without a mounted namespace is left by a crash between the two; the name would be taken for ever.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NAMESPACE_DIR / name)
        await run(("ip", "netns", "add", name))
        await run(("ip", "-n", name, "link", "set", "lo", "up"))


async def delete_namespace(name: str) -> None:
    """Remove the namespace; already gone is fine."""
    try:
        await run(("ip", "netns", "delete", name))
    except CommandError:
        if name in list_namespaces():
            raise


def _is_mounted(name: str) -> bool:
    try:
        entry = os.stat(NAMESPACE_DIR / name)
        return entry.st_dev != os.stat(NAMESPACE_DIR).st_dev
    except FileNotFoundError:
        return False


def namespace_inode(name: str) -> int | None:
    """What tells this namespace from an earlier one of the same name; None if it is not there."""
    return os.stat(NAMESPACE_DIR / name).st_ino if _is_mounted(name) else None


def inside(namespace: str | None, argv: Sequence[str]) -> tuple[str, ...]:
    """The command line that runs `argv` in the namespace (None: where we are)."""
    if namespace is None:
        return tuple(argv)
    return ("nsenter", f"--net={NAMESPACE_DIR / namespace}", *argv)


async def run_inside(
    namespace: str | None,
    argv: Sequence[str],
    *,
    timeout_s: float = 20.0,
    input: bytes | str | None = None,
    ok_codes: tuple[int, ...] = (0,),
) -> Completed:
    """`command.run` in a namespace."""
    return await run(inside(namespace, argv), timeout_s=timeout_s, input=input, ok_codes=ok_codes)


async def call_inside(namespace: str | None, function: Callable[[], T]) -> T:
    """Call a short, blocking function with the namespace as its network.

    It runs in a thread of its own that ends afterwards: the thread's namespace is changed for good.
    Raises OSError if the namespace is not there, and whatever the function raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        try:
            if namespace is not None:
                enter(namespace)
            value = function()
        except BaseException as error:  # handed to the task that waits
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, value, None)

    threading.Thread(target=work, name=f"netns-{namespace}", daemon=True).start()
    return await done


def enter(namespace: str) -> None:
    """Move the calling thread into a network namespace, for good. Raises OSError."""
    descriptor = os.open(NAMESPACE_DIR / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter network namespace {namespace}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


async def open_listener(namespace: str | None, address: str, port: int) -> socket.socket:
    """A non-blocking TCP listening socket that lives in the namespace, usable from any event loop."""

    def make() -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(LISTEN_BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    return await call_inside(namespace, make)
