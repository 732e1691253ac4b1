"""Time against bytes and against modules, both axes logarithmic, as SVG that reads on light and dark pages."""

from __future__ import annotations

import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 540, 380, 62, 34, 30, 110
COLOURS = ["#c0392b", "#e08e0b", "#8e5bb5", "#7f8c8d", "#1f8a4c", "#2777c4"]

Series = dict[str, list[tuple[float, float]]]


def powers(values: list[float]) -> list[int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return list(range(low, max(high, low + 1) + 1))


def text(x: float, y: float, content: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{content}</text>'


def number(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"


def chart(title: str, unit: str, series: Series, left: float) -> list[str]:
    """One chart whose left edge is at `left`."""
    xs = [x for points in series.values() for x, _ in points]
    across, up = powers(xs), powers([y for points in series.values() for _, y in points])
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        right = (math.log10(x) - across[0]) / (across[-1] - across[0])
        height = (math.log10(y) - up[0]) / (up[-1] - up[0])
        return left + LEFT + wide * right, TOP + tall * (1 - height)

    parts = [text(left + LEFT + wide / 2, 16, title)]
    for power in across:
        x, y = place(10**power, 10 ** up[0])
        parts += [f'<path class="grid" d="M{x:.1f} {TOP}V{y:.1f}"/>', text(x, y + 15, number(power))]
    for power in up:
        x, y = place(10 ** across[0], 10**power)
        parts += [f'<path class="grid" d="M{x:.1f} {y:.1f}h{wide}"/>', text(x - 5, y + 4, number(power), "end")]
    parts += [text(left + LEFT + wide / 2, TOP + tall + 31, unit), text(left + LEFT - 5, TOP - 8, "ms", "end")]
    for i, (who, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in sorted(points)))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = left + LEFT + 235 * (i % 2), TOP + tall + 50 + 18 * (i // 2)
        parts += [f'<path d="M{x} {y - 4}h16" stroke="{colour}" stroke-width="3"/>', text(x + 22, y, who, "start")]
    return parts


def picture(charts: list[tuple[str, str, Series]]) -> str:
    """Charts side by side."""
    style = (
        "text{font:12px sans-serif;fill:#444}.grid{stroke:#8884;fill:none}"
        "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
    )
    size = f'width="{WIDTH * len(charts)}" height="{HEIGHT}" viewBox="0 0 {WIDTH * len(charts)} {HEIGHT}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{style}</style>"]
    for i, (title, unit, series) in enumerate(charts):
        lines += chart(title, unit, series, i * WIDTH)
    return "\n".join([*lines, "</svg>", ""])
