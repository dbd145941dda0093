"""Print the reference numbers of tests/test_scalar.py, as micrograd 0.1.0 computes them.

Run it where micrograd is installed: ``python tests/reference/micrograd.py``. (Not from inside this
folder, whose file names would shadow the package's.) The tests need the printed numbers alone.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    folder = Path(__file__).resolve().parent
    sys.path = [p for p in sys.path if Path(p or ".").resolve() != folder]
    sys.path.insert(0, str(folder.parent))
    from test_scalar import MICROGRAD, MOONS, run

    for name, value in run(MOONS, *MICROGRAD)["history"].items():
        print(f"    {name!r}: {value!r},")


if __name__ == "__main__":
    main()
