"""wandb-core still takes a proxy by its settings, for servers on loopback, too, and tells it the URL's credential.

The limit on uploads (telemetryd/runs/upload_limit) rests on it. A failure here means: wandb has changed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import wandb
wandb.init(project="p", mode="online", settings=wandb.Settings(console="off", silent=True, init_timeout=20,
                                                                http_proxy=sys.argv[1], https_proxy=sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("https://127.0.0.1:1", b"CONNECT 127.0.0.1:1 HTTP/1.1"),
        ("http://127.0.0.1:1", b"POST http://127.0.0.1:1/graphql HTTP/1.1"),
    ],
)
def test_wandb_core_asks_the_proxy_of_its_settings_with_its_credential(tmp_path: Path, url: str, first: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        proxy = f"http://name:word@127.0.0.1:{listener.getsockname()[1]}"
        environ = os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0123456789" * 4, "WANDB_DIR": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, proxy],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection, _ = listener.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                    head += more
        finally:
            process.kill()
            process.wait()
    assert head.split(b"\r\n")[0] == first
    assert b"\r\nProxy-Authorization: Basic bmFtZTp3b3Jk\r\n" in head
