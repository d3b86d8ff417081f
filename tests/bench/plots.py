"""The plots of a benchmark, drawn from what its JSON holds: latency.png, cpu.png, durability.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.units import duration

Results = dict[str, Any]

COLOURS = {
    "noop": "#b8bcc2", "encode": "#7d838c", "client": "#0b6e4f", "wandb": "#d9822b", "neptune": "#5661b3",
    "mlflow": "#b5373f", "trackio": "#2a9fbc", "tensorboard": "#8a5a9e", "swanlab": "#a08c28",
}  # fmt: skip
DPI = 130
TIMES_US = {0.1: "100 ns", 1: "1 µs", 10: "10 µs", 100: "100 µs", 1e3: "1 ms", 1e4: "10 ms", 1e5: "100 ms", 1e6: "1 s"}
SHARES = {100: "all", 10: "1 in 10", 1: "1 in 100", 0.1: "1 in 1,000", 0.01: "1 in 10,000"}
PANELS = {
    "back_to_back": "back to back",
    "at_1_khz": "one call a millisecond",
    "contended": "beside a thread that holds the GIL",
}


def write(out: Path, results: Results) -> list[Path]:
    """Draws what there are figures for; the files written."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11}
    written = []
    with plt.rc_context(style):
        for name, draw in (("latency", latency), ("cpu", cpu), ("durability", durability)):
            figure = draw(plt, results)
            if figure is not None:
                written.append(out / f"{name}.png")
                figure.savefig(written[-1], dpi=DPI, bbox_inches="tight", facecolor="white")
                plt.close(figure)
    return written


def _axis_of_times(axis: Any, least_us: float, most_us: float) -> None:
    """A logarithmic axis of durations that reads as people say them."""
    ticks = [us for us in TIMES_US if least_us / 3 <= us <= most_us * 3]
    axis.set_ticks(ticks, [TIMES_US[us] for us in ticks])
    axis.minorticks_off()


def latency(plt: Any, results: Results) -> Any:
    """Share of the calls that take longer than a time, both axes logarithmic: the further left, the better."""
    panels = {name: results["calls"][name] for name in PANELS if results["calls"].get(name)}
    if not panels:
        return None
    figure, all_axes = plt.subplots(1, len(panels), figsize=(4.3 * len(panels), 4.4), sharey=True, squeeze=False)
    times = [us for found in panels.values() for one in found.values() for _, us in one["slower_percent_us"]]
    for axes, (name, found) in zip(all_axes[0], panels.items(), strict=True):
        for peer, one in found.items():
            points = one["slower_percent_us"]
            ours = peer == "client"
            axes.plot(
                [us for _, us in points], [percent for percent, _ in points], color=COLOURS[peer],
                label=results["names"][peer],
                linewidth=2.8 if ours else 1.5, zorder=3 if ours else 2,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(PANELS[name])
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlim(max(0.04, min(times) / 1.5), max(times) * 1.5)
        _axis_of_times(axes.xaxis, *axes.get_xlim())
        axes.tick_params(axis="x", labelrotation=45)
    left = all_axes[0][0]
    left.set_ylim(0.008, 110)
    left.set_yticks(list(SHARES), list(SHARES.values()))
    left.minorticks_off()
    left.set_ylabel("share of the calls that take longer")
    handles, labels = left.get_legend_handles_labels()
    figure.suptitle("How long a call that logs 10 floats takes", fontsize=13, x=0.01, ha="left", y=1.02)
    figure.tight_layout()
    figure.legend(handles, labels, loc="upper center", ncols=5, frameon=False, bbox_to_anchor=(0.5, -0.01))
    figure.text(0.995, 1.0, _note(results), ha="right", va="bottom", fontsize=8, color="#666666")
    return figure


def _note(results: Results) -> str:
    place = results["machine"]
    mode = "" if results["mode"] == "full" else ", a quick run"
    return f"{place['cores']} cores of {place['cpu']}, Python {place['python']}, {results['date'].split()[0]}{mode}"


def _note_under(axes: Any, results: Results) -> None:
    axes.annotate(
        _note(results), (1, 0), (0, -30), xycoords="axes fraction", textcoords="offset points", ha="right", va="top",
        fontsize=8, color="#666666",
    )  # fmt: skip


def cpu(plt: Any, results: Results) -> Any:
    """CPU per row as bars on a logarithmic axis: the training process, and all processes."""
    found = results["cpu"]
    if not found:
        return None
    peers = list(reversed(found))
    figure, axes = plt.subplots(figsize=(8.6, 0.5 * len(peers) + 1.5))
    least_us = 0.02
    for place, peer in enumerate(peers):
        one = found[peer]
        alone = one["tree_us"] < 1.05 * one["process_us"]  # nothing beside the training process
        bars = ((0.0, "process_us", 1.0),) if alone else ((0.19, "process_us", 1.0), (-0.19, "tree_us", 0.45))
        for shift, key, alpha in bars:
            value = max(least_us, one[key])
            axes.barh(place + shift, value - least_us, 0.36, left=least_us, color=COLOURS[peer], alpha=alpha)
            axes.text(value * 1.08, place + shift, duration(one[key]), va="center", fontsize=8.5, color="#333333")
    most_us = max(one["tree_us"] for one in found.values())
    axes.set_xscale("log")
    axes.set_xlim(least_us, most_us * 4)
    _axis_of_times(axes.xaxis, least_us * 3, most_us)
    axes.set_yticks(range(len(peers)), [results["names"][peer] for peer in peers])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title("CPU per row of 10 floats", loc="left", fontsize=13, pad=22)
    said = "strong: the training process; pale: with the processes beside it, where there are any"
    axes.text(0, 1.02, said, transform=axes.transAxes, fontsize=9, color="#555555")
    _note_under(axes, results)
    return figure


def durability(plt: Any, results: Results) -> Any:
    """Rows that survive a SIGKILL of training: the fewest as a bar, every try as a dot."""
    found = results["durability"]
    if not found:
        return None
    peers = list(reversed(found))
    logged = max(one["logged"] for one in found.values())
    figure, axes = plt.subplots(figsize=(8.6, 0.46 * len(peers) + 1.5))
    for place, peer in enumerate(peers):
        kept = found[peer]["kept"]
        axes.barh(place, min(kept), 0.55, color=COLOURS[peer], alpha=0.85)
        axes.plot(
            kept, [place] * len(kept), "o", color=COLOURS[peer], markeredgecolor="white", markersize=6, clip_on=False
        )
        span = f"{min(kept):,}" if min(kept) == max(kept) else f"{min(kept):,} – {max(kept):,}"
        axes.text(logged * 1.03, place, span, va="center", fontsize=9, color="#333333")
    axes.set_xlim(0, logged)
    axes.axvline(logged, color="#999999", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_yticks(range(len(peers)), [results["names"][peer] for peer in peers])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(f"Rows in the run after SIGKILL of training, of {logged:,} logged", loc="left", fontsize=13, pad=22)
    tries = max(len(one["kept"]) for one in found.values())
    said = "bar: the fewest; dots: each try" if tries > 1 else "one try"
    axes.text(0, 1.02, said, transform=axes.transAxes, fontsize=9, color="#555555")
    _note_under(axes, results)
    return figure
