"""The machine's samples by wandb's public way in: an OpenMetrics endpoint of this process that wandb-core scrapes.

For a wandb whose private way (wandb_private.publish_stats) is not there any more. wandb's own sampler is on then, since
it is what scrapes: at its own interval, with its own time. A key becomes `openmetrics.telemetryd.<name>.<number>`
there, `gpu.0.temp` by the name `gpu_0_temp`. On loopback, at a port that the system chose; numbers are all it tells.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from telemetryd.runs.limits import SAMPLES_SHOWN_FOR_S

ENDPOINT = "telemetryd"
_CLIENT_TIMEOUT_S = 5.0


class _Server(ThreadingHTTPServer):
    """A thread for each connection: Go's client may hold one open that it never uses."""

    daemon_threads = True
    block_on_close = False


class SamplesEndpoint:
    """Shows the newest value of each key, while it is not too old."""

    def __init__(self) -> None:
        """Listen. Raises OSError."""
        self._lock = threading.Lock()
        self._values: dict[str, tuple[float, int]] = {}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="samples", daemon=True)
        self._thread.start()

    @property
    def settings(self) -> dict[str, Any]:
        """What wandb must be told to look here."""
        return {"x_stats_open_metrics_endpoints": {ENDPOINT: f"http://127.0.0.1:{self._server.server_port}/metrics"}}

    def show(self, time_ns: int, values: Mapping[str, float]) -> None:
        """Renew values."""
        with self._lock:
            self._values |= {key: (value, time_ns) for key, value in values.items()}

    def text(self, now_ns: int) -> str:
        """The exposition of what is not too old."""
        oldest_ns = now_ns - int(SAMPLES_SHOWN_FOR_S * 1e9)
        with self._lock:
            self._values = {key: kept for key, kept in self._values.items() if kept[1] >= oldest_ns}
            shown = {metric_name(key): value for key, (value, _) in self._values.items() if math.isfinite(value)}
        return "".join(f"# TYPE {name} gauge\n{name} {value!r}\n" for name, value in shown.items())

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _CLIENT_TIMEOUT_S

            def do_GET(self) -> None:
                """Answer a scrape."""
                body = endpoint.text(time.time_ns()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: it comes every few seconds."""

        return Handler


def metric_name(key: str) -> str:
    """A key of the System panel as Prometheus lets a metric be called."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", key)
    return name if name[:1].isalpha() else f"_{name}"
