"""Convolution, interpolation, and numbers at even distances."""

from __future__ import annotations
