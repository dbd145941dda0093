"""Fixtures of all tests. (Floating-point warnings are errors: see filterwarnings in pyproject.)"""

import zlib
from importlib.util import find_spec

import hypothesis
import numpy as np
import pytest

# The same examples on every run and on every machine, and few of them.
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, max_examples=60, deadline=None, database=None
)
hypothesis.settings.load_profile("repeatable")


# What compares with PyTorch and JAX needs the extra `oracle`, which `make oracle` installs.
collect_ignore = [] if find_spec("jax") and find_spec("torch") else ["test_oracle.py"]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that depend on the test's name alone, not on which tests ran before it."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
