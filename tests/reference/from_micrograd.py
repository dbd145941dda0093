"""Print the reference numbers of tests/test_scalar.py, as micrograd 0.1.0 computes them.

Run it where micrograd is installed: ``python tests/reference/from_micrograd.py``. The tests need
the printed numbers alone.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from test_scalar import MICROGRAD, MOONS, run

    for name, value in run(MOONS, *MICROGRAD)["history"].items():
        print(f"    {name!r}: {value!r},")


if __name__ == "__main__":
    main()
