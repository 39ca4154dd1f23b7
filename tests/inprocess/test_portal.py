"""The promises of the background thread."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from queue import SimpleQueue

import pytest

from headworks.inprocess.portal import Portal, PortalClosed, PortalForked, PortalReentered


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()


async def answer(value=42):
    return value


def test_a_coroutine_runs_in_another_thread(portal):
    """A program without a loop gets the result of a coroutine."""

    async def where() -> int:
        return threading.get_ident()

    assert portal.call(where()) != threading.get_ident()


def test_an_error_is_the_callers(portal):
    """What a coroutine raises is raised where somebody waits for it."""

    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        portal.call(fail())


def test_nothing_runs_before_the_first_use():
    """Preparing a portal starts no thread, and closing it then is nothing."""
    before = threading.active_count()
    portal = Portal()

    portal.close()

    assert threading.active_count() == before
    with pytest.raises(PortalClosed):
        portal.start()


def test_close_waits_for_what_is_running(portal):
    """Work in flight finishes before the loop ends."""
    done = threading.Event()

    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        done.set()

    portal.spawn(work())
    portal.close()

    assert done.is_set()
    assert portal.in_flight == 0


def test_who_hears_of_an_end_finds_it_over(portal):
    """Whoever is told that a coroutine has ended sees that it is not in flight any more."""
    ends = SimpleQueue[tuple[int, int]]()

    for number in range(200):
        portal.spawn(answer(), lambda task: ends.put((task.result(), portal.in_flight)))
        assert ends.get(timeout=5) == (42, 0), number


def test_close_cancels_what_does_not_end():
    """A coroutine that would wait for ever is cancelled when its time to finish is over."""
    order = list[str]()

    async def closing() -> None:
        order.append("closed")

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            order.append("cancelled")

    portal = Portal(closing)
    portal.spawn(work())
    portal.close(drain=0)
    portal.close()

    assert order == ["cancelled", "closed"]


def test_an_error_while_closing_is_told():
    """Whoever closes hears that closing went wrong; the thread has ended all the same."""

    async def closing() -> None:
        raise OSError("disk full")

    before = threading.enumerate()
    portal = Portal(closing)
    portal.start()

    with pytest.raises(OSError, match="disk full"):
        portal.close()
    assert set(threading.enumerate()) <= set(before)


def test_a_closed_portal_says_so(portal):
    """After close, every use names the reason; nothing is left waiting."""
    portal.start()
    portal.close()

    with pytest.raises(PortalClosed, match="was closed"):
        portal.call(answer())
    with pytest.raises(PortalClosed):
        portal.spawn(answer())
    portal.call_soon(lambda: None)


def test_waiting_for_oneself_is_refused(portal):
    """A waiting call from inside the engine's own thread fails at once instead of for ever."""

    async def inner() -> None:
        portal.call(answer())

    with pytest.raises(PortalReentered):
        portal.call(inner())


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_wait_cancels_the_coroutine(portal):
    """Ctrl-C while waiting ends the work too, not only the wait."""
    cancelled = threading.Event()
    main = threading.get_ident()

    async def work() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    with pytest.raises(KeyboardInterrupt):
        portal.call(work())
    assert cancelled.wait(5)


def test_a_forked_child_is_told_to_open_its_own(portal):
    """A child process cannot use the parent's thread, and hears so instead of hanging."""
    portal.start()
    child = _fork(portal)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert portal.call(answer()) == 42


def _fork(portal: Portal) -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking with threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            portal.call_soon(lambda: None)
            portal.close()
            portal.call(answer())
        except PortalForked:
            status = 7
        finally:
            os._exit(status)
    return child


def test_a_program_that_forgets_to_close_still_settles():
    """At the interpreter's end, the exit hook closes; the program ends by itself."""
    program = textwrap.dedent("""
        from headworks.inprocess.portal import Portal

        async def closing():
            print("settled", flush=True)

        portal = Portal(closing)
        portal.start()
    """)

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "settled\n", "")


def test_a_spawned_coroutine_sees_its_callers_context(portal):
    """Context variables (a trace, say) cross into the engine's thread."""
    from contextvars import ContextVar

    var: ContextVar[str] = ContextVar("var", default="")
    seen = list[str]()
    done = threading.Event()

    async def look() -> None:
        seen.append(var.get())
        done.set()

    token = var.set("trace-1")
    portal.spawn(look())
    var.reset(token)

    assert done.wait(5)
    assert seen == ["trace-1"]
