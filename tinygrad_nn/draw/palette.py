"""Colours, by role, on light and on dark paper.

Tints of Okabe and Ito's colours, which readers with any kind of colour vision can tell apart [1]_,
each with ink of the opposite lightness (contrast above 7:1) and a line in the full colour. On dark
paper every colour has a counterpart of the same hue, so that one picture serves both.

.. [1] Okabe, M., Ito, K. Color Universal Design. https://jfly.uni-koeln.de/color/
"""

import re

__all__ = ["DARK", "DEAD", "EDGE", "FLOW", "FRAME", "INK", "MARKED", "MARKS", "MUTED", "PAPER",
           "RED", "ROLES", "SHADE", "dark_dot", "dark_style"]  # fmt: skip

PAPER = "#ffffff"
INK = "#1a1a1a"
MUTED = "#505050"
RED = "#b00020"

#: Greys in the middle, which show on white and on black alike.
EDGE = "#7d7d7d"
FRAME = "#7d7d7e"

#: What goes back along an edge, and the derivative along it.
FLOW = "#2a78b5"

#: Behind a cluster: a breath of grey, which adds up where clusters nest.
SHADE = "#7d7d7d10"

#: Role -> (fill, line).
ROLES = {
    "parameter": ("#fbe3b5", "#b87700"),  # from orange
    "input": ("#cfe8f9", "#2f7fb3"),  # from sky blue
    "constant": ("#e4e4e4", "#6f6f6f"),
    "intermediate": ("#f7f7f5", "#7d7d7f"),
    "output": ("#bfe8d8", "#007a59"),  # from bluish green
    "module": ("#ecdcee", "#9a5b86"),  # from reddish purple
}

#: What computes nothing but zeros -> (fill, line).
DEAD = ("#c6c6c6", "#4a4a4a")

#: What a check has found -> (fill, line). Who sees no colours reads the word in the node, and tells
#: the two apart by the line: whole and heavy, or dashed.
MARKS = {
    "wrong": ("#fbd5d9", "#b00021"),
    "kink": ("#ffe58a", "#8f5f00"),  # amber, more yellow than a parameter
}

#: What a check has found -> ink for the word: darker than the lines, to be read on the fill.
MARKED = {"wrong": "#8a0019", "kink": "#5c3d00"}

#: Colour on light paper -> its counterpart on dark paper.
DARK = {
    PAPER: "#14171a",
    INK: "#f0f0f0",
    MUTED: "#c3c3c3",
    RED: "#ff8a8f",
    EDGE: "#8f8f8f",
    FRAME: "#9a9a9a",
    FLOW: "#6fb6ec",
    "#fbe3b5": "#4d3606", "#b87700": "#e69f00",
    "#cfe8f9": "#123a54", "#2f7fb3": "#56b4e9",
    "#e4e4e4": "#3f3f3f", "#6f6f6f": "#b4b4b4",
    "#f7f7f5": "#24282c", "#7d7d7f": "#8f8f90",
    "#bfe8d8": "#0d5540", "#007a59": "#86f0cc",
    "#ecdcee": "#452b40", "#9a5b86": "#d98cbd",
    "#c6c6c6": "#4e4e4e", "#4a4a4a": "#cfcfcf",
    "#fbd5d9": "#5a1019", "#b00021": "#ff6b74", "#8a0019": "#ffb3b8",
    "#ffe58a": "#4a4000", "#8f5f00": "#f0d000", "#5c3d00": "#ffe680",
}  # fmt: skip


def dark_style(within: str = "") -> str:
    """Return style rules that turn an SVG picture into its dark counterpart.

    Graphviz writes colours as attributes, and a rule is stronger than an attribute.

    Parameters
    ----------
    within : str
        A selector of what the rules are for, such as ``".graph"``; else the whole page.
    """
    return "".join(
        f'{within} [{attribute}="{light}"]{{{attribute}:{dark}}}'.lstrip()
        for light, dark in DARK.items()
        for attribute in ("fill", "stroke")
    )


def dark_dot(source: str) -> str:
    """Return Graphviz's source of a picture in dark colours, on dark paper.

    Only attributes are changed: the quotes of whoever writes a colour into a label are escaped.
    """
    source = source.replace('bgcolor="transparent"', f'bgcolor="{DARK[PAPER]}"', 1)
    return _COLOUR.sub(lambda match: match[1] + DARK.get(match[2], match[2]) + '"', source)


_COLOUR = re.compile(r'((?:color|COLOR)=")(#[0-9a-f]{6})"')
