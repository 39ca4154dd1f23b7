"""Front proxies as users run them, set to let pass whatever they can, which tell what they read.

Each request that a proxy sends on carries `x-front`, a name that no caller knows, and
`x-front-line`, the request line as the proxy read it. So what the gateway sees without them, or
twice, or otherwise, was smuggled past the proxy.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.needed import program

NGINX = """\
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_header_timeout 1s; client_body_timeout 1s; lingering_timeout 1s; large_client_header_buffers 8 64k;
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    ignore_invalid_headers off; underscores_in_headers on; merge_slashes off; client_max_body_size 0;
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_request_buffering off; proxy_buffering off;
      proxy_next_upstream off; proxy_ignore_client_abort on;
      proxy_set_header X-Front "{mark}-$request_id"; proxy_set_header X-Client-Request-Id "{mark}-$request_id";
      proxy_set_header X-Front-Line "$request_method $request_uri";
    }}
  }}
}}
"""
HAPROXY = """\
global
  nbthread 1
  stats socket {folder}/admin
defaults
  mode http
  timeout connect 5s
  timeout client 1s
  timeout server 20s
  timeout http-request 1s
  timeout http-keep-alive 1s
  option accept-invalid-http-request
  option http-keep-alive
  http-reuse always
frontend callers
  bind 127.0.0.1:{port}
  unique-id-format {mark}-%{{+X}}o%ci_%cp_%rt_%pid
  http-request set-header X-Front %[unique-id]
  http-request set-header X-Client-Request-Id %[unique-id]
  http-request set-header X-Front-Line "%[method] %[pathq]"
  default_backend gateway
backend gateway
  server one 127.0.0.1:{gateway} maxconn 4
"""
_PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy"}
PROXIES = {
    "nginx": (NGINX, ("nginx", "-p", "{folder}", "-e", "{folder}/error.log", "-c", "{file}")),
    "haproxy": (HAPROXY, ("haproxy", "-db", "-f", "{file}")),
}
_TRIES = 200


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@asynccontextmanager
async def proxy(name: str, folder: Path, gateway: int, mark: str) -> AsyncGenerator[int]:
    """Run a proxy in front of a gateway's port; return its own port."""
    port = _free_port()
    text, words = PROXIES[name]
    file = folder / f"{name}.conf"
    file.write_text(text.format(folder=folder, port=port, gateway=gateway, mark=mark))
    program(words[0], _PACKAGES[name])
    log = (folder / f"{name}.log").open("wb")
    command = [word.format(folder=folder, file=file) for word in words]
    process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        await _answering(port, process)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        log.close()


async def _answering(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until a process listens on a port."""
    for _ in range(_TRIES):
        assert process.returncode is None, "the proxy did not start: see its log"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
        else:
            writer.transport.abort()
            return
    raise AssertionError("the proxy does not listen")
