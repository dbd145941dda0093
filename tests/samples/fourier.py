"""Samples for tinygrad_nn/rules/fourier.py."""

import cmath
from collections.abc import Callable
from typing import Any

import numpy as np

from .rows import Call, Row, call, r, row

_LENGTHS_AND_AXES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((4,), {}),
    ((5,), {}),
    ((4,), {"n": 3}),
    ((4,), {"n": 7}),
    ((5,), {"n": 2}),
    ((5,), {"n": 8, "norm": "ortho"}),
    ((3, 4), {"axis": 0}),
    ((4, 3), {"axis": -2, "n": 6, "norm": "forward"}),
    ((2, 3, 2), {"axis": 1, "n": 2, "norm": "backward"}),
    ((0, 3), {"norm": "ortho"}),
]

_COMPLEX = np.array([[1.5 - 0.5j, -0.3 + 2.0j, 0.7j, -1.1], [0.2, 0.4 - 0.9j, 1.3 + 0.1j, -2.0j]])

#: Rows of primitives that are not elementwise.
ROWS: list[Row] = [
    *[
        row(name, shape, **static)
        for name in ("fft", "ifft", "rfft", "irfft")
        for shape, static in _LENGTHS_AND_AXES
        if name != "irfft" or shape != (1,)
    ],
    row("irfft", (1,), n=1),
    row("irfft", (3, 2), n=5, axis=0),
    *[
        row(name, _COMPLEX, **static)
        for name in ("fft", "ifft", "irfft")
        for static in ({}, {"axis": 0, "n": 3}, {"n": 5, "norm": "ortho"}, {"n": 2})
    ],
]

#: Points of elementwise primitives that the draw from their domain does not reach.
EXTRA: dict[str, list[tuple[Any, ...]]] = {}


def _factor(norm: str | None, n: int, inverse: bool) -> float:
    divided = {None: inverse, "backward": inverse, "forward": not inverse}
    return n**-0.5 if norm == "ortho" else 1.0 / n if divided[norm] else 1.0


def dft(n: int, inverse: bool = False, norm: str | None = None) -> np.ndarray:
    """Write out the matrix of the transform."""
    turn = (2j if inverse else -2j) * cmath.pi / n
    matrix = [[cmath.exp(turn * (j * k % n)) for j in range(n)] for k in range(n)]
    return np.array(matrix) * _factor(norm, n, inverse)


def _fitted(x: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Return the array with `axis` moved to the end, cut or filled with zeros."""
    x = np.moveaxis(x, axis, -1)[..., :n]
    return np.concatenate([x, np.zeros((*x.shape[:-1], n - x.shape[-1]))], axis=-1)


def _dense(inverse: bool) -> Callable[..., Any]:
    def reference(
        x: np.ndarray, *, n: int | None = None, axis: int = -1, norm: str | None = None
    ) -> np.ndarray:
        n = n or x.shape[axis]
        return np.moveaxis(_fitted(x, n, axis) @ dft(n, inverse, norm), -1, axis)

    return reference


def _real(x: np.ndarray, *, axis: int = -1, **static: Any) -> np.ndarray:
    y = np.moveaxis(_dense(False)(x, axis=axis, **static), axis, -1)
    n = y.shape[-1]
    return np.moveaxis(y[..., : n // 2 + 1], -1, axis)


def _from_real(
    x: np.ndarray, *, n: int | None = None, axis: int = -1, norm: str | None = None
) -> np.ndarray:
    n = 2 * (x.shape[axis] - 1) if n is None else n
    half = _fitted(x, n // 2 + 1, axis).astype(complex)
    half.imag[..., 0] = 0.0
    if n % 2 == 0:
        half.imag[..., -1] = 0.0
    mirrored = np.conj(half[..., 1 : (n + 1) // 2][..., ::-1])
    whole = np.concatenate([half, mirrored], axis=-1) @ dft(n, True, norm)
    return np.moveaxis(whole.real, -1, axis)


#: Forwards written in another way, of primitives that no NumPy function of the same name computes.
REFERENCES: dict[str, Callable[..., Any]] = {
    "fft": _dense(False),
    "ifft": _dense(True),
    "rfft": _real,
    "irfft": _from_real,
}

_fft = np.fft

_SEVERAL: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((3, 4), {}),
    ((2, 3, 2), {}),
    ((3, 4), {"s": (2, 5), "axes": (0, 1)}),
    ((2, 3, 2), {"axes": (2, 0), "norm": "ortho"}),
    ((2, 3, 3), {"s": (4, -1), "axes": (-1, 1), "norm": "forward"}),
    ((2, 4), {"axes": (1,)}),
    ((2, 4), {"axes": (1, 1)}),
]

#: Calls of NumPy functions that are compositions of primitives.
CALLS: list[Call] = [
    *[
        call(f, r(*shape), **keywords)
        for f in (_fft.fftn, _fft.ifftn, _fft.rfftn, _fft.irfftn)
        for shape, keywords in _SEVERAL
    ],
    *[
        call(f, r(*shape), **keywords)
        for f in (_fft.fft2, _fft.ifft2, _fft.rfft2, _fft.irfft2)
        for shape, keywords in (
            ((2, 3, 4), {}),
            ((3, 3), {"s": (4, 2)}),
            ((3, 2, 3), {"axes": (0, 2), "norm": "ortho"}),
        )
    ],
    *[
        call(f, r(*shape), *args, **keywords)
        for f in (_fft.hfft, _fft.ihfft)
        for shape, args, keywords in (
            ((4,), (), {}),
            ((3, 2), (5, 0), {}),
            ((2, 4), (), {"n": 3, "norm": "ortho"}),
            ((2, 3), (2, -1, "forward"), {}),
            ((2, 3), (), {"n": 6, "norm": "backward"}),
        )
    ],
    call(lambda x, y: _fft.ifft(_fft.fft(x, axis=0) * _fft.fft(y), 3, -1, "ortho"), r(3, 4), r(4)),
    call(lambda x, y: _fft.irfft(x + 1j * y, n=5), r(2, 3), r(2, 3)),
    call(lambda x, y: _fft.irfft(_fft.rfft(x) * (x[..., :3] + 1j * y)), r(2, 4), r(2, 3)),
    call(lambda x, y: _fft.irfft2(x + 1j * y, s=(2, 5)), r(2, 3), r(2, 3)),
    call(lambda x, y: _fft.hfft(x + 1j * y, n=6), r(4), r(4)),
    call(lambda x: np.abs(_fft.rfft(x, n=6)) ** 2, r(2, 4)),
    *[
        call(f, r(*shape), **keywords)
        for f in (_fft.fftshift, _fft.ifftshift)
        for shape, keywords in (
            ((5,), {}),
            ((3, 4), {}),
            ((3, 4), {"axes": 0}),
            ((2, 3, 5), {"axes": (0, -1)}),
            ((0, 3), {}),
        )
    ],
]
