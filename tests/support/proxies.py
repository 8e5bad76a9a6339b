"""Real proxies in front of a service: nginx and Caddy, where they are installed."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import free_port

PATH = "/kindred"
"""The path under which the proxies serve."""
NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream kindred {{
        server {upstream};
        keepalive 4;
    }}
    server {{
        listen 127.0.0.1:{port};
        location /kindred/ {{
            proxy_pass http://kindred{removes};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Prefix {told};
        }}
    }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    {handle} /kindred/* {{
        reverse_proxy {upstream} {{
            header_up X-Forwarded-Prefix {told}
        }}
    }}
}}
"""
COMMANDS = {
    "nginx": (NGINX, ["nginx", "-p", "{folder}", "-c"]),
    "caddy": (CADDY, ["caddy", "run", "--adapter", "caddyfile", "--config"]),
}
PROXIES = tuple(COMMANDS)


@contextmanager
def proxy(
    name: str, upstream: str, folder: Path, *, removes: bool = True, told: bool = False
) -> Iterator[str]:
    """Run a proxy that serves the upstream under `PATH`; yield its URL there.

    It removes the path or leaves it, and tells the upstream the path or not.
    """
    if shutil.which(name) is None:
        pytest.skip(f"needs Debian's {name}")
    template, command = COMMANDS[name]
    port, file = free_port(), folder / "config"
    file.write_text(
        template.format(
            folder=folder,
            port=port,
            upstream=upstream,
            removes="/" if removes else "",
            handle="handle_path" if removes else "handle",
            told=PATH if told else '""',
        )
    )
    arguments = [part.format(folder=folder) for part in command]
    process = subprocess.Popen(
        [*arguments, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(1200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the proxy ended"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}{PATH}"
    finally:
        process.terminate()
        process.wait(60)
