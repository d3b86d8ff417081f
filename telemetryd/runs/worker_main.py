"""The run worker's process: `python -m telemetryd.runs.worker_main --inbox PATH --run N --orders-fd N --reports-fd N`.

Invariants
* It never writes to the inbox, and holds the run's lock (predecessor.py) for its life.
* It ends by os._exit: wandb's exit hooks would finish the run, which only a Finish order may do. SIGINT is ignored (a
  terminal sends it to everybody) and SIGTERM is an order to stop within STOP_GRACE_S.
* When the order pipe closes it ends at once, wandb-core with it, and the run stays unfinished.
* Temporary files lie in a folder of its own, which it, or the next worker, removes.

Exit codes: 0 finished or stopped, 75 trouble (start again), 78 permanent trouble (start again when somebody acted, or
seldom), 70 a defect.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from telemetryd.errors import InboxError
from telemetryd.inbox.content import Places
from telemetryd.inbox.peers import is_ours
from telemetryd.inbox.reader import InboxReader
from telemetryd.runs import authorities, control, predecessor, rewinds, wandb_settings
from telemetryd.runs.delivery import Delivery
from telemetryd.runs.errors import PredecessorError, SinkError
from telemetryd.runs.kept import Kept
from telemetryd.runs.limits import STOP_GRACE_S
from telemetryd.runs.loss_watch import LossWatch
from telemetryd.runs.media.blobs import BlobStore
from telemetryd.runs.media.builder import MediaBuilder
from telemetryd.runs.media.kinds import KINDS
from telemetryd.runs.media.table_log import TableLog
from telemetryd.runs.notes import Notebook
from telemetryd.runs.pipes import Orders, Reports
from telemetryd.runs.predecessor import RunLock
from telemetryd.runs.process_facts import ProcessFacts
from telemetryd.runs.rows import Late
from telemetryd.runs.run_folder import run_folder
from telemetryd.runs.table_artifacts import TableArtifacts
from telemetryd.runs.worker import Worker

log = logging.getLogger("telemetryd.runs.worker_main")

UPLOAD_LINE_NAME = "upload-line"
"""In the state folder: what all workers of a daemon share of the limit on uploads."""

EXIT_OK, EXIT_DEFECT, EXIT_TROUBLE, EXIT_PERMANENT = 0, 70, 75, 78


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="telemetryd.runs.worker_main", description="Delivers one run to W&B.")
    parser.add_argument("--inbox", type=Path, required=True, help="the daemon's inbox.sqlite3")
    parser.add_argument("--run", type=int, required=True, help="the run's number in the inbox")
    parser.add_argument("--orders-fd", type=int, required=True, help="pipe to read orders from")
    parser.add_argument("--reports-fd", type=int, required=True, help="pipe to write reports to")
    parser.add_argument("--late", choices=("keep", "drop"), default="keep", help="what to do with late rows")
    parser.add_argument("--ranks", default="main", help="the policy for ranks where the client gives none")
    parser.add_argument("--sampled", action="store_true", help="the daemon samples the machine, wandb need not")
    parser.add_argument(
        "--trust-paths", action="store_true", help="over ipc: paths of this user and of root are followed"
    )
    parser.add_argument("--run-dirs", type=_folders, help="below which runs' folders may be, DIR:DIR; else anywhere")
    parser.add_argument("--spool", type=Path, help="the clients' spool, where the content of artifacts is staged")
    parser.add_argument("--losses", default="", help="metrics that stand for a loss: NAME:NAME, * matches anything")
    parser.add_argument("--kept-max-bytes", type=int, help="what offline runs may keep of artifacts; no cap without")
    parser.add_argument("--upload-max-bytes-per-s", type=int, help="how fast may be uploaded to W&B; no limit without")
    return parser.parse_args(arguments)


def _folders(text: str) -> list[Path]:
    return [Path(folder) for folder in text.split(":") if folder]


class Process:
    """What this process has to leave behind in order: wandb-core, its temporary folder, the lock."""

    def __init__(self, lock: RunLock) -> None:
        self.lock = lock
        self.temp_dir = Path(tempfile.mkdtemp(prefix="tdw-"))  # short: wandb-core binds a socket below it
        tempfile.tempdir = str(self.temp_dir)
        os.environ["TMPDIR"] = str(self.temp_dir)

    def leave(self, code: int, why: str) -> None:
        """End this process and its wandb-core now. Safe from any thread, and never returns."""
        try:
            log.info("leaving code=%d why=%r", code, why)
            for pid in predecessor.cores_of(os.getpid()):
                predecessor.kill(pid)
            shutil.rmtree(self.temp_dir, ignore_errors=True)
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _deliver(options: argparse.Namespace, process: Process, orders: Orders, reports: Reports) -> None:
    late: Late = options.late
    process.lock.take(process.temp_dir)
    with InboxReader(options.inbox) as reader:
        run = reader.run(options.run)
        hello = reader.newest_hello(options.run)
        notebook = Notebook(process.lock.path.with_suffix(".json"), run.created_ns, late, options.ranks)
        metadata = dict(run.spec.metadata)
        if hello is not None and hello.pid:
            metadata.setdefault("pid", hello.pid)
        run.spec.metadata = metadata
        wandb_settings.clean_environment(os.environ)
        wandb_settings.keep_house(os.environ, options.inbox.parent, str(options.run))
        wandb_settings.tune_core(os.environ)
        own_uid = os.geteuid()
        trust_paths = options.trust_paths and all(is_ours(uid, own_uid) for uid in reader.peers(options.run))
        if options.trust_paths and not trust_paths:
            log.warning("paths_not_followed reason=%r", "another user than the daemon's writes to the run")
            options.run_dirs = options.run_dirs or []
        authorities.share(os.environ, options.inbox.parent / "wandb")
        wandb_settings.take_place(metadata, trust_paths=trust_paths)
        own_runs = options.inbox.parent / "runs"
        run.spec.directory = str(run_folder(run.spec.directory, options.run_dirs, own_runs))
        if not trust_paths:
            run.spec.settings.pop("x_stats_disk_paths", None)

        from telemetryd.runs.wandb_sink import WandbSink  # after the environment is clean: wandb reads it on import

        blobs = BlobStore(process.lock.path.with_suffix(".blobs"))
        media = MediaBuilder(blobs, KINDS, TableLog(process.lock.path.with_suffix(".tables")))
        sink = WandbSink(
            run.spec,
            notebook,
            fallback_dir=own_runs,
            start_time_ns=hello.start_time_ns if hello is not None and hello.start_time_ns else run.created_ns,
            media=media,
            trust_paths=trust_paths,
            facts=ProcessFacts(process.lock.path.with_suffix(".facts"), reader, run, hello),
            on_stop=reports.stop_requested,
            sampled=options.sampled,
            tables=TableArtifacts(process.lock.path.with_suffix(".artifacts")),
            upload_limit=partial(_limit_uploads, options) if options.upload_max_bytes_per_s else None,
            alive=lambda: reports.send(control.ArtifactState("", "", "beat")),
        )
        notes = notebook.notes
        cursor, snapshot, at_rewind = rewinds.position(notebook, run.cursor, run.snapshot)
        delivery = Delivery(sink, cursor, snapshot, blobs, late=notes.late, rank_policy=notes.ranks,
                            losses=LossWatch(options.losses),
                            trusts=lambda session: is_ours(reader.peer_uid(session), own_uid))  # fmt: skip

        def settle_again() -> None:
            process.lock.hold_on(process.temp_dir)
            notebook.save()
            os.chdir(process.lock.path.parent)

        places = Places(options.spool, options.inbox.parent, options.kept_max_bytes)
        kept = Kept(Path(run.spec.directory) / "wandb" / "artifacts", run.spec.run_id, options.kept_max_bytes)
        Worker(reader, options.run, sink, delivery, notebook, orders, reports, places, kept, settle_again,
               at_rewind=at_rewind).run()  # fmt: skip


def _limit_uploads(options: argparse.Namespace) -> dict[str, Any]:
    """Start what holds the limit, for the rest of this process's life; wandb's settings for it. Raises OSError."""
    from telemetryd.runs.upload_limit.pace import Line
    from telemetryd.runs.upload_limit.proxy import UploadProxy

    line = Line(options.inbox.parent / UPLOAD_LINE_NAME, options.upload_max_bytes_per_s, time.monotonic_ns)
    host = urlsplit(wandb_settings.server_url(os.environ)).hostname or ""
    return UploadProxy(line, host, os.environ).settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the worker; ends the process."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    options.inbox = options.inbox.absolute()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for fd in (options.orders_fd, options.reports_fd):
        os.set_inheritable(fd, False)
    process = Process(RunLock(options.inbox.parent / "workers" / f"{options.run}.lock"))
    orders = Orders(options.orders_fd, lambda why: process.leave(EXIT_TROUBLE, why))
    reports = Reports(options.reports_fd)
    signal.signal(signal.SIGTERM, lambda number, frame: orders.put(control.Stop(STOP_GRACE_S)))
    try:
        _deliver(options, process, orders, reports)
        code, why = EXIT_OK, "done"
    except BrokenPipeError:
        code, why = EXIT_TROUBLE, "the supervisor is gone"
    except (SinkError, PredecessorError, InboxError, OSError) as error:
        code, why = _trouble(error, reports), str(error)
    except BaseException as error:
        log.exception("defect")
        _trouble(error, reports)
        code, why = EXIT_DEFECT, f"{type(error).__name__}: {error}"
    process.leave(code, why)


def _trouble(error: BaseException, reports: Reports) -> int:
    reason = error.reason if isinstance(error, SinkError) else type(error).__name__
    permanent = isinstance(error, SinkError) and error.permanent
    log.error("trouble reason=%s permanent=%s message=%r", reason, permanent, str(error))
    try:
        reports.send(control.Trouble(reason, str(error), permanent))
    except OSError as broken:
        log.error("reports_broken reason=%r", broken.strerror)
    return EXIT_PERMANENT if permanent else EXIT_TROUBLE


if __name__ == "__main__":
    main()
