"""Colours, by role.

Light tints of Okabe and Ito's colours, which readers with any kind of colour vision can tell
apart [1]_, each with dark text (contrast above 7:1) and a line in the full colour, darkened.

.. [1] Okabe, M., Ito, K. Color Universal Design. https://jfly.uni-koeln.de/color/
"""

__all__ = ["EDGE", "FRAME", "INK", "MARKS", "MUTED", "RED", "ROLES", "SHADE"]

INK = "#1a1a1a"
MUTED = "#505050"
RED = "#b00020"

#: Greys in the middle, which show on white and on black alike.
EDGE = "#7d7d7d"
FRAME = "#7d7d7d"

#: Behind a cluster: a breath of that grey, which adds up where clusters nest.
SHADE = "#7d7d7d10"

#: Role -> (fill, line).
ROLES = {
    "parameter": ("#fbe3b5", "#b87700"),  # from orange
    "data": ("#cfe8f9", "#2f7fb3"),  # from sky blue
    "constant": ("#ececec", "#8c8c8c"),
    "result": ("#f7f7f5", "#7d7d7d"),
    "output": ("#bfe8d8", "#007a59"),  # from bluish green
}

#: What a check has found -> (fill, line). Who sees no colours reads the word in the node, and tells
#: the two apart by the line: whole and heavy, or dashed.
MARKS = {
    "wrong": ("#fbd5d9", RED),
    "kink": ("#ffe58a", "#8f5f00"),  # amber, more yellow than a parameter
}
