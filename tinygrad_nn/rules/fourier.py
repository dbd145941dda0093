"""Discrete Fourier transforms (`numpy.fft`): four primitives along one axis, and what they make.

With w = exp(-2 pi i / n), the transform of x is ``X[k] = sum_j w**(j k) x[j]``; the inverse has
1/w, and a factor 1/n by default (`norm` moves it). The matrix is symmetric, so the transform is
its own transpose, without a conjugate (see `tinygrad_nn.rules.complex`). Of real numbers only the
first n//2 + 1 frequencies are kept: the others are their conjugates, and `irfft` counts each of
the middle frequencies twice for that. (W. L. Briggs and V. E. Henson, "The DFT: An Owner's
Manual", SIAM 1995, doi:10.1137/1.9781611971514, chapters 2 and 4.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.primitive import REAL, implements, primitive
from tinygrad_nn.rules.complex import conj
from tinygrad_nn.rules.indexing import getitem, scatter_add

#: `norm` of the transform in the other direction that has the same factor.
_OTHER_WAY = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _fit(g: Any, axis: int, length: int) -> Any:
    """Cut an axis to `length` or fill it with zeros: the transpose of what the forward did."""
    n = g.shape[axis]
    if n == length:
        return g
    part: list[Any] = [slice(None)] * g.ndim
    part[axis] = slice(min(n, length))
    if n > length:
        return getitem(g, template=tuple(part))
    shape = list(g.shape)
    shape[axis] = length
    return scatter_add(g, template=tuple(part), shape=tuple(shape))


@lru_cache(maxsize=64)
def _multiplicity(n: int, dtype: str, axis: int, ndim: int) -> npt.NDArray[Any]:
    """Return how often each frequency of n real numbers occurs: 1, 2, ..., 2, and 1 if n is even.

    Along `axis` of an array of `ndim` axes; read-only.
    """
    counts = np.full(n // 2 + 1, 2.0, dtype)
    counts[0] = 1.0
    if n % 2 == 0:
        counts[-1] = 1.0
    shape = [1] * ndim
    shape[axis] = -1
    counts = counts.reshape(shape)
    counts.flags.writeable = False
    return counts


def _counts(n: int, g: Any, axis: int) -> npt.NDArray[Any]:
    return _multiplicity(n, g.dtype.char.lower(), axis, g.ndim)


# --- along one axis ------------------------------------------------------------------------------


def _fft_rule(
    g: Any, y: Any, x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None
) -> Any:
    return _fit(fft(g, axis=axis, norm=norm), axis, x.shape[axis])


@primitive(numpy=[np.fft.fft], rules=[_fft_rule], domain=(REAL,), linear="all")
def fft(x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    """Fourier transform along an axis, which is cut or filled with zeros to length `n`."""
    return np.fft.fft(x, n, axis, norm, out)


def _ifft_rule(
    g: Any, y: Any, x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None
) -> Any:
    return _fit(ifft(g, axis=axis, norm=norm), axis, x.shape[axis])


@primitive(numpy=[np.fft.ifft], rules=[_ifft_rule], domain=(REAL,), linear="all")
def ifft(x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    """Inverse of the Fourier transform along an axis."""
    return np.fft.ifft(x, n, axis, norm, out)


def _rfft_rule(
    g: Any, y: Any, x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None
) -> Any:
    # The real part of sum_k w^(jk) g[k]: a Hermitian transform of what it will count twice.
    n = x.shape[axis] if n is None else n
    return _fit(_hfft(g / _counts(n, g, axis), n, axis, norm), axis, x.shape[axis])


@primitive(numpy=[np.fft.rfft], rules=[_rfft_rule], domain=(REAL,), linear="all")
def rfft(x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    """Fourier transform of real numbers: its first n//2 + 1 frequencies."""
    return np.fft.rfft(x, n, axis, norm, out)


def _irfft_rule(
    g: Any, y: Any, x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None
) -> Any:
    # Real numbers at the ends, so that the imaginary parts that irfft ignores get a gradient of 0.
    n = y.shape[axis]
    c = _fit(_counts(n, g, axis) * _ihfft(g, None, axis, norm), axis, x.shape[axis])
    if np.iscomplexobj(x):
        return c
    c = np.real(c)
    return c if c.dtype == x.dtype else c.astype(x.dtype)  # half precision was widened


@primitive(numpy=[np.fft.irfft], rules=[_irfft_rule], domain=(REAL,), linear="all")
def irfft(
    x: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None
) -> Any:
    """Inverse of `rfft`: `n` real numbers, 2 (m - 1) of m frequencies by default.

    The imaginary parts of the first and, for even n, of the last frequency are ignored.
    """
    return np.fft.irfft(x, n, axis, norm, out)


@implements(np.fft.hfft)
def _hfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    return irfft(conj(a), n=n, axis=axis, norm=_OTHER_WAY.get(norm, norm))


@implements(np.fft.ihfft)
def _ihfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    return conj(rfft(a, n=n, axis=axis, norm=_OTHER_WAY.get(norm, norm)))


# --- along several axes --------------------------------------------------------------------------


def _passes(
    a: Any, s: Sequence[int] | None, axes: Sequence[int] | None
) -> list[tuple[int | None, int]]:
    """Return the length and the axis of each transform, in the order of `axes`."""
    if axes is None:
        axes = range(-(a.ndim if s is None else len(s)), 0)
    if s is None:
        s = [a.shape[i] for i in axes]
    if len(s) != len(axes):
        raise ValueError(f"Fourier transform of {len(axes)} axes needs as many lengths, got s={s}")
    return [(a.shape[i] if n == -1 else n, i) for n, i in zip(s, axes, strict=True)]


@implements(np.fft.fftn)
def _fftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    for n, axis in reversed(_passes(a, s, axes)):
        a = fft(a, n=n, axis=axis, norm=norm)
    return a


@implements(np.fft.ifftn)
def _ifftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    for n, axis in reversed(_passes(a, s, axes)):
        a = ifft(a, n=n, axis=axis, norm=norm)
    return a


@implements(np.fft.rfftn)
def _rfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    *others, (length, last) = _passes(a, s, axes)
    a = rfft(a, n=length, axis=last, norm=norm)
    for n, axis in reversed(others):
        a = fft(a, n=n, axis=axis, norm=norm)
    return a


@implements(np.fft.irfftn)
def _irfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    *others, (length, last) = _passes(a, s, axes)
    for n, axis in others:
        a = ifft(a, n=n, axis=axis, norm=norm)
    return irfft(a, n=None if s is None else length, axis=last, norm=norm)


@implements(np.fft.fft2)
def _fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    return _fftn(a, s, axes, norm)


@implements(np.fft.ifft2)
def _ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    return _ifftn(a, s, axes, norm)


@implements(np.fft.rfft2)
def _rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    return _rfftn(a, s, axes, norm)


@implements(np.fft.irfft2)
def _irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    return _irfftn(a, s, axes, norm)


# --- the order of frequencies --------------------------------------------------------------------


def _all_axes(x: Any, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(x.ndim))
    return (axes,) if isinstance(axes, int | np.integer) else tuple(axes)


@implements(np.fft.fftshift)
def _fftshift(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    axes = _all_axes(x, axes)
    return np.roll(x, tuple(x.shape[i] // 2 for i in axes), axes)


@implements(np.fft.ifftshift)
def _ifftshift(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    axes = _all_axes(x, axes)
    return np.roll(x, tuple(-(x.shape[i] // 2) for i in axes), axes)
