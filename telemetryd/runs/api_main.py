"""The process that asks W&B about artifacts and sweeps for clients: `python -m telemetryd.runs.api_main --state DIR
--requests-fd N --responses-fd N --cache-max-bytes N`.

A process of its own, so that wandb may hang or die here without touching reception. Each question is answered on a
thread; a download goes on by itself, and is asked about again and again. It ends, with its wandb-core, when the daemon
closes the pipe, and when wandb-core dies: wandb is of no use in it then.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from telemetryd.errors import ApiKeyError
from telemetryd.inbox.content import DOWNLOADS_NAME
from telemetryd.runs import api_wire, authorities, predecessor, wandb_settings
from telemetryd.runs.artifact_info import describe
from telemetryd.runs.download_cache import Download, DownloadCache, key_of
from telemetryd.runs.errors import ServerError
from telemetryd.runs.predecessor import RunLock
from telemetryd.runs.run_files import RunFiles
from telemetryd.runs.sweeps import SweepGoneError, Sweeps
from telemetryd.runs.wandb_server import Server
from telemetryd.settings import api_key

log = logging.getLogger("telemetryd.runs.api_main")

_READ_BYTES = 1 << 16
_THREADS = 8


class RefusedError(Exception):
    """W&B, or the want of a key, stands against it; the client is told."""


class Api:
    """The questions, by `op`. Each answers what the client gets, and raises what it is to be told."""

    def __init__(self, cache: DownloadCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._downloads: dict[tuple[str, str, str, bool], Download] = {}
        self._key = ""
        self._files = RunFiles()
        self._ops: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "artifact": self._artifact,
            "versions": self._versions,
            "fetch": self._fetch,
            "update": self._update,
            "link": self._link,
            "unlink": self._unlink,
            "delete": self._delete,
            "run_file": self._run_file,
            **Sweeps(self._server).ops,
        }

    def answer(self, args: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question. Never raises."""
        import wandb

        op = self._ops.get(str(args.get("op")))
        if op is None:
            return {"error": f"the daemon knows no question {str(args.get('op'))[:40]!r}: update it", "kind": "refused"}
        try:
            return op(args)
        except wandb.errors.CommError as error:
            is_value = isinstance(getattr(error, "exc", None), ValueError)
            return {"error": str(error), "kind": "value" if is_value else "refused"}
        except ValueError as error:
            return {"error": str(error), "kind": "value"}
        except SweepGoneError as error:
            return {"error": str(error), "kind": "gone"}
        except (ServerError, RefusedError, ApiKeyError) as error:
            return {"error": str(error), "kind": "refused"}
        except Exception as error:
            log.exception("question_failed op=%s", args.get("op"))
            return {"error": f"{type(error).__name__}: {error}", "kind": "refused"}

    def _found_key(self) -> api_key.ApiKey:
        found = api_key.find(wandb_settings.server_url(os.environ), {**os.environ, "WANDB_API_KEY": self._given_key})
        if found is None:
            raise RefusedError("the daemon has no W&B API key: give it one with `telemetryd login`")
        return found

    def _server(self) -> Server:
        key = self._found_key()
        return Server(wandb_settings.server_url(os.environ), key.value, key.source)

    def _wandb(self, args: dict[str, Any]) -> Any:
        import wandb

        found = self._found_key()
        os.environ["WANDB_API_KEY"] = found.value
        overrides = {name: str(args[name]) for name in ("entity", "project") if args.get(name)}
        return wandb.Api(overrides=overrides, api_key=found.value)

    _given_key = os.environ.get("WANDB_API_KEY", "")

    def _find(self, args: dict[str, Any]) -> Any:
        return self._wandb(args).artifact(str(args["name"]), args.get("type"))

    def _artifact(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"info": describe(self._find(args))}

    def _versions(self, args: dict[str, Any]) -> dict[str, Any]:
        found = self._wandb(args).artifacts(str(args["type"]), str(args["name"]))
        return {"infos": [describe(artifact) for artifact in found]}

    def _update(self, args: dict[str, Any]) -> dict[str, Any]:
        from datetime import timedelta

        import wandb

        artifact = self._find(args)
        artifact.aliases, artifact.tags = list(args["aliases"]), list(args["tags"])
        artifact.description, artifact.metadata = args.get("description"), dict(args["metadata"])
        ttl_s = args.get("ttl_s")
        if ttl_s is not None:
            artifact.ttl = wandb.ArtifactTTL.INHERIT if ttl_s < 0 else timedelta(seconds=ttl_s) if ttl_s else None
        artifact.save()
        return {"info": describe(artifact)}

    def _link(self, args: dict[str, Any]) -> dict[str, Any]:
        linked = self._find(args).link(str(args["target"]), args.get("aliases"))
        return {"info": describe(linked)}

    def _unlink(self, args: dict[str, Any]) -> dict[str, Any]:
        self._find(args).unlink()
        return {}

    def _delete(self, args: dict[str, Any]) -> dict[str, Any]:
        self._find(args).delete(delete_aliases=bool(args.get("delete_aliases")))
        return {}

    def _run_file(self, args: dict[str, Any]) -> dict[str, Any]:
        import wandb

        try:
            return self._files.piece(args, lambda: self._wandb(args).run(str(args["path"])))
        except wandb.errors.CommError as error:  # told as what it is, whatever caused it
            raise RefusedError(str(error)) from error

    # Downloads

    def _fetch(self, args: dict[str, Any]) -> dict[str, Any]:
        """Begin a download, or say how the one stands that was begun. An end is told once, and then forgotten."""
        only, prefix = args.get("only"), args.get("prefix")
        question = (str(args["name"]), str(only or ""), str(prefix or ""), bool(args.get("files")))
        with self._lock:
            running = self._downloads.get(question)
        if running is None:
            artifact = self._find({**args, "type": None})
            key = key_of(artifact)
            running = Download(key, self._cache.folder(key))
            with self._lock:
                running = self._downloads.setdefault(question, running)
            thread = threading.Thread(
                target=self._cache.fill,
                args=(artifact, running, lambda entry: _is_wanted(entry.path, only, prefix)),
                kwargs={"files": question[3]},
                name="fill",
                daemon=True,
            )
            thread.start()
            thread.join(0.5)  # what is in the cache is ready at once
        if running.state != "running":
            with self._lock:
                self._downloads.pop(question, None)
        return running.answer()


