"""Sorting, running sums and products, and what is read off a sorted array."""

from __future__ import annotations
