"""Flip, roll, pad, repeat and cut: compositions of indexing and reshaping."""

from __future__ import annotations
