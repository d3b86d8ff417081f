"""How figures are written for people."""

from __future__ import annotations


def duration(us: float) -> str:
    """Three digits with the unit that suits."""
    if us < 1000:
        return f"{us:.2f} µs" if us < 10 else f"{us:.1f} µs" if us < 100 else f"{us:.0f} µs"
    if us < 1_000_000:
        return f"{us / 1000:.2f} ms" if us < 10_000 else f"{us / 1000:.0f} ms"
    return f"{us / 1e6:.1f} s"


def times(ratio: float) -> str:
    """A ratio, with no more places than help."""
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.3g}x" if ratio >= 1 else f"{ratio:.2f}x"
