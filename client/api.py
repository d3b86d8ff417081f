"""`init` and `finish`: the runs of this process, and which of them is `client.run`.

`init` never waits for a daemon: it makes the run's id, opens the session's journal and returns. What the caller got
wrong raises before anything is opened.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from client import guard, job, keys, places, process_info, process_wide
from client import settings as settings_module
from client.config import Config, config_of_files, defaults, in_notebook, parse_config, read_config_file
from client.errors import Error, MissingFeatureError, UnsupportedError, UsageError
from client.exit_hooks import hooks
from client.keys import KeyFileError
from client.limits import CONFIG_IN_HELLO_BYTES, EXIT_TIMEOUT_S
from client.policy import Policy
from client.preinit import PreInitObject, before_init
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import Rewind
from client.ranks import Place
from client.report import FinishReport
from client.run import Run
from client.session import Session
from client.settings import RunSettings, SettingError, Settings
from client.stream import Stream
from client.sweeps import stop
from client.tokens import token_hex
from client.values import encode_row_data
from client.version import VERSION

log = logging.getLogger("telemetryd.client")

RUN_METHODS = ["log", "define_metric", "save", "use_artifact", "log_artifact", "log_model", "use_model", "link_model"]
RUN_METHODS += ["watch", "unwatch", "mark_preempting", "alert", "pin_config_keys"]
"""What `client` offers as functions of its own while a run is active."""

_active: list[Run] = []
_lock = threading.Lock()


def _open_session(hello: Hello, policy: Policy) -> Stream:
    endpoint = places.endpoint()
    problem = places.endpoint_problem(endpoint)
    if problem is not None:
        raise UsageError(problem)
    try:
        keys.find(endpoint)
    except KeyFileError as error:
        raise UsageError(str(error)) from None
    # The facts of a job's run are its main rank's.
    hello.facts = hello.run is not None and not hello.rank and not hello.run.settings.get("x_disable_meta")
    session = Session.open(hello, endpoint=endpoint, spool_dir=places.spool_dir(), policy=policy)
    if hello.run is not None and hello.facts:
        session.gather_facts(hello.run)
    return session


open_stream: Callable[[Hello, Policy], Stream] = _open_session
"""Opens the session of a new run; client.testing puts a recording one here."""


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: dict[str, Any] | str | None = None,
    config_exclude_keys: list[str] | None = None,
    config_include_keys: list[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: Literal["online", "offline", "disabled", "shared"] | None = None,
    force: bool | None = None,
    reinit: bool | Literal["default", "return_previous", "finish_previous", "create_new"] | None = None,
    resume: bool | Literal["allow", "never", "must", "auto"] | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Settings | dict[str, Any] | None = None,
    anonymous: object = None,
) -> Run:
    """Start a run, as `wandb.init`, and make it `client.run`. Returns at once, with or without a daemon.

    Arguments are wandb's. Not supported yet, and refused with an UnsupportedError: `fork_from`, `sync_tensorboard`,
    `monitor_gym`, `mode="shared"`. Without effect: `force` (the daemon holds the key) and, as in wandb,
    `allow_val_change` and `anonymous`. A single str as `tags` is one tag. With `resume_from` the first row has the step
    behind the one it names; where the run cannot be rewound, what was logged before stays and such rows are late.

    Raises UsageError (and its kinds ConfigError, SettingError, UnsupportedError) for wrong arguments, TypeError for a
    config that is none; Error for resume="must" while another run is active.
    """
    for argument, value in (("sync_tensorboard", sync_tensorboard or tensorboard), ("monitor_gym", monitor_gym)):
        if value:
            raise UnsupportedError(f"init({argument}=True) is not supported yet: log the numbers with run.log()")
    arguments = {
        "entity": entity,
        "project": project,
        "root_dir": None if dir is None else os.fspath(dir),
        "run_id": id,
        "run_name": name,
        "run_notes": notes,
        "run_tags": tags,
        "run_group": group,
        "run_job_type": job_type,
        "mode": mode,
        "reinit": reinit,
        "resume": resume,
        "resume_from": resume_from,
        "fork_from": fork_from,
        "save_code": save_code,
    }
    resolved = settings_module.resolve(arguments, settings, process_wide=process_wide.given_to_setup())
    given = {
        **defaults(),
        **parse_config(config or {}, config_exclude_keys, config_include_keys),
        **config_of_files(process_wide.config_paths()),  # over init's own, as in wandb
    }
    swept = read_config_file(Path(resolved.sweep_param_path)) if resolved.sweep_param_path else {}
    if resolved.mode == "disabled":
        return _start_disabled(resolved, {**given, **swept})
    previous = _previous(resolved)
    return previous if previous is not None else _start(resolved, given, swept)


def finish(
    exit_code: int | None = None,
    quiet: bool | None = None,
    *,
    timeout: float | str | None = None,
    timeout_s: float | None = None,
) -> FinishReport | None:
    """Finish `client.run`, if there is one; see Run.finish."""
    run = _client().run
    if run is None:
        return None
    return cast("FinishReport", run.finish(exit_code, quiet, timeout=timeout, timeout_s=timeout_s))


def teardown(exit_code: int | None = None) -> None:
    """Finish every run of this process that is active, and forget what was given to `setup`."""
    finish_all(exit_code)
    process_wide.forget()


def finish_all(exit_code: int | None = None) -> None:
    """Finish every run of this process that is active."""
    with _lock:
        active = list(_active)
    for run in active:
        run.finish(exit_code)


def _previous(resolved: RunSettings) -> Run | None:
    """The run to return instead of a new one, by the reinit rules; finishes active runs where they say so."""
    with _lock:
        active = list(_active)
    if not active or resolved.reinit == "create_new":
        return None
    if resolved.sweep_id and resolved.run_id not in (None, active[-1].id):
        finish_all()  # wandb's agent, which calls one function after another, cannot finish a trial of ours
        return None
    if resolved.reinit == "finish_previous" or (resolved.reinit == "default" and in_notebook()):
        for run in active:
            run.finish()
        return None
    if resolved.resume == "must":
        raise Error(
            "Cannot resume a run while another run is active. You must either finish it using run.finish(),"
            " or use reinit='create_new' when calling wandb.init()."
        )
    _say(
        resolved,
        f"init() called while a run is active and reinit is set to {resolved.reinit!r}, so returning the previous run.",
    )
    return active[-1]


def _start(resolved: RunSettings, given: dict[str, Any], swept: dict[str, Any]) -> Run:
    """`swept` are a sweep's parameters: they are merged into the config, and nothing changes them."""
    if resolved.without_effect:
        _say(resolved, f"settings without effect here, they are the daemon's: {', '.join(resolved.without_effect)}")
    config = Config()
    config.update(given, allow_val_change=True)
    config.merge_locked(swept, user="sweep", _allow_val_change=True)
    plain_config = msgspec.msgpack.decode(encode_row_data(config.as_dict()))
    resume_file = Path(resolved.directory) / "wandb" / "wandb-resume.json" if resolved.resume == "auto" else None
    project = resolved.project or process_info.project_name()
    run_id = resolved.run_id or _stored_run_id(resume_file)
    here, run_id = _place(resolved, run_id, project)
    spec = RunSpec(
        run_id=run_id,
        entity=resolved.entity,
        project=project,
        name=resolved.name,
        notes=resolved.notes,
        tags=list(resolved.tags),
        group=resolved.group,
        job_type=resolved.job_type,
        config=plain_config,
        mode=resolved.mode,
        resume="allow" if resolved.rewind_to is not None else resolved.resume,
        directory=resolved.directory,
        save_code=resolved.save_code,
        settings=resolved.forwarded,
        metadata=process_info.metadata(),
    )
    is_large = len(encode_row_data(plain_config)) > CONFIG_IN_HELLO_BYTES
    if is_large:
        spec.config = {}
    hello = Hello(
        session=token_hex(16),
        run=spec,
        launch=os.environ.get("TELEMETRYD_LAUNCH") or _own_launch(resolved),
        pid=os.getpid(),
        host=os.uname().nodename,
        start_time_ns=time.time_ns(),
        client_version=VERSION,
    )
    if here is not None:
        job.tell(hello, here)
    stream = open_stream(hello, resolved.policy)
    if here is not None:
        stream.record(job.record(here, hello, resolved.policy))
    if resolved.rewind_to is not None:
        stream.record(Rewind(resolved.rewind_to, hello.start_time_ns))
    if isinstance(stream, Session) and not hello.rank:  # of a job's ranks, the main one is recorded
        stream.capture_console(resolved.console)
    run = Run(spec, stream, resolved, _ended(resume_file))
    run._adopt_config(config, send=is_large)
    _store_run_id(resume_file, run_id)
    hooks.install(_end_all)
    if resolved.sweep_id:
        stop.again()
        if resolved.policy.stop_signal is not None:
            stop.heed_terminate()
    with _lock:
        _active.append(run)
    if resolved.reinit != "create_new":
        _set_global(run)
    return run


