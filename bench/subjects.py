"""What is measured: the mock upstream itself, nginx in front of it, headworks in front of it."""

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from process import GATEWAY_CPU, LOAD_CPU, free_port, running, wait_for_port

HERE = Path(__file__).resolve().parent
KEY = "bench-key-0123456789abcdef"
MODEL = "gpt-5.4-mini"
EVENTS = 103  # 100 of content, finish_reason, usage, [DONE]

_CONFIGURATION = """\
server: {{listen: "127.0.0.1:{port}", admin: "127.0.0.1:{admin}"}}
store: sqlite:{folder}/headworks.db
upstreams:
  mock:
    base_url: http://127.0.0.1:{mock_port}/v1
    credentials: [{{name: main, api_key: upstream-credential}}]
models:
  {model}: {{routes: [mock/{model}]}}
keys:
  - name: bench
    secret: {key}
    project: bench
    models: [{model}]
    limits: {{rpm: 1000000, parallel: 10000}}
"""


@dataclass(frozen=True)
class Subject:
    """A running thing to measure.

    Attributes:
        pid: Root of the process tree whose CPU counts; 0 for the mock upstream itself.
        ready: Seconds from the start of the process to its first good answer.
    """

    name: str
    version: str
    port: int
    pid: int = 0
    ready: float = 0.0


def body(behaviour: str = "", *, size: int = 1024) -> bytes:
    """Return a chat completion request of `size` bytes; `behaviour` is mockllm's, as "s100-p20"."""
    fields: dict[str, object] = {"model": MODEL}
    if behaviour:
        fields["metadata"] = {"bench": f"mock-{behaviour}"}
    if behaviour.startswith("s"):
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    fields |= {"temperature": 0.2, "messages": [{"role": "user", "content": ""}]}
    text = (
        "The customer wrote about an order, which was shipped on Monday and has not arrived. " * 300
    )
    missing = size - len(json.dumps(fields))
    fields["messages"] = [{"role": "user", "content": text[:missing]}]
    return json.dumps(fields).encode()


def post(port: int, content: bytes, key: str = KEY) -> tuple[int, bytes]:
    """Make one call; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def hang_up(port: int) -> None:
    """Begin a stream and leave it, so that what it used must be counted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", body("s100-p20"), headers)
        connection.getresponse().read(300)


def is_ready(admin: int) -> bool:
    """Say whether `/readyz` answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    return False


def check(subject: Subject) -> None:
    """Refuse to time a subject that does not answer correctly: its speed would say nothing."""
    status, answer = post(subject.port, body())
    if status != http.client.OK or b'"usage"' not in answer:
        raise SystemExit(f"{subject.name} answered a plain call with {status}: {answer[:300]!r}")
    status, answer = post(subject.port, body("s100-p0"))
    events = answer.count(b"data: ")
    if status != http.client.OK or events != EVENTS or not answer.endswith(b"data: [DONE]\n\n"):
        raise SystemExit(f"{subject.name}'s stream: {status}, {events} events, {answer[-300:]!r}")
    if subject.pid and post(subject.port, body(), "wrong-key-0123456789")[0] != 401:
        raise SystemExit(f"{subject.name} did not refuse a wrong key")


@contextlib.contextmanager
def direct(folder: Path) -> Iterator[Subject]:
    """Run the mock upstream, the subject that nothing can beat."""
    port = free_port(21100)
    with running([str(HERE / "tools/mockllm"), str(port)], LOAD_CPU, folder / "mockllm.log"):
        wait_for_port(port)
        yield Subject("direct", "", port)


@contextlib.contextmanager
def nginx(folder: Path, mock_port: int) -> Iterator[Subject]:
    """Run nginx with `proxy_pass`, a key check and a rate limit."""
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
    port = free_port(21200)
    template = Template((HERE / "nginx.conf.template").read_text(encoding="utf-8"))
    text = template.substitute(folder=folder, key=KEY, mock_port=mock_port, port=port)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = [binary, "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with running(command, GATEWAY_CPU, folder / "nginx.log") as process:
        wait_for_port(port)
        yield Subject("nginx", said.strip().rpartition("/")[2], port, process.pid)


@contextlib.contextmanager
def headworks(folder: Path, mock_port: int) -> Iterator[Subject]:
    """Run headworks with everything on: keys, limits, ledger, metrics."""
    port = free_port(21300)
    admin = free_port(port + 1)
    text = _CONFIGURATION.format(
        port=port, admin=admin, folder=folder, mock_port=mock_port, model=MODEL, key=KEY
    )
    (folder / "headworks.yaml").write_text(text, encoding="utf-8")
    binary = str(Path(sys.executable).parent / "headworks")
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    command = [binary, "serve", "--config", str(folder / "headworks.yaml")]
    log = folder / "headworks.log"
    started = time.perf_counter()
    with running(command, GATEWAY_CPU, log) as process:
        while not is_ready(admin):
            if process.poll() is not None or time.perf_counter() > started + 20:
                raise SystemExit(f"headworks did not become ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.002)
        ready = time.perf_counter() - started
        yield Subject("headworks", said.split()[-1], port, process.pid, ready)


def has_nginx() -> bool:
    """Say whether nginx is installed."""
    return shutil.which("nginx") is not None or Path("/usr/sbin/nginx").exists()


GATEWAYS: dict[str, Callable[[Path, int], contextlib.AbstractContextManager[Subject]]] = {
    "nginx": nginx,
    "headworks": headworks,
}
