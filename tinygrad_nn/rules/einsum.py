"""Einstein summation."""

from __future__ import annotations
