"""Signals and images."""

from __future__ import annotations

import numpy as np

from ..case import Case, each
from .common import normals, stream

_draw = normals(stream(after=508))

KNOTS = np.array([0.0, 1.0, 1.5, 3.0, 4.0, 6.0])
NOISY = _draw(40, 50)


def _interpolated(x, v):
    k = np.searchsorted(KNOTS, x.real, side="right") - 1
    w = (x - KNOTS[k]) / (KNOTS[k + 1] - KNOTS[k])
    return v[k] * (1.0 - w) + v[k + 1] * w


def _interpolated_back(g, x, v):
    cell = (x[:, None] >= KNOTS[:-1]) * (x[:, None] < KNOTS[1:]) * 1.0
    w = (x - cell @ KNOTS[:-1]) / (cell @ np.diff(KNOTS))
    slopes = (v[1:] - v[:-1]) / np.diff(KNOTS)
    left, right = (g * (1.0 - w)) @ cell, (g * w) @ cell
    return g * (cell @ slopes), np.pad(left, (0, 1)) + np.pad(right, (1, 0))


def _sampled(image, at):
    i, j = np.floor(at.real).astype(int).T
    y, x = (at - np.floor(at.real)).T
    top = image[i, j] * (1.0 - x) + image[i, j + 1] * x
    return top * (1.0 - y) + (image[i + 1, j] * (1.0 - x) + image[i + 1, j + 1] * x) * y


def _tent(t):
    return np.maximum(1.0 - np.abs(t), 0.0), -np.sign(t) * (np.abs(t) < 1.0)


def _sampled_back(g, image, at):
    wy, dy = _tent(at[:, :1] - np.arange(image.shape[0]))
    wx, dx = _tent(at[:, 1:] - np.arange(image.shape[1]))
    slopes = [np.sum((dy @ image) * wx, axis=1), np.sum((wy @ image) * dx, axis=1)]
    return wy.T @ (g[:, None] * wx), g[:, None] * np.stack(slopes, axis=1)


def _periodic(x, w):
    return np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(w), n=x.size)


def _periodic_rule(g, w):
    return np.fft.irfft(np.fft.rfft(g) * np.conjugate(np.fft.rfft(w)), n=w.size)


def _edges(x):
    down, right = x[1:, :-1] - x[:-1, :-1], x[:-1, 1:] - x[:-1, :-1]
    return down, right, np.sqrt(down * down + right * right + 0.01)


def _smoothed(x):
    return 0.5 * np.sum((x - NOISY) ** 2) + 0.3 * np.sum(_edges(x)[2])


def _smoothed_rule(g, y, x):
    down, right, size = _edges(x)
    down, right = down / size, right / size
    ends = np.pad(down, ((1, 0), (0, 1))) + np.pad(right, ((0, 1), (1, 0)))
    return g * (x - NOISY + 0.3 * (ends - np.pad(down + right, ((0, 1), (0, 1)))))


CASES = [
    Case("interpolation in a table", _interpolated, each(_interpolated_back, 2),
         (np.array([0.4, 5.1, 1.2, 2.6, 0.7]), _draw(6))),
    Case("bilinear sampling", _sampled, each(_sampled_back, 2),
         (_draw(5, 6), np.array([[0.3, 1.6], [2.7, 4.2], [3.4, 0.5], [0.6, 1.3]]))),
    Case("periodic convolution by FFT", _periodic,
         [lambda g, y, x, w: _periodic_rule(g, w), lambda g, y, x, w: _periodic_rule(g, x)],
         (_draw(12), _draw(12))),
    Case("denoising, 2,000 pixels", _smoothed, [_smoothed_rule], (NOISY + 0.3 * _draw(40, 50),)),
]  # fmt: skip