def _place(resolved: RunSettings, run_id: str | None, project: str) -> tuple[Place | None, str]:
    """(where this process stands among the ranks of the run, or None for a run of its own; the run's id)."""
    here = job.place()
    of_all = os.environ.get("WANDB_RUN_ID") or os.environ.get("TELEMETRYD_RUN_ID")
    apart = resolved.group is not None and resolved.policy.ranks is None and (run_id is None or run_id != of_all)
    if here is None:
        run_id = run_id or process_info.new_run_id()
        job.hand_on(run_id)
        return None, run_id
    if apart:
        return None, run_id or process_info.new_run_id()
    if run_id is None:
        scope = "\0".join((resolved.entity or "", project, resolved.group or "", resolved.job_type or ""))
        run_id = job.run_id_for(here, scope)
        if run_id is None:
            job.told_nothing_in_common(here, silent=resolved.silent)
            return None, process_info.new_run_id()
    return here, run_id


def _own_launch(resolved: RunSettings) -> str | None:
    """Without a launcher, what ties the helper that records this process's descriptors to the run."""
    return token_hex(16) if resolved.console == "redirect" else None


def _start_disabled(resolved: RunSettings, given: dict[str, Any]) -> Run:
    from client.disabled_run import DisabledRun

    run = DisabledRun(resolved, given, _unset_global)
    _set_global(run)
    return cast("Run", run)


