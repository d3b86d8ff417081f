"""How `telemetryd status` looks to a person: runs and their rows first, then what is not as it should be."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from client.amounts import format_bytes
from client.report import media_lost_text
from telemetryd.cli.summary import run_id_of
from telemetryd.settings.values import format_duration

STATE_STYLES = {
    "running": "green", "finished": "dim", "ok": "green", "starting": "cyan", "open": "green", "retrying": "yellow",
    "recoverable": "yellow", "stopping": "cyan", "stopped": "dim", "closing": "cyan", "refused": "bold red",
    "permanent": "bold red", "lost": "yellow", "committed": "green", "recorded": "green", "failed": "bold red",
    "announced": "cyan", "staged": "cyan", "uploading": "cyan",
}  # fmt: skip


def show(answer: dict[str, Any]) -> None:
    """Print a daemon's status."""
    console = _console()
    daemon = answer.get("daemon") or {}
    facts = [f"process {daemon['pid']}"] if daemon.get("pid") else []
    if started_ns := daemon.get("started_ns"):
        facts.append(f"up {format_duration(time.time() - started_ns / 1e9)}")
    console.print(
        f"[bold green]●[/] [bold]telemetryd {escape(str(daemon.get('version') or ''))}[/] serves"
        f" {escape(str(daemon.get('endpoint') or ''))}" + (f" ({', '.join(facts)})" if facts else "")
    )
    _places(console, daemon)
    _runs(console, answer)
    _artifacts(console, answer.get("artifacts") or {})
    _sessions(console, answer)
    _components(console, answer.get("components") or {})
    _active(console, (answer.get("health") or {}).get("active") or [])
    _events(console, answer.get("events") or [])
    _counters(console, answer.get("counters") or {})


def show_absent(found: dict[str, Any]) -> None:
    """Print what waits on disk, and how to deliver it."""
    console = _console()
    console.print(f"[bold yellow]○[/] [bold]{escape(found['error'])}[/] at {escape(found['endpoint'])}")
    if found["error"] != "no daemon":
        console.print("  it may be stopped or stuck: `telemetryd doctor` looks; end it and start another")
    else:
        console.print("  start one with `telemetryd serve`, or a job with one: `telemetryd run -- python train.py`")
    spool = found["spool"]
    console.print(f"\n  inbox  {_inbox_words(found)}   [dim]{escape(found['state_dir'])}[/]")
    console.print(f"  spool  {_spool_words(spool)}   [dim]{escape(spool['path'])}[/]")
    if found["inbox_trouble"]:
        console.print(f"  [yellow]{escape(found['inbox_trouble'])}[/]")
    _runs(console, found)
    if found["pending"] or spool["sessions"] > spool["living"]:
        console.print("\n  the next daemon on these folders delivers what is pending")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _places(console: Console, daemon: dict[str, Any]) -> None:
    for name in ("state_dir", "spool_dir", "http"):
        if place := daemon.get(name):
            console.print(f"  [dim]{name.removesuffix('_dir'):<6} {escape(str(place))}[/]")


def _inbox_words(found: dict[str, Any]) -> str:
    if not found["runs"]:
        return "empty"
    if not found["pending"]:
        return "nothing pending"
    return f"{found['pending']:,} rows pending of {found['offered']:,}"


def _spool_words(spool: dict[str, Any]) -> str:
    if not spool["sessions"]:
        return "empty"
    plural = "s" if spool["sessions"] != 1 else ""
    return (
        f"{spool['sessions']} journal{plural}, {format_bytes(spool['bytes'])}"
        f" ({spool['living']} of living processes, {spool['sessions'] - spool['living']} left by dead ones)"
    )


def _runs(console: Console, answer: dict[str, Any]) -> None:
    runs = answer.get("runs") or []
    if not runs:
        console.print("\nno runs yet")
        return
    rows = [(_run_name(run), _run_state(run), _counts(run)) for run in runs]
    total = ("all", ("", ""), _counts(answer))
    names, states = (max(map(len, column)) for column in ([row[0] for row in rows], [row[1][0] for row in rows]))
    console.print(f"\n[dim]{'run':<{names}}  {'state':<{states}}" + "".join(f"{head:>11}" for head in _COUNTS) + "[/]")
    for run, (name, (state, style), counts) in zip(runs, rows, strict=True):
        console.print(f"{escape(name):<{names}}  {_in(style, f'{state:<{states}}')}{_count_cells(counts)}")
        _processes(console, run.get("processes") or [], names + 2 + states)
        if where := run.get("url") or run.get("directory"):
            console.print(f"  [dim]{escape(str(where))}[/]")
        if ranks := run.get("ranks"):
            console.print(f"  [dim]{_rank_words(ranks)}[/]")
        if lost := run.get("media_lost"):
            console.print(f"  [red]{escape(media_lost_text(lost))}[/]")
        if trouble := run.get("trouble"):
            console.print(f"  [yellow]! {escape(str(trouble))}[/]")
    if len(runs) > 1 or total[2] != rows[0][2]:
        console.print(f"[bold]{total[0]:<{names}}[/]  {'':<{states}}{_count_cells(total[2])}")


def _rank_words(ranks: dict[str, Any]) -> str:
    """One line on a distributed run's ranks: how many, which are missing, which is slow."""
    world_size = ranks.get("world_size", "?")
    words = [f"{world_size} rank" + ("s" if world_size != 1 else "")]
    if missing := ranks.get("missing"):
        words.append(f"without {', '.join(map(str, missing[:8]))}" + (" …" if len(missing) > 8 else ""))
    if (slowest := ranks.get("slowest")) is not None:
        words.append(
            f"slowest is {slowest}: {ranks.get('slowest_step_s', 0):.4g} s a step,"
            f" {100 * ranks.get('slower_by', 0):.0f} % over the median"
        )
    if over_budget := ranks.get("over_budget"):
        words.append(f"{over_budget:,} values of series over the budget left out")
    return ", ".join(words)