def _is_wanted(path: str, only: str | None, prefix: str | None) -> bool:
    return (only is None or path == only) and (prefix is None or path.startswith(prefix))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="telemetryd.runs.api_main", description="Asks W&B about artifacts.")
    parser.add_argument("--state", type=Path, required=True, help="the daemon's state folder")
    parser.add_argument("--requests-fd", type=int, required=True, help="pipe to read requests from")
    parser.add_argument("--responses-fd", type=int, required=True, help="pipe to write responses to")
    parser.add_argument("--cache-max-bytes", type=int, required=True, help="what downloads may take on disk")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer until the pipe closes; ends the process."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for fd in (options.requests_fd, options.responses_fd):
        os.set_inheritable(fd, False)
    temp_dir = tempfile.gettempdir()  # the daemon made it for this process
    lock = RunLock(options.state / "workers" / "api.lock")  # a predecessor, and what it left, goes first
    code = 1
    try:
        wandb_settings.clean_environment(os.environ)
        wandb_settings.keep_house(os.environ, options.state, "api")
        authorities.share(os.environ, options.state / "wandb")
        os.environ["WANDB_DIR"] = str(options.state / "wandb")
        os.environ["WANDB_SILENT"] = "true"
        Path(os.environ["WANDB_DIR"]).mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.take(Path(temp_dir))
        _serve(options)
        code = 0
    finally:
        for pid in predecessor.cores_of(os.getpid()):
            predecessor.kill(pid)
        shutil.rmtree(temp_dir, ignore_errors=True)
        logging.shutdown()
        os._exit(code)


class _Core:
    """wandb-core, without which wandb is of no use in this process: another one has to ask then."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def is_lost(self) -> bool:
        """Whether it was there, and is not any more."""
        if not self._pids:
            self._pids = predecessor.cores_of(os.getpid())
            return False
        return not any(predecessor.is_core(pid) for pid in self._pids)

    def leave(self) -> None:
        """End the process: the daemon tells whoever waits to ask again, and starts another for that."""
        log.error("core_lost pid=%d", os.getpid())
        logging.shutdown()
        os._exit(1)


def _serve(options: argparse.Namespace) -> None:
    api = Api(DownloadCache(options.state / DOWNLOADS_NAME, options.cache_max_bytes))
    frames = api_wire.Frames()
    core = _Core()
    writing = threading.Lock()

    def work(request: api_wire.Request) -> None:
        if core.is_lost():
            core.leave()
        result = api.answer(request.args)
        if "error" in result and core.is_lost():
            core.leave()  # it is not W&B that refuses
        view = memoryview(api_wire.pack(api_wire.Response(request.id, result)))
        with writing:
            while view:
                view = view[os.write(options.responses_fd, view) :]

    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="question")
    while data := os.read(options.requests_fd, _READ_BYTES):
        for request in frames.requests(data):
            pool.submit(work, request)


if __name__ == "__main__":
    main()
