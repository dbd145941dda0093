"""Colours, by role.

Light tints of Okabe and Ito's colours, which readers with any kind of colour vision can tell
apart [1]_, each with dark text (contrast above 7:1) and a line in the full colour, darkened.

.. [1] Okabe, M., Ito, K. Color Universal Design. https://jfly.uni-koeln.de/color/
"""

__all__ = ["EDGE", "FRAME", "INK", "MUTED", "RED", "ROLES", "SHADE"]

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
