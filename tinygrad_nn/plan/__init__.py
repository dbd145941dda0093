"""Behind `tinygrad_nn.compile`: a step is captured once, and replayed as calls of NumPy.

`tape` says what a step is, `capture` writes one down, `passes` improve it, `memory` gives its
variables arrays, `emit` and `build` write the program, `compiled` keeps it and calls it.
"""
