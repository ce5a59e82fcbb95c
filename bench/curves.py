"""A few curves as one small SVG, each in a field of its own: growth over a count, which is drawn logarithmically."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.table import number

WIDTH, HEIGHT = 300, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 34, 34
TITLE = 30


@dataclass(frozen=True)
class Curve:
    """Points (count, value), by count."""

    name: str
    unit: str
    points: Sequence[tuple[int, float]]


def drawn(title: str, counted: str, curves: Sequence[Curve]) -> str:
    """Two fields in a row; the vertical axis of each begins at 0."""
    rows = math.ceil(len(curves) / 2)
    width, height = 2 * WIDTH, TITLE + rows * HEIGHT
    fields = "".join(
        f'<g transform="translate({number % 2 * WIDTH} {TITLE + number // 2 * HEIGHT})">{_field(curve, counted)}</g>\n'
        for number, curve in enumerate(curves)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
        f'<text x="12" y="20" font-size="14">{escape(title)}</text>\n{fields}</svg>\n'
    )


def _field(curve: Curve, counted: str) -> str:
    counts = [count for count, _ in curve.points]
    top = 1.15 * max(value for _, value in curve.points) or 1.0
    low, high = math.log10(min(counts)), math.log10(max(counts))

    def x(count: int) -> float:
        return LEFT + (math.log10(count) - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    path = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in curve.points)
    ground = HEIGHT - BOTTOM
    marks = "".join(
        f'<circle cx="{x(count):.1f}" cy="{y(value):.1f}" r="2.5" fill="#0b63a5"/>'
        f'<text x="{x(count):.1f}" y="{y(value) - 6:.1f}" text-anchor="middle">{number(value)}</text>'
        f'<text x="{x(count):.1f}" y="{ground + 14}" text-anchor="middle" fill="#555">{count}</text>'
        for count, value in curve.points
    )
    return (
        f'<text x="{LEFT - 34}" y="{TOP - 14}">{escape(curve.name)}, {escape(curve.unit)}</text>'
        f'<path d="M{LEFT} {TOP}V{ground}H{WIDTH - RIGHT}" fill="none" stroke="#999"/>'
        f'<text x="{WIDTH - RIGHT}" y="{ground + 28}" text-anchor="end" fill="#555">{escape(counted)}</text>'
        f'<polyline points="{path}" fill="none" stroke="#0b63a5" stroke-width="1.5"/>{marks}'
    )
