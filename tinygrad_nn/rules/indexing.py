"""Take, put and choose: indexing by NumPy's functions, and functional updates."""

from __future__ import annotations