def _ended(resume_file: Path | None) -> Callable[[Run, int], None]:
    def ended(run: Run, exit_code: int) -> None:
        if exit_code == 0 and resume_file is not None:
            try:
                resume_file.unlink(missing_ok=True)
            except OSError as error:
                guard.swallow("init.resume_file", error)
        with _lock:
            if run in _active:
                _active.remove(run)
        _unset_global(run)

    return ended


def _end_all(exit_code: int) -> None:
    """At interpreter exit: whoever was not finished ends now, with a note that nobody said so."""
    with _lock:
        active = list(_active)
    deadline_s = time.monotonic() + EXIT_TIMEOUT_S
    for run in active:
        run._end_unfinished(exit_code, max(0.0, deadline_s - time.monotonic()))


@contextlib.contextmanager
def only_new_runs() -> Iterator[None]:
    """For client.testing: hide the active runs, and finish quietly those begun within the block."""
    with _lock:
        hidden, _active[:] = list(_active), []
    earlier = _client().run
    try:
        yield
    finally:
        with _lock:
            begun = list(_active)
        for run in begun:
            run.finish(exit_code=0, quiet=True)
        with _lock:
            _active[:] = hidden
        if earlier is None:
            _unset_global(_client().run)
        else:
            _set_global(earlier)


def _set_global(run: Any) -> None:
    client = _client()
    client.run = run
    client.config = run.config
    client.summary = run.summary
    for method in RUN_METHODS:
        setattr(client, method, getattr(run, method))


def _unset_global(run: Any) -> None:
    client = _client()
    if client.run is not run:
        return
    client.run = None
    client.config = PreInitObject("wandb.config")
    client.summary = PreInitObject("wandb.summary")
    for method in RUN_METHODS:
        setattr(client, method, before_init(f"wandb.{method}", getattr(Run, method)))


def _client() -> Any:
    return sys.modules["client"]


def _say(resolved: RunSettings, text: str) -> None:
    if not resolved.silent:
        print(f"telemetryd: {text}", file=sys.stderr, flush=True)


def _stored_run_id(resume_file: Path | None) -> str | None:
    if resume_file is None or not resume_file.exists():
        return None
    import json

    try:
        return settings_module.checked_run_id(json.loads(resume_file.read_bytes())["run_id"])
    except (OSError, ValueError, KeyError, TypeError, SettingError, UsageError) as error:
        log.warning("%s is ignored: %s", resume_file, error)
        return None


def _store_run_id(resume_file: Path | None, run_id: str) -> None:
    if resume_file is None:
        return
    import json

    try:
        resume_file.parent.mkdir(parents=True, exist_ok=True)
        resume_file.write_text(json.dumps({"run_id": run_id}), encoding="utf-8")
    except OSError as error:
        guard.swallow("init.resume_file", error)


def __getattr__(name: str) -> Any:
    if name in ("api_key", "default_entity", "viewer"):  # of wandb.api, an object
        raise MissingFeatureError(
            f"wandb.api.{name} cannot be had in the training process: the key to W&B and the account are the daemon's;"
            " use run.entity for the entity, and `telemetryd doctor` to check the key"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _forget_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _active.clear()


os.register_at_fork(after_in_child=_forget_in_child)
