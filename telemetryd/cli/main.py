"""`telemetryd`: parses the command line, runs the command, and turns errors into a sentence and an exit code.

`--help` and `--version` work with the base installation alone: what a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from client import amounts
from telemetryd.cli import exit_codes, options
from telemetryd.cli.limits import TOP_INTERVAL_MIN_S, TOP_INTERVAL_S
from telemetryd.cli.node import SETTINGS as NODE_SETTINGS
from telemetryd.errors import (
    AlreadyServingError,
    KeysError,
    MissingExtraError,
    PlaceError,
    SettingsError,
    TelemetrydError,
)

_EXIT_CODES: tuple[tuple[type[TelemetrydError], int], ...] = (
    (SettingsError, exit_codes.USAGE),
    (AlreadyServingError, exit_codes.ALREADY_SERVING),
    (PlaceError, exit_codes.PLACE),
    (KeysError, exit_codes.PLACE),
    (MissingExtraError, exit_codes.MISSING_EXTRA),
)

_EPILOG = """\
start here:
  telemetryd run -- python train.py     track a training job, from start to delivery
  telemetryd agent SWEEP -- python …    run the trials of a W&B sweep
  telemetryd doctor                     see what is missing on this machine

exit codes: 0 done, 2 wrong call or setting, 3 no daemon answers (status), 4 another daemon is there (serve),
5 a folder or socket cannot be used (serve), 6 packages are missing, 1 anything else; `run` has its command's.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code. Raises SystemExit as argparse does, for --help and wrong calls."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except TelemetrydError as error:
        print(f"telemetryd {arguments.command}: {error}", file=sys.stderr)
        return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), exit_codes.FAILED)
    except KeyboardInterrupt:
        return exit_codes.SIGNALLED + 2
    except BrokenPipeError:  # `telemetryd status | head`: nobody reads on
        sys.stderr.close()
        return exit_codes.SIGNALLED + 13


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The parsed command line. What follows the first `--` is the command of `run`, untouched."""
    parser = _parser()
    before, after = list(argv), None
    if "--" in before:
        cut = before.index("--")
        before, after = before[:cut], before[cut + 1 :]
    arguments = parser.parse_args(before)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        raise SystemExit(exit_codes.USAGE)
    if arguments.command == "agent":
        arguments.command_line = after or []
    elif arguments.command == "run":
        given = arguments.command_line
        arguments.command_line = [*given, *(["--"] if given and after is not None else []), *(after or [])]
        if not arguments.command_line:
            parser.error("run: no command; write it after --, as in: telemetryd run -- python train.py")
    elif after is not None:
        parser.error(f"{arguments.command} takes nothing after --")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="telemetryd",
        description="Experiment tracking that cannot hurt training: a daemon that owns the W&B run of a training job.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    run = commands.add_parser(
        "run",
        help="run a training command beside a daemon, and wait until what it logged is delivered",
        usage="telemetryd run [options] -- COMMAND [ARGUMENT …]",
        description="Runs COMMAND beside the daemon that answers at the endpoint, or beside one of its own; shows and"
        " records its output; forwards signals; exits with its exit code (128 + n for signal n, 127 not found,"
        " 126 not executable).",
    )
    options.add(run, [name for name in options.EVERYTHING if name != "exit_when_idle"])
    run.add_argument("command_line", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    agent = commands.add_parser(
        "agent",
        help="run the trials of a W&B sweep, one after another",
        usage="telemetryd agent [options] SWEEP [-- COMMAND [ARGUMENT …]]",
        description="Draws runs from the sweep and starts COMMAND for each, as `telemetryd run` does: the sweep's"
        " parameters are in the run's config when client.init() returns. Without COMMAND it starts what the sweep's"
        " configuration says. Macros such as ${args} are filled in, as wandb's agent does. Ends when the sweep is over."
        " A run that fails does not end it, many that fail do. ^C waits for the run, the next stops it; SIGTERM stops"
        " it at once.",
    )
    agent.add_argument("sweep", metavar="SWEEP", help="ENTITY/PROJECT/SWEEP, PROJECT/SWEEP or SWEEP")
    agent.add_argument("--entity", "-e", help="the sweep's entity, unless SWEEP says it [WANDB_ENTITY]")
    agent.add_argument("--project", "-p", help="the sweep's project, unless SWEEP says it [WANDB_PROJECT]")
    agent.add_argument("--count", type=_positive, metavar="N", help="run so many at most; default until it is over")
    agent.add_argument("--max-consecutive-failed-runs", type=_positive, metavar="N",
                       help="end when so many have failed one after another")  # fmt: skip
    options.add(agent, [name for name in options.EVERYTHING if name != "exit_when_idle"])

    serve = commands.add_parser(
        "serve",
        help="run the daemon in the foreground",
        description="Runs the daemon until SIGTERM or SIGINT; it then delivers what it can within --drain-timeout and"
        " leaves the rest on disk for the next one.",
    )
    options.add(serve, options.EVERYTHING)

    status = commands.add_parser(
        "status",
        help="show what the daemon is doing, or what waits on disk without one",
        description="Shows runs, rows, sessions, components and counters of the daemon that answers at the endpoint."
        " Exits with 3 when none does, and shows what waits on disk.",
    )
    status.add_argument("--json", action="store_true", help="print it as JSON")
    options.add(status, options.PLACES)

    top = commands.add_parser(
        "top",
        help="watch runs, GPUs, host and events live",
        description="Shows live what the daemon that answers at the endpoint is doing: runs with their newest values"
        " and how far behind delivery is, GPUs, the host, the training's processes, events. q leaves. Into a pipe, or"
        " with --once, one frame; exits with 3 then when no daemon answers.",
    )
    top.add_argument("--once", action="store_true", help="print one frame and leave")
    top.add_argument("--interval", metavar="S", type=_interval, default=TOP_INTERVAL_S, help="seconds between two looks"
                     f" (default: {TOP_INTERVAL_S:g})")  # fmt: skip
    options.add(top, options.PLACES)

    login = commands.add_parser(
        "login",
        help="keep a W&B API key where the daemon finds it",
        description="Checks the key with the server and keeps it in netrc, readable by you alone. Run it as the user"
        " that the daemon runs as; training processes need no key. Without KEY it asks, or reads stdin.",
    )
    login.add_argument("--host", metavar="URL", help="a W&B server of your own; default WANDB_BASE_URL, else W&B's")
    login.add_argument("key", nargs="?", metavar="KEY", help="the key; - reads it from stdin (other users of this"
                       " machine can see a command's arguments)")  # fmt: skip

    push = commands.add_parser(
        "push",
        help="ship what dead processes left on this machine to the daemon on another",
        description="For a node of a distributed job that went down and came back: sends the journals of dead processes"
        " in its spool to the daemon at the endpoint. Exits with 1 when something stays.",
    )
    options.add(push, ("endpoint", "state_dir", "spool_dir"))

    node = commands.add_parser(
        "node",
        help="sample this machine for a job whose daemon runs on another",
        description="Runs on each further node of a distributed job until SIGTERM or SIGINT: samples GPUs and host"
        " while a run trains here, and adds the samples to the run at the endpoint's daemon, under this node's label."
        " On the daemon's own machine it does nothing, so that it can be started on every node alike.",
    )
    options.add(node, NODE_SETTINGS)

    keys = commands.add_parser(
        "keys",
        help="make the keys by which clients on other machines reach the daemon",
        description="Without an ACTION: makes the daemon's key and one for this machine's clients where there are none,"
        " and lists the clients. `add NAME` makes a key file for another machine; `remove NAME` takes a client's right"
        " back. `rotate` makes the daemon's next key and writes it into the clients' files, beside the present one;"
        " once those are copied, `switch` makes it the one that counts. Training goes on throughout.",
    )
    keys.add_argument("action", nargs="?", choices=("add", "remove", "rotate", "switch"), metavar="ACTION")
    keys.add_argument("names", nargs="*", metavar="NAME")
    options.add(keys, ("keys_dir", "state_dir"))

    doctor = commands.add_parser(
        "doctor",
        help="check this machine, and say what to do about what is wrong",
        description="Checks packages, socket, spool, disk, W&B key, GPU driver and daemon. Exits with 1 when something"
        " does not work.",
    )
    doctor.add_argument("--json", action="store_true", help="print it as JSON")
    options.add(doctor, options.PLACES)
    return parser


def _interval(text: str) -> float:
    """Seconds between two looks. Raises ArgumentTypeError."""
    try:
        seconds = amounts.duration_s(text, maximum_s=3600.0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None
    return max(seconds, TOP_INTERVAL_MIN_S)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


class _Version(argparse.Action):
    """--version, which looks the version up only when it is asked for."""

    def __call__(self, *_: object) -> None:
        import telemetryd

        print(f"telemetryd {telemetryd.__version__}")
        raise SystemExit(exit_codes.OK)


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.command == "run":
        from telemetryd.cli import launcher

        return launcher.run(arguments)
    if arguments.command == "agent":
        from telemetryd.cli import agent

        return agent.run(arguments)
    if arguments.command == "serve":
        from telemetryd.cli import serve

        return serve.run(arguments)
    if arguments.command == "status":
        from telemetryd.cli import status

        return status.run(arguments)
    if arguments.command == "top":
        from telemetryd.cli.extras import require_daemon

        require_daemon("top")
        from telemetryd.cli import top

        return top.run(arguments)
    if arguments.command == "push":
        from telemetryd.cli import push

        return push.run(arguments)
    if arguments.command == "node":
        from telemetryd.cli import node

        return node.run(arguments)
    if arguments.command == "keys":
        from telemetryd.cli import keys

        return keys.run(arguments)
    if arguments.command == "login":
        from telemetryd.cli import login

        return login.run(arguments)
    from telemetryd.cli import doctor

    return doctor.run(arguments)
