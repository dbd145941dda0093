"""What the installed NumPy does on this machine, and what would make it faster.

The facts (`openblas`, `processor`) and what is measured (`rates`) make a `Report`; advice is
tried in a process of its own (`trial`) before it is given. `restart` follows some of it on behalf
of the command-line program.
"""

from tinygrad_nn.callable_module import make_callable
from tinygrad_nn.doctor.advice import Advice
from tinygrad_nn.doctor.report import Report, doctor

__all__ = ["Advice", "Report", "doctor"]

make_callable(__name__, doctor)
