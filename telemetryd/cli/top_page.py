"""One frame of `telemetryd top`: an answer to `status` as a person watches it. Pure; the size of the screen is given.

From above: the daemon, runs with their newest values, GPUs, the host and the training's processes, what is amiss and
what to do about it, events. What does not fit is left out: events first, then advice, then finished runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from client.amounts import format_bytes
from telemetryd.cli.limits import TOP_AMISS, TOP_EVENTS, TOP_NEWEST, TOP_WIDE_COLUMNS
from telemetryd.cli.status_page import STATE_STYLES
from telemetryd.cli.summary import run_id_of
from telemetryd.settings.values import format_duration

Answer = dict[str, Any]
TRAFFIC = ("network_received_bytes", "network_sent_bytes")
"""Sums of the host that are shown as rates."""


@dataclass(frozen=True)
class Seen:
    """An answer and when it came, by a steadily rising clock."""

    answer: Answer
    at_s: float


def frame(
    now: Seen, before: Seen | None, rows: int, columns: int, clock_s: float, renewed: Sequence[Seen] = ()
) -> RenderableType:
    """Everything, cut to `rows` lines (0: as many as it takes) of `columns`. `before` is an earlier answer, for rates;
    `renewed` are those that brought new sums of the host, which is sampled less often; `clock_s` the time since the
    epoch."""
    answer = now.answer
    rates = _Rates(now, before, renewed)
    head = _head(answer, clock_s)
    gpus, host = _gpus(answer, narrow=columns < TOP_WIDE_COLUMNS), _host(answer, rates)
    runs = len(answer.get("runs") or [])
    advised = [*host, *_amiss(answer, clock_s, advised=True)]
    fits = not rows or rows - 4 - _height(gpus) - _height(advised) >= runs
    host = advised if fits else [*host, *_amiss(answer, clock_s, advised=False)]
    events = _events(answer.get("events") or [], clock_s)
    if not rows:
        return Group(head, "", _runs(answer, rates, None), *_spaced(gpus), *_spaced(host), *_spaced(events))
    room = rows - 3 - _height(gpus) - _height(host)
    shown = max(1, min(runs, room - 1))
    parts: list[RenderableType] = [head, "", _runs(answer, rates, shown), *_spaced(gpus), *_spaced(host)]
    left = room - shown - 2
    return Group(*parts, *_spaced(events[-left:] if left > 0 else []))


def _height(lines: Sequence[RenderableType]) -> int:
    """Lines that a part takes with the empty one before it. A table among them has its rows and a head."""
    if not lines:
        return 0
    return 1 + sum(part.row_count + 1 if isinstance(part, Table) else 1 for part in lines)


def _spaced(lines: Sequence[RenderableType]) -> list[RenderableType]:
    return ["", *lines] if lines else []


class _Rates:
    """How fast sums rise between two answers of the same daemon; None where there is no earlier one."""

    def __init__(self, now: Seen, before: Seen | None, renewed: Sequence[Seen]) -> None:
        self._now, self._before = now, before
        self._renewed = renewed
        self._runs = {run["key"]: run for run in (before.answer.get("runs") if before is not None else None) or []}

    def rows(self, run: Answer) -> float | None:
        """Rows that a run logs in a second."""
        earlier = self._runs.get(run["key"])
        if earlier is None or self._before is None:
            return None
        return _rise(run["offered"], self._now, earlier["offered"], self._before)

    def host(self, name: str) -> float | None:
        """How fast a sum of the host's rises in a second."""
        if len(self._renewed) < 2:
            return None
        earlier, later = self._renewed[-2:]
        return _rise(host_values(later.answer).get(name), later, host_values(earlier.answer).get(name), earlier)


def _rise(value: float | None, now: Seen, earlier: float | None, before: Seen) -> float | None:
    same = before.answer.get("daemon", {}).get("pid") == now.answer.get("daemon", {}).get("pid")
    if not same or value is None or earlier is None or now.at_s <= before.at_s or value < earlier:
        return None
    return (value - earlier) / (now.at_s - before.at_s)


def host_values(answer: Answer) -> Mapping[str, float]:
    """What an answer tells of the host."""
    return (answer.get("machine") or {}).get("host") or {}


def _head(answer: Answer, clock_s: float) -> Text:
    daemon = answer.get("daemon") or {}
    node = (answer.get("machine") or {}).get("node")
    words = [f"[bold green]●[/] [bold]telemetryd {escape(str(daemon.get('version', '')))}[/]"]
    words += [f"on {escape(str(node))}"] if node else []
    if started_ns := daemon.get("started_ns"):
        words.append(f"[dim]up[/] {format_duration(clock_s - started_ns / 1e9)}")
    words.append(f"[dim]sessions[/] {answer.get('sessions', 0)}")
    words.append(f"[dim]pending[/] {_number(answer.get('pending', 0))}")
    if lost := sum((answer.get("dropped") or {}).values()):
        words.append(f"[red]lost {_number(lost)}[/]")
    components = answer.get("components") or {}
    for name, status in components.items():
        if (state := status.get("state")) in ("recoverable", "permanent"):
            words.append(f"[{STATE_STYLES[state]}]{escape(name)}: {escape(str(status.get('reason') or state))}[/]")
    words.append(f"[dim]{time.strftime('%H:%M:%S', time.localtime(clock_s))}[/]")
    return _line("  ".join(words))


