"""What every output writes of a node, in the same words."""

from __future__ import annotations

import unicodedata

from tinygrad_nn.draw.description import Cluster, Cost, Vertex
from tinygrad_nn.draw.figures import Figures, number

__all__ = ["cluster_title", "cost_text", "equation", "facts", "figures_text", "is_inline",
           "notes", "plain", "says_settings", "shortened", "title"]  # fmt: skip

#: A share of zeros below this is not worth a line.
_NOTABLE = 0.1

#: Names are cut off after this many characters: a drawing is not the place for an essay.
_LONGEST = 120


def plain(text: str) -> str:
    r"""Make text of one line that no terminal or parser acts on: no control characters.

    Line breaks and tabs become blanks. Other control characters (the escape of terminal colours
    among them), marks that turn the direction of writing, halves of surrogate pairs and what is no
    character become the replacement character.

    Examples
    --------
    >>> plain("two\nlines, \x1b[31mred")
    'two lines, �[31mred'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        " " if c in "\n\r\t\v\f\x85\u2028\u2029" else "\ufffd" if _is_active(c) else c for c in text
    )


def _is_active(c: str) -> bool:
    return (
        unicodedata.category(c) in ("Cc", "Cs")
        or c in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
        or ord(c) & 0xFFFE == 0xFFFE  # no characters at all, and refused by XML
    )


def title(vertex: Vertex) -> tuple[str, str]:
    """Return what a node is called and what computed it; the latter is empty for a leaf."""
    label = shortened(plain(vertex.label))
    if vertex.op:
        return label, plain(vertex.op).strip() or "?"
    if not label.strip() and vertex.role == "constant" and vertex.value is not None:
        return vertex.value.text, ""
    if not label.strip() and vertex.role == "module":
        label = shortened(plain(vertex.settings))
    return (label if label.strip() else vertex.role), ""


def equation(vertex: Vertex) -> str:
    """Return the title in one line, as in ``loss = mean``."""
    return " = ".join(part for part in title(vertex) if part.strip())


def shortened(text: str) -> str:
    """Cut off what is too long for a drawing."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def cluster_title(cluster: Cluster) -> str:
    """Return the cluster's name in the model, if it has one, and what it is."""
    text = f"{cluster.name}: {cluster.title}" if cluster.name else cluster.title
    return shortened(plain(text))


def facts(vertex: Vertex) -> list[tuple[str, str]]:
    """Return (name, text) of what is known of a node, but for its rules.

    The names are shape, with, to, value, grad, folded, cost, line, and the word of a mark.
    """
    found = []
    if vertex.shape:
        found.append(("shape", f"{vertex.shape} {vertex.dtype}"))
    if vertex.mark is not None:
        found.append((plain(vertex.mark.word).upper(), shortened(plain(vertex.mark.message))))
    if says_settings(vertex):
        found.append(("with", plain(vertex.settings)))
    if vertex.target:
        found.append(("to", shortened(plain(vertex.target))))
    if vertex.value is not None and not is_inline(vertex):
        found.append(("value", figures_text(vertex.value)))
    if vertex.grad is not None:
        found.append(("grad", figures_text(vertex.grad)))
    if vertex.hidden:
        found.append(("folded", f"{vertex.hidden:,} node{'' if vertex.hidden == 1 else 's'}"))
    if vertex.cost is not None:
        found.append(("cost", cost_text(vertex.cost)))
    if vertex.source:
        found.append(("line", shortened(plain(vertex.source))))
    return [(name, text) for name, text in found if text]


def says_settings(vertex: Vertex) -> bool:
    """Whether there are settings to tell, which do not stand as the title."""
    return bool(vertex.settings) and (vertex.role != "module" or bool(vertex.label.strip()))


def is_inline(vertex: Vertex) -> bool:
    """Whether a constant's number is all there is to it, and stands as its title."""
    return vertex.role == "constant" and not vertex.label


def figures_text(f: Figures) -> str:
    """Write an array's figures in one line."""
    parts = [f.text] if f.text else []
    if not f.text and f.mean is not None:
        parts.append(f"min {number(f.low)}, mean {number(f.mean)}, max {number(f.high)}")
    return ", ".join(parts + notes(f))


def notes(f: Figures) -> list[str]:
    """Return what is notable about an array that is too large to be written out."""
    if f.text:
        return []
    found = [f"{n:,} {what}" for n, what in ((f.nan, "nan"), (f.inf, "inf")) if n]
    if found:
        strange = f.nan + f.inf
        share = _share(strange, f.size)
        found.append("none finite" if strange == f.size else f"{share} not finite")
    if f.is_zero:
        found.append("all zero")
    elif f.zeros >= _NOTABLE * f.size:
        found.append(f"{_share(f.zeros, f.size)} zero")
    if 0 < f.dead < f.columns:
        found.append(f"{f.dead} of {f.columns} columns zero")
    return found


def _share(n: int, of: int) -> str:
    """Write a share in percent, with 0% and 100% for none and all alone."""
    percent = round(100 * n / of)
    if percent == 0 < n:
        return "under 1%"
    return "over 99%" if percent == 100 and n < of else f"{percent}%"


def cost_text(cost: Cost) -> str:
    """Write a cost in one line.

    Examples
    --------
    >>> cost_text(Cost(forward=1.2e-5, backward=0.0021, kept=4096, peak=12288))
    '12 µs forward, 2.1 ms back, keeps 4.1 kB, peak 12 kB'
    """
    parts = [f"{_quantity(cost.forward, 's')} forward", f"{_quantity(cost.backward, 's')} back"]
    parts.append(f"keeps {_quantity(cost.kept, 'B')}" if cost.kept else "a view")
    if cost.peak > cost.kept:
        parts.append(f"peak {_quantity(cost.peak, 'B')}")
    return ", ".join(parts)


_PREFIXES = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def _quantity(x: float, unit: str) -> str:
    """Write two digits and the unit, as in ``12 µs``."""
    x = float(f"{x:.2g}")
    fitting = [prefix for prefix, size in _PREFIXES.items() if abs(x) >= size]
    prefix = fitting[-1] if fitting else ("n" if unit == "s" else "")
    return f"{x / _PREFIXES[prefix]:.3g} {prefix}{unit}"
