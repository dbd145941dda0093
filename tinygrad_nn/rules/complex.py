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

from tinygrad_nn.assumption import assume
from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.elementwise import absolute, equal, into, not_equal, sign, where


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


def conj(z: Any) -> Any:
    """Return the complex conjugate; of real numbers without a node."""
    return np.conjugate(z) if np.iscomplexobj(z) else z


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
    if not np.iscomplexobj(z):
        return g
    origin = equal(z, 0.0)  # subgradient 0, as of arctan2
    slope = g / where(origin, 1.0, z)
    return where(origin, 0.0, slope * (180.0 / math.pi) if deg else slope)


@implements(np.sign)
def _np_sign(x: Any) -> Any:
    """Sign of real numbers, which is constant; ``z / |z|`` of complex ones, and 0 at 0."""
    if not np.iscomplexobj(x):
        return sign(x)
    origin = equal(x, 0.0)
    return where(origin, 0.0, x / where(origin, 1.0, absolute(x)))


@implements(np.isreal)
def _np_isreal(x: Any) -> Any:
    return equal(imag(x), 0.0)


@implements(np.iscomplex)
def _np_iscomplex(x: Any) -> Any:
    return not_equal(imag(x), 0.0)


@implements(np.real_if_close)
def _np_real_if_close(a: Any, tol: float = 100) -> Any:
    """Take the real part where all imaginary parts are below `tol` times the machine's epsilon."""
    if not np.iscomplexobj(a):
        return a
    if tol > 1:
        tol = tol * float(np.finfo(a.dtype).eps)
    return real(a) if assume(np.all(absolute(imag(a)) < tol)) else a