def _line(markup: str) -> Text:
    """One line of the screen, cut at its edge."""
    text = Text.from_markup(markup)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _table(*columns: str) -> Table:
    """Columns that begin with ">" are numbers; the last takes what room is left."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=True)
    for column in columns:
        last = column is columns[-1]
        table.add_column(
            column.removeprefix(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if last else None,
        )
    return table


def _runs(answer: Answer, rates: _Rates, most: int | None) -> RenderableType:
    runs = sorted(answer.get("runs") or [], key=lambda run: run.get("state") == "finished")
    if not runs:
        return _line("[dim]no runs yet[/]")
    open_runs = [run for run in runs if run.get("state") != "finished"]
    finished = [run for run in runs if run.get("state") == "finished"][::-1]
    table = _table("run", "state", ">step", ">rows/s", ">logged", ">pending", ">lost", ">lag", "newest values")
    for run in (open_runs + finished)[:most]:
        table.add_row(
            escape(_short(str(run.get("name") or run_id_of(run)), 24)),
            _state(run),
            _number(run.get("step")),
            _rate(rates.rows(run)) if run.get("state") != "finished" else "",
            _number(run.get("offered")),
            _marked(run.get("pending", 0), "yellow"),
            _marked(sum((run.get("dropped") or {}).values()), "red"),
            _lag(run.get("lag_s")),
            _trouble(run) or _newest(run.get("newest") or {}),
        )
    return table


def _state(run: Answer) -> str:
    state, code = str(run.get("state", "?")), run.get("exit_code")
    style = "red" if code else STATE_STYLES.get(state, "")
    words = f"exit {code}" if code else state
    return f"[{style}]{escape(words)}[/]" if style else escape(words)


def _trouble(run: Answer) -> str:
    return f"[yellow]! {escape(str(run['trouble']))}[/]" if run.get("trouble") else ""


def _newest(values: Mapping[str, float | str]) -> str:
    shown = list(values.items())[:TOP_NEWEST]
    return "  ".join(
        f"[dim]{escape(key)}[/] {escape(value) if isinstance(value, str) else f'{value:.5g}'}" for key, value in shown
    )


def _lag(lag_s: float | None) -> str:
    if lag_s is None:
        return "[dim]?[/]"
    words = format_duration(lag_s)
    return f"[red]{words}[/]" if lag_s >= 600 else f"[yellow]{words}[/]" if lag_s >= 60 else words


def _gpus(answer: Answer, *, narrow: bool) -> list[RenderableType]:
    devices = (answer.get("machine") or {}).get("gpus") or []
    shown = [device for device in devices if device.get("values")]
    if not shown:
        return []
    extra = () if narrow else ("model", ">SM clock")
    table = _table(">gpu", *extra[:1], "busy", ">", "memory", ">", ">temp", ">power", *extra[1:], "")
    for device in shown:
        values = device["values"]
        used = values.get("gpu_memory_used_bytes")
        total = values.get("gpu_memory_total_bytes") or device.get("memory_bytes")
        busy = values.get("gpu_utilization_percent")
        cells = [
            _gpu_name(device),
            escape(_short(str(device.get("name") or "").removeprefix("NVIDIA "), 20)),
            _bar(busy),
            _percent(busy),
            _bar(100 * used / total if used is not None and total else None),
            _amount(used, total),
            _unit(values.get("gpu_temperature_celsius"), "°C"),
            _power(values),
            _unit(values.get("gpu_sm_clock_mhz"), "MHz"),
            _throttled(values),
        ]
        table.add_row(*(cell for number, cell in enumerate(cells) if not (narrow and number in (1, 8))))
    return [table]


def _amount(used: float | None, total: float | None) -> str:
    """ "9.5/80 GiB"."""
    if used is None or not total:
        return ""
    return f"{used / 2**30:.1f}/{total / 2**30:.0f} GiB"


def _gpu_name(device: Answer) -> str:
    index = str(device.get("index", "?"))
    return index if device.get("parent") is None else f"{index}/{device.get('gpu_instance')}"


def _power(values: Mapping[str, float]) -> str:
    power, limit = values.get("gpu_power_watts"), values.get("gpu_power_limit_watts")
    if power is None:
        return ""
    return f"{power:.0f} W" if limit is None else f"{power:.0f}/{limit:.0f} W"


_THROTTLES = {
    "gpu_throttled_hardware_thermal": "hot",
    "gpu_throttled_thermal": "hot",
    "gpu_throttled_power_brake": "power brake",
    "gpu_throttled_hardware_slowdown": "slowed by hardware",
    "gpu_throttled_power_cap": "power cap",
}


def _throttled(values: Mapping[str, float]) -> str:
    words = dict.fromkeys(word for name, word in _THROTTLES.items() if values.get(name))
    return f"[yellow]{', '.join(words)}[/]" if words else ""


def _host(answer: Answer, rates: _Rates) -> list[RenderableType]:
    values = host_values(answer)
    if not values:
        return []
    cpu, memory = values.get("host_cpu_percent"), values.get("host_memory_used_percent")
    words = [f"[dim]cpu[/] {_bar(cpu)} {_percent(cpu)}", f"[dim]load[/] {values.get('host_load1', 0):.1f}"]
    words.append(f"[dim]memory[/] {_bar(memory)} {_percent(memory)}")
    if swap := values.get("host_swap_used_percent"):
        words.append(f"[yellow]swap {swap:.0f} %[/]")
    for name, word in zip(TRAFFIC, ("in", "out"), strict=True):
        if (rate := rates.host(name)) is not None:
            words.append(f"[dim]{word}[/] {format_bytes(int(rate))}/s")
    full = {
        name.partition("[")[2].rstrip("]"): share
        for name, share in values.items()
        if name.startswith("disk_used_percent[") and share >= 80
    }
    words += [f"[{'red' if share >= 95 else 'yellow'}]{escape(path)} {share:.0f} %[/]" for path, share in full.items()]
    lines: list[RenderableType] = [_line("  ".join(["[dim]host[/]", *words]))]
    under_way = [run for run in answer.get("runs") or [] if run.get("machine") and run.get("state") != "finished"]
    return [*lines, *(_line(_tree(run, run["machine"])) for run in under_way)]


def _tree(run: Answer, values: Mapping[str, float]) -> str:
    words = [f"[dim]processes of[/] {escape(_short(str(run.get('name') or run_id_of(run)), 24))}"]
    if (cpu := values.get("tree_cpu_percent")) is not None:
        words.append(f"[dim]cpu[/] {cpu:.0f} %")
    memory = values.get("tree_pss_bytes", values.get("tree_rss_bytes"))
    if memory is not None:
        words.append(f"[dim]memory[/] {format_bytes(int(memory))}")
    if (limit := values.get("container_memory_percent")) is not None:
        words.append(f"[dim]of the container's[/] {limit:.0f} %")
    words.append(f"[dim]processes[/] {values.get('tree_processes', 0):.0f}")
    words.append(f"[dim]threads[/] {values.get('tree_threads', 0):.0f}")
    if stuck := values.get("tree_uninterruptible"):
        words.append(f"[yellow]{stuck:.0f} in D state[/]")
    if throttled := values.get("container_cpu_throttled_percent"):
        words.append(f"[yellow]stopped by its quota {throttled:.0f} %[/]")
    return "  ".join(words)


def _amiss(answer: Answer, clock_s: float, *, advised: bool) -> list[RenderableType]:
    """What health rules have found and is not over; with a line each of what to do about it."""
    lines: list[RenderableType] = []
    for found in ((answer.get("health") or {}).get("active") or [])[-TOP_AMISS:]:
        lasts = format_duration(clock_s - int(found.get("time_ns", 0)) / 1e9)
        lines.append(
            _line(
                f"[bold red]! {escape(str(found.get('rule', '?')))}[/] {escape(str(found.get('message', '')))}"
                f"  [dim]for {lasts}  {escape(str(found.get('run') or ''))}[/]"
            )
        )
        if advised and (advice := found.get("advice")):
            lines.append(_line(f"  [dim]→[/] {escape(str(advice))}"))
    return lines


def _events(events: Sequence[Answer], clock_s: float) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for event in events[-TOP_EVENTS:]:
        ago = format_duration(clock_s - int(event.get("time_ns", 0)) / 1e9)
        name = f"XID {event['code']}" if event.get("code") is not None else str(event.get("kind", "?"))
        where = [f"{word} {event[word]}" for word in ("gpu", "rank", "step") if event.get(word) is not None]
        where += [str(event[word]) for word in ("run", "node") if event.get(word)]
        style = "red" if event.get("fatal") else "yellow"
        lines.append(
            _line(
                f"[dim]{ago:>12} ago[/]  [{style}]{escape(name)}[/] {escape(str(event.get('message', '')))}"
                f"  [dim]{escape(', '.join(where))}[/]"
            )
        )
    return lines


# Words and bars.

_BAR_CELLS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def _bar(percent: float | None) -> str:
    if percent is None:
        return ""
    share = min(100.0, max(0.0, percent))
    style = "red" if share >= 95 else "yellow" if share >= 85 else "green"
    eighths = round(share / 100 * _BAR_CELLS * 8)
    cells = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"[{style} on grey23]{cells:<{_BAR_CELLS}}[/]"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.0f} {unit}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{int(value):,}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _marked(count: int, style: str) -> str:
    return f"[{style}]{count:,}[/]" if count else "0"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
