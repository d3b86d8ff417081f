"""Messages between client and daemon: the first frame of each ZeroMQ message.

Client → daemon: Hello, Batch (with a payload frame of records), Ask, Bye.
Daemon → client: Welcome, Ack, Report, Answer, Refuse.
Each is a msgpack map with its name under "m"; unknown keys are ignored. SPEC.md gives the order they come in.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Message(msgspec.Struct, tag_field="m", omit_defaults=True):
    """Base of every message."""


class RunSpec(msgspec.Struct, omit_defaults=True):
    """The run that a session writes to: what `init` was called with. Absent values are wandb's defaults.

    `directory` is the absolute folder under which wandb would make its `wandb/` folder. `mode` is "online" or
    "offline". `resume` is wandb's argument: "allow", "must", "never", "auto" or None. `settings` holds further wandb
    settings by name. `metadata` describes the training process (program, arguments, git …).
    """

    run_id: str
    entity: str | None = None
    project: str | None = None
    name: str | None = None
    notes: str | None = None
    tags: list[str] = []
    group: str | None = None
    job_type: str | None = None
    config: dict[str, Any] = {}
    mode: str = "online"
    resume: str | None = None
    directory: str = ""
    save_code: bool | None = None
    settings: dict[str, Any] = {}
    metadata: dict[str, Any] = {}

    def key(self) -> str:
        """The run's name within a daemon: "entity/project/id", with empty parts where not given."""
        return f"{self.entity or ''}/{self.project or ''}/{self.run_id}"


class Hello(Message, tag="hello"):
    """First message of a session on every connection; also stored in the session's spool folder as `hello.msgpack`.

    `session` is 32 hexadecimal digits. `role`: "train" writes a run of its own; "console" is a launcher that speaks
    for all runs of its `launch`; "node" (since 1.2) is a further machine of a job, which samples itself and names the
    run (id, project, entity) that it adds to: it opens none, keeps none open and gives no exit code. `launch` ties a
    launcher to the sessions of the command it started. `major` and `minor` are the sender's; where they are absent it
    is 1.0, whichever version reads it.

    Since 1.2: `rank`, `world_size`, `local_rank`, `node` (its number) and `restart` are as the launcher gave them,
    `rank` None for a process that none numbered. `sent_ns` is the sender's clock as this Hello left. `facts`: a Process
    record comes.
    """

    session: str
    major: int = 1
    minor: int = 0
    role: str = "train"
    run: RunSpec | None = None
    launch: str | None = None
    pid: int = 0
    host: str = ""
    start_time_ns: int = 0
    client_version: str = ""
    rank: int | None = None
    world_size: int = 1
    local_rank: int | None = None
    node: int | None = None
    restart: int = 0
    sent_ns: int = 0
    facts: bool = False


class Batch(Message, tag="batch"):
    """Records `first` to `last` of a session; the payload frame holds them as framing.py lays them out.

    `crc` is zlib.crc32 of the payload. `offered` is how many rows the client has taken from training so far.
    """

    session: str
    first: int
    last: int
    crc: int
    offered: int = 0


class Ask(Message, tag="ask"):
    """A question that wants an Answer with the same `id`. SPEC.md lists kinds and arguments."""

    id: int
    kind: str
    args: dict[str, Any] = {}


class Bye(Message, tag="bye"):
    """The session closes its connection on purpose; its journal is empty or has been left to be adopted."""

    session: str


class Welcome(Message, tag="welcome"):
    """The session may send. `acked` is the last record that the daemon has kept (0: none).

    Since 1.2: `hello_ns` is the Hello's `sent_ns`, `received_ns` and `sent_ns` the daemon's clock as the Hello came and
    as this message left.
    """

    session: str
    acked: int
    major: int = 1
    minor: int = 0
    daemon: str = ""
    window_bytes: int = 0
    hello_ns: int = 0
    received_ns: int = 0
    sent_ns: int = 0


class Ack(Message, tag="ack"):
    """Every record up to `acked` is in the daemon's inbox."""

    session: str
    acked: int


class Report(Message, tag="report"):
    """How the session's run stands in W&B. Sent when it changes, at most about twice a second.

    `state`: "starting", "running", "retrying", "refused", "finished". Row counts are the run's, over all sessions:
    offered = delivered + sum(dropped) + pending. `stop_requested` (since 1.1): somebody pressed W&B's stop button.
    `media_lost` (since 1.2): media values by reason that delivered rows had to go without.
    """

    session: str
    state: str = "starting"
    offered: int = 0
    delivered: int = 0
    pending: int = 0
    dropped: dict[str, int] = {}
    late: int = 0
    mode: str | None = None
    directory: str | None = None
    url: str | None = None
    name: str | None = None
    entity: str | None = None
    project: str | None = None
    resumed: bool = False
    starting_step: int | None = None
    trouble: str | None = None
    exit_code: int | None = None
    stop_requested: bool = False
    media_lost: dict[str, int] = {}


class Answer(Message, tag="answer"):
    """The answer to the Ask of the same `id`; `error` says why there is none."""

    id: int
    result: dict[str, Any] = {}
    error: str | None = None


class Refuse(Message, tag="refuse"):
    """The daemon did not take a message. See SPEC.md for what a client does on each `code`.

    Codes: "version", "malformed", "oversized", "unknown_session" (say hello), "session_taken" (another live connection
    has it), "gap" (send again from `acked` + 1), "full" (the inbox is at its cap: wait), "stopping" (wait, reconnect).
    """

    code: str
    message: str
    session: str | None = None
    acked: int = 0
    major: int = 1
    minor: int = 0


FromClient = Hello | Batch | Ask | Bye
FromDaemon = Welcome | Ack | Report | Answer | Refuse