def _processes(console: Console, processes: list[dict[str, Any]], width: int) -> None:
    """The share of each, where several write to one run."""
    if len(processes) < 2:
        return
    for process in processes[-_PROCESSES_SHOWN:]:
        name = f"  {process['pid']} on {process['host']} {process['state']}"
        console.print(f"[dim]{escape(f'{name:<{width}}')}[/]{_count_cells(_counts(process))}")
    if (more := len(processes) - _PROCESSES_SHOWN) > 0:
        console.print(f"  [dim]and {more:,} earlier processes: --json[/]")


def _run_name(run: dict[str, Any]) -> str:
    run_id = run_id_of(run)
    name = run.get("name")
    return f"{name} ({run_id})" if name and name != run_id else run_id


def _run_state(run: dict[str, Any]) -> tuple[str, str]:
    """The state with the exit code, and the style to show it in."""
    state, code = str(run.get("state", "?")), run.get("exit_code")
    style = "red" if state == "finished" and code else STATE_STYLES.get(state, "")
    if code is None:
        return state, style
    return f"{'ending' if state == 'running' else state}, exit {code}", style


_EVENTS_SHOWN = 10
_PROCESSES_SHOWN = 16
_COUNTS = ("offered", "delivered", "dropped", "pending")


def _counts(account: dict[str, Any]) -> list[int]:
    return [_total(account.get(name)) for name in _COUNTS]


def _count_cells(counts: list[int]) -> str:
    """The four counts in columns; what is lost or late to come stands out."""
    styles = ("", "", "red" if counts[2] else "", "yellow" if counts[3] else "")
    return "".join(_in(style, f"{count:>11,}") for style, count in zip(styles, counts, strict=True))


def _in(style: str, text: str) -> str:
    return f"[{style}]{escape(text)}[/]" if style else escape(text)


def _total(count: Any) -> int:
    """A count, or the sum of counts by reason."""
    return sum(count.values()) if isinstance(count, dict) else int(count or 0)


def _artifacts(console: Console, artifacts: dict[str, Any]) -> None:
    """How many artifacts came to which state; those on their way, and those that failed with the reason."""
    counts = artifacts.get("counts") or {}
    if not counts:
        return
    told = ", ".join(f"{count:,} {_styled(state)}" for state, count in sorted(counts.items()))
    console.print(f"\n[dim]artifacts[/]   {told}")
    for artifact in artifacts.get("listed") or []:
        size = f", {format_bytes(artifact['size_bytes'])}" if artifact.get("size_bytes") else ""
        what = f"{escape(str(artifact['name']))} {_styled(str(artifact['state']))}{size}"
        console.print(f"  {what}")
        if artifact.get("error"):
            console.print(f"    [yellow]! {escape(str(artifact['error']))}[/]")


def _sessions(console: Console, answer: dict[str, Any]) -> None:
    console.print(f"\n[dim]sessions[/]    {int(answer.get('sessions') or 0):,} open")


def _components(console: Console, components: dict[str, Any]) -> None:
    if not components:
        return
    states = {name: status.get("state", "?") for name, status in components.items()}
    console.print(
        "[dim]components[/]  " + ", ".join(f"{escape(name)} {_styled(state)}" for name, state in states.items())
    )
    for name, status in components.items():
        if status.get("reason"):
            console.print(f"  [yellow]![/] {escape(name)}: {escape(str(status['reason']))}")


def _active(console: Console, active: list[dict[str, Any]]) -> None:
    """What health rules have found and is not over."""
    if not active:
        return
    console.print("\n[dim]amiss now[/]")
    for event in active[-_EVENTS_SHOWN:]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(event.get("time_ns", 0)) / 1e9))
        where = ", ".join(str(event[word]) for word in ("run", "node", "uuid") if event.get(word))
        console.print(f"  [red]{escape(str(event.get('rule', '?')))}[/] {escape(str(event.get('message', '')))}")
        console.print(f"    [dim]since {since}  {escape(where)}[/]")


def _events(console: Console, events: list[dict[str, Any]]) -> None:
    """The newest events, and what to do about them."""
    if not events:
        return
    console.print("\n[dim]events[/]")
    for event in events[-_EVENTS_SHOWN:]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(event.get("time_ns", 0)) / 1e9))
        name = f"XID {event['code']}" if event.get("code") is not None else str(event.get("kind", "?"))
        where = [f"gpu {event['gpu']}"] if event.get("gpu") is not None else []
        where += [f"{word} {event[word]}" for word in ("rank", "step") if event.get(word) is not None]
        where += [str(event[word]) for word in ("run", "node", "uuid") if event.get(word)]
        style = "red" if event.get("fatal") else "yellow"
        console.print(f"  [{style}]{escape(name)}[/] {escape(str(event.get('message', '')))}")
        console.print(f"    [dim]{when}  {escape(', '.join(where))}[/]")
        if advice := event.get("advice"):
            console.print(f"    {escape(str(advice))}")


def _counters(console: Console, counters: dict[str, int]) -> None:
    counted = {name: count for name, count in counters.items() if count}
    if not counted:
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    for name, count in counted.items():
        table.add_row(f"{count:,}", f"[dim]{escape(name)}[/]")
    console.print("\n[dim]counted since the daemon started[/]")
    console.print(table)


def _styled(state: str) -> str:
    return _in(STATE_STYLES.get(state, ""), state)
