"""The graph as SVG: layers from left to right, values above the arrows, gradients below."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from chainrule.explain import wording
from chainrule.explain.digits import number, shape_text
from chainrule.explain.expressions import write
from chainrule.explain.model import Edge, Lecture, Step

_CHARACTER = 7.6  # pixels of a letter at 13 px, generous
_HEIGHT = 42
_ROW = 76
_GAP = 104  # between columns, more where many arrows pass
_MARGIN = 16

STYLE = """
.cr-graph { --ink: #1b1f24; --paper: #ffffff; --line: #8a929c; --box: #eef2f6;
  --value: #00558c; --gradient: #a63c00; --mark: #ffd54a;
  font: 13px/1.3 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
@media (prefers-color-scheme: dark) { .cr-graph { --ink: #e6e9ed; --paper: #14171b;
  --line: #76808c; --box: #262c33; --value: #7cc4f5; --gradient: #ffae7a; --mark: #8a6d00; } }
.cr-graph rect { fill: var(--box); stroke: var(--line); }
.cr-graph .given rect { stroke-dasharray: 4 3; }
.cr-graph .asked rect { stroke-width: 2.5; }
.cr-graph text { fill: var(--ink); text-anchor: middle; }
.cr-graph .name { font-weight: 600; }
.cr-graph .small { font-size: 11px; }
.cr-graph .edge path { fill: none; stroke: var(--line); stroke-width: 1.3; }
.cr-graph .edge text { font-size: 11px; paint-order: stroke; stroke: var(--paper);
  stroke-width: 4px; stroke-linejoin: round; }
.cr-graph .edge .v { fill: var(--value); }
.cr-graph .edge .g { fill: var(--gradient); font-style: italic; }
.cr-graph .head { fill: var(--line); }
"""


@dataclass
class Box:
    """Where a step is drawn: centre, size, column."""

    step: Step
    column: int
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0


@dataclass
class Arrow:
    """From a value to one computed from it; ``edge`` is the way back, if gradients take it."""

    source: str
    target: str
    edge: Edge | None


def arrows_of(lecture: Lecture) -> list[Arrow]:
    """All arrows, in the order of the forward pass."""
    found = []
    for step in lecture.forward:
        back = {edge.target: edge for edge in step.edges}
        found += [Arrow(name, step.name, back.get(name)) for name in step.reads]
    return found


def render(lecture: Lecture, style: bool = True) -> str:
    """The drawing.

    Args:
        lecture: What to draw.
        style: Put the style sheet into the drawing (a page brings it along once).
    """
    boxes = _lay_out(lecture)
    arrows = arrows_of(lecture)
    width = max(b.x + b.width / 2 for b in boxes.values()) + _MARGIN
    height = max(b.y for b in boxes.values()) + _HEIGHT / 2 + _MARGIN
    title = escape(lecture.title or f"The graph of {lecture.loss}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cr-graph" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'aria-labelledby="cr-title cr-desc">',
        f'<title id="cr-title">{title}</title>',
        f'<desc id="cr-desc">{escape(describe(lecture))}</desc>',
    ]
    if style:
        parts.append(f"<style>{STYLE}</style>")
    parts.append(
        '<defs><marker id="cr-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>'
    )
    curves = [_curve(boxes[arrow.source], boxes[arrow.target]) for arrow in arrows]
    parts += [_line(i, points) for i, points in enumerate(curves)]
    placed: list[tuple[float, float, float]] = []
    ways = [sum(other.source == arrow.source for other in arrows) for arrow in arrows]
    for i in sorted(range(len(arrows)), key=lambda i: -ways[i]):  # the crowded ones choose first
        parts.append(_labels(i, arrows[i], boxes, curves[i], placed))
    asked = {chain.name for chain in lecture.chains}
    numbers = {step.name: i for i, step in enumerate(lecture.steps)}
    parts += [_box(numbers[name], box, name in asked) for name, box in boxes.items()]
    return "\n".join([*parts, "</svg>"])


def describe(lecture: Lecture) -> str:
    """The drawing in words."""
    lines = []
    for step in lecture.forward:
        assert step.formula is not None
        line = f"{step.name} = {write(step.formula)} = {_short(step)}"
        if step.arrives is not None:
            arrives = _number_or_shape(step.arrives)
            line += f", gradient {wording.ratio(lecture.loss, step.name)} = {arrives}"
        lines.append(line)
    return "; ".join(lines) + "."


# --- layout -------------------------------------------------------------------------------------


def _lay_out(lecture: Lecture) -> dict[str, Box]:
    boxes = {step.name: Box(step, _column) for step, _column in _columns(lecture)}
    shift = min(box.column for box in boxes.values())
    columns: dict[int, list[str]] = {}
    for name, box in boxes.items():
        box.column -= shift
        box.width = max(_CHARACTER * max(len(name), len(_short(box.step))) + 18, 56)
        columns.setdefault(box.column, []).append(name)
    _order(lecture, boxes, columns)
    tallest = max(len(names) for names in columns.values())
    x = float(_MARGIN)
    for column in sorted(columns):
        names = columns[column]
        width = max(boxes[name].width for name in names)
        top = _MARGIN + _HEIGHT / 2 + (tallest - len(names)) * _ROW / 2
        for row, name in enumerate(names):
            boxes[name].x, boxes[name].y = x + width / 2, top + row * _ROW
        passing = sum(a.source in names for a in arrows_of(lecture))
        x += width + _GAP + 20 * min(max(passing - 3, 0), 9)
    return boxes


def _columns(lecture: Lecture) -> list[tuple[Step, int]]:
    """Computed values one to the right of what they read; given ones just before their user."""
    depth: dict[str, int] = {}
    for step in lecture.forward:
        inner = [depth[name] for name in step.reads if name in depth]
        depth[step.name] = max(inner, default=0) + 1
    for step in lecture.given:
        users = [depth[other.name] for other in lecture.forward if step.name in other.reads]
        depth[step.name] = min(users, default=1) - 1
    return [(step, depth[step.name]) for step in lecture.steps]


def _order(lecture: Lecture, boxes: dict[str, Box], columns: dict[int, list[str]]) -> None:
    """Pull each value towards the middle of its neighbours, a few sweeps to and fro."""
    neighbours: dict[str, list[str]] = {name: [] for name in boxes}
    for step in lecture.forward:
        for name in step.reads:
            neighbours[name].append(step.name)
            neighbours[step.name].append(name)
    place = {n: float(i) for names in columns.values() for i, n in enumerate(names)}
    for sweep in range(8):
        for column in sorted(columns, reverse=sweep % 2 == 0):
            names = columns[column]
            side = column + (1 if sweep % 2 == 0 else -1)
            centre = {}
            for name in names:
                near = [place[n] for n in neighbours[name] if boxes[n].column == side]
                near = near or [place[n] for n in neighbours[name]]
                centre[name] = sum(near) / len(near) if near else place[name]
            names.sort(key=lambda name: centre[name])
            offset = (len(names) - 1) / 2
            for i, name in enumerate(names):
                place[name] = i - offset


# --- drawing ------------------------------------------------------------------------------------


def _short(step: Step) -> str:
    return _number_or_shape(step.value)


def _number_or_shape(value: np.ndarray) -> str:
    return number(value.reshape(-1)[0]) if value.size == 1 else shape_text(value.shape)


def _box(index: int, box: Box, asked: bool) -> str:
    kind = "given" if box.step.formula is None else "computed"
    left, top = box.x - box.width / 2, box.y - _HEIGHT / 2
    return (
        f'<g class="node {kind}{" asked" if asked else ""}" data-node="{index}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{_HEIGHT}" rx="8"/>'
        f'<text class="name" x="{box.x:.1f}" y="{box.y - 3:.1f}">{escape(box.step.name)}</text>'
        f'<text class="small" x="{box.x:.1f}" y="{box.y + 13:.1f}">'
        f"{escape(_short(box.step))}</text>"
        "</g>"
    )


Points = tuple[tuple[float, float], ...]


def _curve(a: Box, b: Box) -> Points:
    start, end = (a.x + a.width / 2, a.y), (b.x - b.width / 2 - 1, b.y)
    bend = (end[0] - start[0]) * 0.45
    return start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end


def _line(index: int, points: Points) -> str:
    path = "M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}".format(
        *(coordinate for point in points for coordinate in point)
    )
    return f'<g class="edge" data-edge="{index}"><path d="{path}" marker-end="url(#cr-head)"/></g>'


def _labels(
    index: int,
    arrow: Arrow,
    boxes: dict[str, Box],
    points: Points,
    placed: list[tuple[float, float, float]],
) -> str:
    """Value above the arrow, gradient below it; drawn last so that no arrow crosses them."""
    above = _short(boxes[arrow.source].step)
    below = _number_or_shape(arrow.edge.leaving) if arrow.edge is not None else ""
    x, y = _free_spot(points, 6.4 * max(len(above), len(below)), placed)
    labels = f'<text class="v" x="{x:.1f}" y="{y - 4:.1f}">{escape(above)}</text>'
    if below:
        labels += f'<text class="g" x="{x:.1f}" y="{y + 12:.1f}">{escape(below)}</text>'
    return f'<g class="edge" data-edge="{index}">{labels}</g>'


def _free_spot(
    points: Points,
    width: float,
    placed: list[tuple[float, float, float]],
) -> tuple[float, float]:
    """A place on the curve where the labels cover no others, near its beginning if there is one."""
    best = (-1.0, 0.0, 0.0)
    for t in (0.4, 0.5, 0.3, 0.6, 0.22, 0.66, 0.72, 0.16, 0.78, 0.84):
        x, y = _on_curve(points, t)
        room = min(
            (max(abs(x - px) - (width + pw) / 2, abs(y - py) - 30) for px, py, pw in placed),
            default=1.0,
        )
        if room > best[0] or best == (-1.0, 0.0, 0.0):
            best = (room, x, y)
        if room > 0:
            break
    placed.append((best[1], best[2], width))
    return best[1], best[2]


def _on_curve(points: Points, t: float) -> tuple[float, float]:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    x = sum(w * p[0] for w, p in zip(weights, points, strict=True))
    y = sum(w * p[1] for w, p in zip(weights, points, strict=True))
    return x, y
