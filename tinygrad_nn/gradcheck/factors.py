"""What a factor between two derivatives may be: a fraction, a size, a constant."""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["factor_names"]

#: Numbers that gradients are off by, where no fraction or size says it.
CONSTANTS = {
    "pi": math.pi, "2 pi": 2.0 * math.pi, "sqrt(pi)": math.sqrt(math.pi), "e": math.e,
    "ln 2": math.log(2.0), "ln 10": math.log(10.0), "sqrt(2)": math.sqrt(2.0),
    "sqrt(2 pi)": math.sqrt(2.0 * math.pi),
}  # fmt: skip


def _fraction(c: float, within: float) -> str:
    """Return a small fraction in words, or nothing."""
    fraction = Fraction(c).limit_denominator(12)
    common = fraction.numerator == 1 or fraction.denominator <= 4
    if fraction and common and abs(fraction) <= 12 and abs(c - float(fraction)) <= within * abs(c):
        return str(fraction)
    return ""


def factor_names(c: float, within: float, sizes: dict[str, int]) -> list[tuple[str, str]]:
    """Return what a factor may be, in words, each with what that would mean.

    Parameters
    ----------
    c : float
        Analytic over numeric derivative.
    within : float
        How exact it is, relative.
    sizes : dict of str to int
        Sizes by name.
    """
    found: list[tuple[str, str]] = []
    size, sign = abs(c), "-" if c < 0 else ""
    within = max(within, 1e-12)
    fraction = _fraction(size, within)
    if fraction:
        found.append((sign + fraction, ""))
    for name, n in sizes.items():
        if n > 2:  # a factor of 2 is more often just that than an axis of length 2
            for value, words, meaning in (
                (n, name, f"a sum over {name}"),
                (1.0 / n, f"1/{name}", f"a mean over {name}"),
                (n / (n - 1.0), f"n/(n - 1) for n = {name}", "degrees of freedom"),
                ((n - 1.0) / n, f"(n - 1)/n for n = {name}", "degrees of freedom"),
            ):
                if value != 1.0 and abs(size - value) <= within * size:
                    found.append((sign + words, meaning))
    for words, value in CONSTANTS.items():
        if abs(size - value) <= within * size:
            found.append((sign + words, ""))
        elif abs(size * value - 1.0) <= within:
            found.append((f"{sign}1/({words})" if " " in words else f"{sign}1/{words}", ""))
    return found
