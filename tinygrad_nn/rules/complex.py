"""Complex numbers: their parts, and the convention of every rule in the table.

A cotangent ``g`` of a complex ``z`` stands for the linear form ``dz -> Re(g dz)``. A rule is then
the transpose of the derivative, and not its adjoint: of a holomorphic function it is ``g * f'(z)``
with no conjugate in it, the same expression as for real numbers, and serves tangents as well as
cotangents. Only what takes complex numbers apart needs a thought. A real input receives the real
part of what its rule returns: the engine sees to it.

Where gradients enter or leave the engine (``backward(gradient=)``, ``.grad``, `vjp`, `grad`) they
are conjugated, which makes them those of PyTorch: dL/dx + i dL/dy of a real L, the direction of
steepest ascent. (See "Autograd for complex numbers" in PyTorch's notes; JAX's is the conjugate.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_nn.primitive import REAL, primitive
from tinygrad_nn.rules.elementwise import into


@primitive(numpy=[np.real], rules=[lambda g, y, z: g], elementwise=True, domain=(REAL,))
def real(z: Any, *, out: Any = None) -> Any:
    """Real part."""
    return into(np.array(np.real(z)), out)


@primitive(numpy=[np.imag], rules=[lambda g, y, z: _turned(g, z)], elementwise=True, domain=(REAL,))
def imag(z: Any, *, out: Any = None) -> Any:
    """Imaginary part; 0 of a real number."""
    return into(np.array(np.imag(z)), out)


@primitive(
    numpy=[np.conjugate], rules=[lambda g, y, z: conjugate(g)], elementwise=True, domain=(REAL,)
)
def conjugate(z: Any, *, out: Any = None) -> Any:
    """Complex conjugate."""
    return into(np.array(np.conjugate(z)), out)


@primitive(
    numpy=[np.angle],
    rules=[lambda g, y, z, *, deg=False: _angle_rule(g, z, deg)],
    elementwise=True,
    domain=(REAL,),
)
def angle(z: Any, *, deg: bool = False, out: Any = None) -> Any:
    """Argument of a complex number, in radians or degrees."""
    return into(np.asarray(np.angle(z, deg=deg)), out)


def _turned(g: Any, z: Any) -> Any:
    """Return the cotangent of z for a cotangent of its imaginary part."""
    return g * -1j if np.iscomplexobj(z) else g * 0.0


def _angle_rule(g: Any, z: Any, deg: bool) -> Any:
    # The angle is the imaginary part of log z; that of a real number, 0 or pi, is constant.
    g = _turned(g, z)
    g = g * (180.0 / math.pi) if deg else g
    return g / z if np.iscomplexobj(z) else g
