"""Draws the pictures of docs/modes.md: for each mode the slots of source and clone, their tensors, and the memory.

``python docs/modes/draw.py`` writes them beside itself; a test compares. Each picture brings a background of its own,
light or dark as the reader's system is, so that it can be read on any page.
"""

from __future__ import annotations

from pathlib import Path

PANEL, HEIGHT = 340, 244
SOURCE, MIDDLE, CLONE = 88, 170, 252  # the columns of a panel, by their middle
TENSOR, MEMORY = 108, 178  # the rows below the modules

STYLE = """
  .card { fill: #f6f8fa; stroke: #d0d7de } .text, .small { fill: #1f2328; text-anchor: middle }
  .text { font: 13px sans-serif } .small { font: 11px sans-serif } .code { font-family: monospace }
  .module { fill: none; stroke: #57606a } .slot { fill: #ffffff; stroke: #57606a }
  .arrow { stroke: #57606a; fill: none; marker-end: url(#head) } #head path { fill: #57606a }
  .flow { stroke: #bc4c00; fill: none; stroke-dasharray: 5 3; marker-end: url(#flow-head) }
  #flow-head path { fill: #bc4c00 }
  .source { fill: #b6d7ff; stroke: #0969da } .clone { fill: #b4f1b4; stroke: #1a7f37 }
  .both { fill: #e2c5ff; stroke: #8250df } .fresh { fill: #ffd8b5; stroke: #bc4c00 }
  .none { fill: none; stroke: #57606a; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #161b22; stroke: #30363d } .text, .small { fill: #e6edf3 }
    .module, .none { stroke: #8d96a0 } .slot { fill: #0d1117; stroke: #8d96a0 }
    .arrow { stroke: #8d96a0 } #head path { fill: #8d96a0 } .flow { stroke: #ffa657 } #flow-head path { fill: #ffa657 }
    .source { fill: #0c2d6b; stroke: #58a6ff } .clone { fill: #0f4a1f; stroke: #3fb950 }
    .both { fill: #3c1e70; stroke: #bc8cff } .fresh { fill: #5a2a00; stroke: #ffa657 }
  }
"""


def text(x: float, y: float, words: str, style: str = "text") -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{words}</text>'


def box(x: float, y: float, width: float, height: float, style: str, round: float = 3) -> str:
    """A rectangle; x is its middle, y its top."""
    left = x - width / 2
    return f'<rect class="{style}" x="{left:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round:g}"/>'


def arrow(x1: float, y1: float, x2: float, y2: float, style: str = "arrow") -> str:
    return f'<path class="{style}" d="M{x1:g} {y1:g} L{x2:g} {y2:g}"/>'


def module(x: float, name: str) -> list[str]:
    """A module with two tied slots."""
    parts = [text(x, 24, name), box(x, 32, 134, 40, "module")]
    for slot, at in ("embed", x - 32), ("head", x + 32):
        parts += [box(at, 42, 54, 20, "slot"), text(at, 56, slot, "small code")]
    return parts


def tensor(x: float, style: str, of: tuple[float, ...] = (), grad: str = "grad") -> list[str]:
    """A tensor with its gradient, and arrows to it from both slots of the modules ``of``."""
    parts = [box(x - 24, TENSOR, 80, 28, style, 14), text(x - 24, TENSOR + 18, "tensor", "small")]
    if grad:
        parts += [box(x + 43, TENSOR, 46, 28, style, 14), text(x + 43, TENSOR + 18, grad, "small")]
    for owner in of or (x,):
        parts += [arrow(owner + at, 62, x - 24 + at / 4 + (owner - x) / 5, TENSOR - 2) for at in (-32, 32)]
    return parts


def memory(x: float, style: str, of: tuple[float, ...] = (), values: str = "values") -> list[str]:
    """A block of memory, and arrows to it from the tensors at ``of``."""
    parts = [box(x, MEMORY, 120, 26, style), text(x, MEMORY + 17, values, "small")]
    for owner in of or (x,):
        parts.append(arrow(owner - 24, TENSOR + 28, x + (owner - x) / 4 - (24 if owner == x else 0), MEMORY - 2))
    return parts


def panel(*parts: list[str], caption: str) -> list[str]:
    modules = module(SOURCE, "source") + module(CLONE, "clone")
    return modules + [it for part in parts for it in part] + [text(MIDDLE, HEIGHT - 14, caption)]


def copy() -> list[list[str]]:
    own = [tensor(SOURCE, "source"), memory(SOURCE, "source"), tensor(CLONE, "clone"), memory(CLONE, "clone")]
    return [panel(*own, caption="copy: nothing in common; tied as before")]


def share() -> list[list[str]]:
    one = [tensor(MIDDLE, "both", (SOURCE, CLONE)), memory(MIDDLE, "both")]
    return [panel(*one, caption="share: one tensor, one gradient, one memory")]


def alias() -> list[list[str]]:
    tensors = [tensor(SOURCE, "source"), tensor(CLONE, "clone")]
    return [panel(*tensors, memory(MIDDLE, "both", (SOURCE, CLONE)), caption="alias: one memory, two gradients")]


def lazy() -> list[list[str]]:
    tensors = [tensor(SOURCE, "source"), tensor(CLONE, "clone")]
    before = [*tensors, memory(MIDDLE, "both", (SOURCE, CLONE))]
    after = [*tensors, memory(SOURCE, "source"), memory(CLONE, "clone")]
    return [
        panel(*before, caption="lazy: until either side is written"),
        panel(*after, caption="from then on: each has its own"),
    ]


def differentiable() -> list[list[str]]:
    own = [tensor(SOURCE, "source"), memory(SOURCE, "source"), tensor(CLONE, "clone", grad=""), memory(CLONE, "clone")]
    flow = [arrow(CLONE - 66, TENSOR + 14, SOURCE + 68, TENSOR + 14, "flow")]
    return [panel(*own, flow, caption="differentiable: gradients flow to the source")]


def init() -> list[list[str]]:
    own = [tensor(SOURCE, "source"), memory(SOURCE, "source"), tensor(CLONE, "clone")]
    return [panel(*own, memory(CLONE, "fresh", values="fresh values"), caption="init: nothing in common, nor in value")]


def meta() -> list[list[str]]:
    own = [tensor(SOURCE, "source"), memory(SOURCE, "source"), tensor(CLONE, "none", grad="")]
    nothing = [text(CLONE, MEMORY + 17, "no memory", "small")]
    return [panel(*own, nothing, caption="meta: shape, dtype and ties; no values")]


MODES = [copy, share, alias, lazy, differentiable, init, meta]


def svg(mode: str, panels: list[list[str]]) -> str:
    width = PANEL * len(panels)
    drawn = [f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{HEIGHT - 1}" rx="8"/>']
    for i, parts in enumerate(panels):
        drawn += [f'<g transform="translate({PANEL * i} 0)">', *(f"  {part}" for part in parts), "</g>"]
    body = "\n".join(f"  {line}" for line in drawn)
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z"/></marker>'
        for name in ("head", "flow-head")
    )
    size = f'width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"  <title>The mode {mode}</title>\n  <style>{STYLE}  </style>\n  <defs>{heads}</defs>\n{body}\n</svg>\n"
    )


def pictures() -> dict[str, str]:
    """Every picture by its file's name."""
    return {f"{mode.__name__}.svg": svg(mode.__name__, mode()) for mode in MODES}


def main() -> None:
    for name, drawn in pictures().items():
        (Path(__file__).parent / name).write_text(drawn)


if __name__ == "__main__":
    main()
