"""Averages, quantiles and their relatives that pass over nan."""

from __future__ import annotations
