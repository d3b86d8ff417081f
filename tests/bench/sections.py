"""The tables of a report, each as Markdown lines; one without rows is left out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.bench.figures import ratio
from tests.bench.goals import evaluate
from tests.bench.units import duration, times

Results = dict[str, Any]
Figures = dict[str, Any]

NONE = "–"


def cell(value: float | None, write: Callable[[float], str] = duration) -> str:
    """A figure, or the sign for one that is lacking."""
    return NONE if value is None else write(value)


def _times(value: float | None) -> str:
    return cell(value, times)


def table(title: str, head: str, rows: Iterable[Iterable[str]]) -> list[str]:
    """A table under a title; nothing when it has no rows. The first column is text, the others are figures."""
    written = [f"| {' | '.join(row)} |" for row in rows]
    if not written:
        return []
    columns = [column.strip() for column in head.split("|")]
    rule = "|---|" + "---:|" * (len(columns) - 1)
    return [*([f"**{title}**", ""] if title else []), f"| {' | '.join(columns)} |", rule, *written, ""]


def goals(results: Results) -> list[str]:
    """What is meant to be reached, and whether it was."""
    said = {True: "met", False: "**not met**", None: "not measured"}
    rows = ([goal.what, goal.goal, goal.found, said[goal.met]] for goal in evaluate(results))
    return table("Goals", "telemetryd | limit | found | goal", rows)


def calls(results: Results, scenario: Figures) -> list[str]:
    """A scenario of single calls."""
    found = results["calls"].get(scenario["name"], {})
    ours, encode = (found.get(name, {}).get("median_us") for name in ("client", "encode"))

    def row(name: str, one: Figures) -> list[str]:
        over = one["medians_of_blocks_us"]
        return [
            results["titles"][name],
            *(cell(one[key]) for key in ("median_us", "p99_us", "p99.9_us", "max_us", "cpu_us")),
            _times(ratio(one["median_us"], ours)),
            _times(ratio(one["median_us"], encode)),
            f"{duration(over['q1'])} – {duration(over['q3'])}",
            f"{one['calls']:,}",
        ]

    head = (
        "call | median | p99 | p99.9 | max | CPU per call | median over ours | over encode alone"
        " | quartiles of the blocks' medians | calls"
    )
    return table(scenario["title"], head, (row(name, one) for name, one in found.items()))


def _of(results: Results, part: str, title: str, head: str, cells: Callable[[Figures], list[str]]) -> list[str]:
    rows = ([results["names"][name], *cells(one)] for name, one in results[part].items())
    return table(title, head, rows)


def cpu(results: Results) -> list[str]:
    """CPU per row."""
    head = "tracker | training process | least – most | training process and all beside it | least – most | rows"
    return _of(results, "cpu", "CPU per row of 10 floats, until the last one is worked off", head, lambda one: [
        duration(one["process_us"]), _span(one["process_us_over_rounds"]),
        duration(one["tree_us"]), _span(one["tree_us_over_rounds"]), f"{one['rows']:,}",
    ])  # fmt: skip


def steps(results: Results) -> list[str]:
    """How much longer a step becomes."""
    head = "tracker | longer by, median | quartiles over the blocks | blocks"

    def cells(one: Figures) -> list[str]:
        over = one["slowdown_percent"]
        return [f"{over['median']:.2f} %", f"{over['q1']:.2f} – {over['q3']:.2f} %", str(one["blocks"])]

    return _of(results, "steps", "A training step of 1 ms in Python that logs 10 floats once", head, cells)


def growth(results: Results) -> list[str]:
    """The median by keys and by size, a column for each peer."""
    peers = list(results["growth"])
    kinds = list(next(iter(results["growth"].values()), {}))

    def row(kind: str) -> list[str]:
        name, _, size = kind.partition(":")
        amount = f"{int(size):,}"
        what = f"a str of {amount} bytes" if name == "text" else f"{amount} float{'' if amount == '1' else 's'}"
        medians = [results["growth"][peer].get(kind, {}).get("median_us") for peer in peers]
        return [what, *(cell(median) for median in medians)]

    head = " | ".join(["a row of", *(results["names"][peer] for peer in peers)])
    return table("How the cost grows: median of a call back to back", head, (row(kind) for kind in kinds))


def one_call(results: Results, part: str, title: str) -> list[str]:
    """An image or an artifact."""
    ours = results[part].get("client", {}).get("median_us")
    return _of(results, part, title, "tracker | median | max | median over ours | calls", lambda one: [
        duration(one["median_us"]), duration(one["max_us"]), _times(ratio(one["median_us"], ours)), str(one["calls"]),
    ])  # fmt: skip


def starts(results: Results) -> list[str]:
    """Import and init."""
    head = "tracker | time, median | quartiles | memory | starts"

    def cells(one: Figures) -> list[str]:
        over = one["ms_over_starts"]
        return [
            f"{one['ms']:.0f} ms",
            f"{over['q1']:.0f} – {over['q3']:.0f} ms",
            f"{one['mb']:.1f} MB",
            str(one["starts"]),
        ]

    return _of(results, "starts", "`import` and `init`, over bare Python", head, cells)


def durability(results: Results) -> list[str]:
    """Rows after SIGKILL."""
    logged = max((one["logged"] for one in results["durability"].values()), default=0)
    title = f"Rows in the run after SIGKILL of training right behind the last of {logged:,} calls"
    return _of(results, "durability", title, "tracker | fewest | in each try", lambda one: [
        f"{min(one['kept']):,}", ", ".join(f"{kept:,}" for kept in one["kept"]),
    ])  # fmt: skip


def stopped(results: Results) -> list[str]:
    """The longest call beside a stopped tracker."""
    seconds = max((one["stopped_for_s"] for one in results["stopped"].values()), default=0)
    title = f"The tracker's own process stopped for {seconds:g} s while training logs 1,000 rows a second"
    return _of(results, "stopped", title, "tracker | longest call", lambda one: [duration(one["longest_ms"] * 1e3)])


def _span(over: dict[str, float]) -> str:
    return f"{duration(over['min'])} – {duration(over['max'])}"


def summary(results: Results) -> list[str]:
    """A row for each peer with what matters most."""
    head = (
        "call, 10 floats | back to back: median | p99.9 | one a ms: median | p99.9"
        " | CPU of training per row | rows after SIGKILL"
    )

    def row(name: str, title: str, back: Figures) -> list[str]:
        khz = results["calls"].get("at_1_khz", {}).get(name, {})
        kept = results["durability"].get(name)
        return [
            title, cell(back["median_us"]), cell(back["p99.9_us"]), cell(khz.get("median_us")),
            cell(khz.get("p99.9_us")), cell(results["cpu"].get(name, {}).get("process_us")),
            f"{min(kept['kept']):,} of {kept['logged']:,}" if kept else "",
        ]  # fmt: skip

    found = results["calls"].get("back_to_back", {})
    return table("", head, (row(name, results["titles"][name], one) for name, one in found.items()))


def where(results: Results) -> str:
    """A line on the machine, the versions and the run."""
    place = results["machine"]
    versions = ", ".join(f"{name} {one}" for name, one in results["versions"].items())
    return (
        f"{results['date']}, {results['mode']} mode, {results['took_s'] / 60:.1f} minutes. {place['cores']} cores of"
        f" {place['cpu']}, load {place['load_before']:.1f} at the start; {place['system']}; Python {place['python']},"
        f" msgspec {place['msgspec']}, pyzmq {place['pyzmq']}; {versions}; commit {place['commit']}."
    )


def everything(results: Results) -> list[str]:
    """All tables but the summary, what is lacking and why, and where it was measured."""
    lines = goals(results)
    for scenario in results["scenarios"]:
        lines += calls(results, scenario)
    lines += cpu(results) + steps(results) + growth(results)
    lines += one_call(results, "images", "A 512x512 RGB image, made and logged")
    lines += one_call(results, "artifacts", f"An artifact of {results['artifact_mb']} MB: `add_file`, `log_artifact`")
    lines += starts(results) + durability(results) + stopped(results)
    said = [f"{results['names'][name]}: {word}." for name, word in results["last_words"].items() if word]
    said += [f"Absent: {name}: {why}." for name, why in results["absent"].items()]
    said += [f"Left out: {what}: {why}." for what, why in results["left_out"].items()]
    return [*lines, *(line for sentence in said for line in (sentence, "")), where(results)]
