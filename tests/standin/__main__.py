"""The stand-in as a process of its own: `python -m tests.standin --port 8080 --state-dir DIR --print-url`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from .server import Server


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 then, 1 when a port or directory cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description="A local stand-in for the W&B server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080, help="W&B's port; 0: any free one (default: 8080)")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control API (default: any free one)")
    parser.add_argument("--state-dir", type=Path, help="keep everything here (default: forget it at the end)")
    parser.add_argument("--entity", default="standin", help="the user's name (default: standin)")
    parser.add_argument("--api-key", action="append", help="accept this key only; may be repeated (default: any key)")
    parser.add_argument("--print-url", action="store_true", help="print the URL and the control URL once it listens")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s standin %(message)s", stream=sys.stderr)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = Server(host=options.host, port=options.port, control_port=options.control_port,
                        state_dir=options.state_dir, entity=options.entity)  # fmt: skip
    except OSError as error:
        print(f"standin: cannot start: {error}. Choose another --port, --host or --state-dir.", file=sys.stderr)
        return 1
    server.keys = options.api_key
    server.start()
    if options.print_url:
        print(f"{server.url} {server.control_url}", flush=True)
    ended.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
