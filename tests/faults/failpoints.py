"""Runs `headworks` with a failpoint in it: a function at whose n-th call the process kills itself.

The product knows nothing of this: functions are wrapped from outside, by name, before the command
begins. A *nursery* is a process that has imported everything and forks a child for each command:
a gateway then starts in a tenth of the time, and dies no less really.

    python -m tests.faults.failpoints                     a nursery; orders come in on stdin
"""

import contextlib
import functools
import importlib
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

When = Literal["before", "after"]
Action = Literal["kill", "raise"]


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A place in the product, and what happens there.

    Attributes:
        where: `module:function` or `module:Class.method`.
        when: As it is called, or as it returns.
        hit: At which call, from 1.
        action: Kill the process, or raise an error that says `secret`.
        during: What the process is put through so that it gets there.
    """

    where: str
    when: When = "before"
    hit: int = 1
    action: Action = "kill"
    during: Literal["traffic", "start", "stop", "reload"] = "traffic"
    secret: str = ""

    @override
    def __str__(self) -> str:
        return f"{self.when} {self.where.partition(':')[2]} #{self.hit}"


@dataclass(frozen=True, slots=True)
class Order:
    """One command for a nursery.

    Attributes:
        errors: A file for standard error; "" is where standard output goes.
        reached: A file that is made when the failpoint strikes.
        gauges_tasks: Whether /metrics also shows how many tasks the loop has.
    """

    words: list[str]
    folder: str
    out: str
    errors: str
    reached: str
    environ: dict[str, str] = field(default_factory=dict[str, str])
    failpoint: Failpoint | None = None
    gauges_tasks: bool = False

    def encode(self) -> bytes:
        """Return the order as a line."""
        return json.dumps(asdict(self)).encode() + b"\n"


def decode(line: str) -> Order:
    """Return the order that a line holds."""
    fields: dict[str, Any] = json.loads(line)
    point = fields.pop("failpoint")
    return Order(**fields, failpoint=None if point is None else Failpoint(**point))


def install(point: Failpoint, reached: Path) -> None:
    """Wrap the function that the failpoint names; raise if there is none."""
    module, _, path = point.where.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, wrapped(inspect.getattr_static(owner, name), point, reached))


def wrapped(function: Any, point: Failpoint, reached: Path) -> Callable[..., Any]:
    """Return the function with the failpoint around it."""
    assert inspect.isfunction(function), point
    assert not inspect.isasyncgenfunction(function), point
    count = 0

    def strike(when: When) -> None:
        nonlocal count
        if when != point.when:
            return
        count += 1
        if count == point.hit:
            reached.write_text(str(point))
            if point.action == "raise":
                raise RuntimeError(f"the failpoint says {point.secret}")
            os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **named: Any) -> Any:
            strike("before")
            result = await function(*args, **named)
            strike("after")
            return result

        return coroutine

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        strike("before")
        result = function(*args, **named)
        strike("after")
        return result

    return call


def gauge_tasks() -> None:
    """Let every gateway of this process show its tasks at /metrics."""
    import asyncio

    station = importlib.import_module("headworks.gateway.station")
    show = station.show_state

    def show_more(assembly: Any) -> None:
        show(assembly)
        assembly.metrics.gauge(
            "headworks_tasks", "Tasks of the loop.", lambda: len(asyncio.all_tasks())
        )

    vars(station)["show_state"] = show_more


def _warm_up() -> None:
    """Import what a gateway needs, and load the vocabulary that broken answers are counted with."""
    for name in ("cli", "gateway.station", "config.loading", "config.watch", "stores.verify"):
        importlib.import_module(f"headworks.{name}")
    importlib.import_module("uvloop")
    from headworks.cli import app

    with contextlib.redirect_stdout(None), contextlib.suppress(SystemExit):
        app(["models", "list"])
    from headworks.tokenizer import Tokenizer

    Tokenizer().count("warm", "o200k_base")


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that comes about (Linux)."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _run(order: Order) -> None:
    """Become the command."""
    _die_with_parent()
    os.setsid()
    for number, path in ((1, order.out), (2, order.errors or order.out)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(order.folder)
    os.environ.update(order.environ)
    if order.failpoint is not None:
        install(order.failpoint, Path(order.reached))
    if order.gauges_tasks:
        gauge_tasks()
    sys.argv = ["headworks", *order.words]
    from headworks.cli import main

    main()


def _child(order: Order) -> None:
    code = 70
    try:
        _run(order)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever ends a child is told by its traceback
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Carry out orders, one at a time, until stdin ends; answer each with a pid, then its end."""
    _die_with_parent()
    _warm_up()
    for line in sys.stdin:
        order = decode(line)
        pid = os.fork()
        if pid == 0:
            _child(order)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
