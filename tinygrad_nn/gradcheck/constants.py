"""Every constant of the checker, each with the reason for its value.

Lengths of steps are relative: in units of what is moved (see `rows.scales`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

# --- the ladder of steps -------------------------------------------------------------------------

#: The coarsest step. An eighth stays on the same side of zero, and is large enough for rounding
#: to be invisible.
FIRST_STEP = 0.125
#: Each step is this much smaller than the one before: a power of two, so that scaling is exact.
RATIO = 4.0
#: 0.125 / 4^17 is 7e-12: below that, rounding leaves no digit of a difference quotient.
RUNGS = 18
#: Orders that extrapolation removes; more would only amplify rounding.
COLUMNS = 4
#: Refinement stops at this relative error; a wrong gradient is off by more than that.
RESOLVED = 1e-7
#: Before that, this rung is looked at: a feature of the function that is narrower than the steps so
#: far would be stepped over. At 2e-6 of an element, rounding still leaves ten digits.
GLANCE = 8
#: ... and once the one-sided derivatives are known to this part of their first quotients, so that
#: a difference between them would show.
SETTLED = 1e-2
#: Forward and backward derivative differ, if they do so by this many times their errors.
KINK = 6.0
#: A finer estimate contradicts a coarser one beyond this many times their errors.
CONTRADICTION = 3.0
#: Quotients grow without bound if they still do within so many of the finest steps: what merely
#: oscillates at the coarse ones has settled by then.
NEAR_END = 6
#: A quotient this many times its noise is certain to be no noise.
STANDS_OUT = 50.0
#: A change of up to this many times the noise may be a single unit in the last place of some
#: larger number that the function has computed with; a kink nearby makes larger ones.
QUANTUM = 1e6
#: ... and so may any change be, if all changes up to this many times as large are multiples of it.
UNITS = 64.0

# --- noise ---------------------------------------------------------------------------------------

#: Samples of a function that its noise is measured on, and their relative spacing: so fine that a
#: smooth function is a cubic there, so coarse that rounding differs from one sample to the next.
NOISE_SAMPLES = 12
NOISE_SPACING: dict[np.dtype[Any], float] = {
    np.dtype(np.float64): 2.0**-34,
    np.dtype(np.float32): 2.0**-16,
}
#: Multiples of that spacing, tried in turn while the differences are 0.
NOISE_WIDENING = (1, 2**8, 2**14, 2**18)
#: Moves by an ulp that the gradient's own rounding is measured on, a third of them of x alone: a
#: single one may hit where it happens to be small.
ULP_MOVES = 6
#: ... and how much wider they are where a jump has to be told from a loud noise.
WIDER = 256.0
#: A gradient that jumps by more than this when x moves by an ulp had a tie broken, not noise.
JUMP = 3e-2
#: Rounding in sum(a_i d_i) of n products and in the backward pass, in units in the last place.
ULPS = 16.0

# --- judgement -----------------------------------------------------------------------------------

#: A derivative is wrong if it is off by more than this many times the estimated errors.
SAFETY = 8.0
#: The steps of a ladder that confirms a wrong derivative, in units of the first one's: thirds of
#: the way from one rung to the next, so that no step is met twice.
CONFIRM = (0.63, 0.4)
#: Differences that cannot tell a relative error of this size are reported as weak.
WEAK_AT = 1e-4
#: ... unless they can tell this much of the largest derivative of the same input.
NEGLIGIBLE = 1e-9

# --- the complex step ----------------------------------------------------------------------------

#: So small that its square, the error, is 0 beside 1 in any precision; nothing is subtracted, so
#: that nothing is lost (W. Squire, G. Trapp, SIAM Rev. 40 (1998), 110-112,
#: doi:10.1137/S003614459631241X).
COMPLEX_STEP = 1e-20
#: It is believed where differences confirm it, which they do if they are at least this exact.
COMPLEX_NEEDS = 1e-4
#: Where values are put off by rounding, so are derivatives, analytic ones too: what is larger than
#: the result on the way (as y z beside logaddexp(0, z)) is so in both. This many times as much is
#: allowed, per relative unit of the line.
COMPLEX_NOISE = 4.0

# --- contracts -----------------------------------------------------------------------------------

#: The backward pass of c times a cotangent is c times the backward pass, exactly, if c is a power
#: of two; and of -2 as well. One that clips shows at the large one, one that rounds at the small.
#: They are as far apart as the range of numbers bears, by the bytes of one.
FACTORS = {
    8: (-2.0, 2.0**40, 2.0**-40),
    4: (-2.0, 1024.0, 2.0**-10),
    2: (-2.0, 8.0, 0.125),
}
#: ... within this many units in the last place: products may be taken in another order.
HOMOGENEOUS = 8.0
#: That of a sum is the sum of those only up to rounding, which cancellation may enlarge.
ADDITIVE = 1e-6
#: A random combination of outputs against the combination of their rows, in units in the last
#: place of the sum of sizes: only the backward pass' own rounding stands between them.
MIX = 256.0

# --- how much is probed --------------------------------------------------------------------------

#: Up to this many outputs every one is checked by itself, and one random combination of them.
MAX_OUTPUTS = 32
#: Of more outputs, this many random combinations are checked.
COMBINATIONS = 6
#: Up to this many elements are probed one by one (see `gradcheck`), more along directions.
ALONE = 64
#: The decades of contribution to the result that one direction spans: an error of a small element
#: would drown beside large ones.
BIN = 3.0
#: Random directions through each bin: an error that one of them cancels shows in the other.
DIRECTIONS = 2
#: Lines that may be probed where elements are not probed one by one; a wrong direction among a
#: million elements takes 40 to bisect.
BUDGET = 400
#: Bisection of a direction ends when so many of its elements were found to be wrong: the pattern
#: is known by then.
LOCATED = 8
#: Seconds after which a progress bar appears.
PATIENCE = 2.0

# --- blame ---------------------------------------------------------------------------------------

#: Applications of primitives that are checked properly; each takes as long as a small check.
APPLICATIONS = 100
#: Elements of an application's inputs up to which they are checked one by one.
APPLICATION_ALONE = 16
#: The step of a glance at an application, by the size of its numbers in bytes; and the share of
#: the change that the one-sided difference may be off by, which is the step times a curvature.
GLANCE_STEP = {8: 2.0**-20, 4: 2.0**-9}
GLANCE_ALLOWS = {GLANCE_STEP[8]: 1e-4, GLANCE_STEP[4]: 3e-2}
#: Moves of the inputs that show whether a constant moves with them, relative.
LEAK_STEP = 2.0**-17
#: A constant whose derivative is less than this share of the whole one is no culprit.
LEAK_SHARE = 1e-4
#: What the constants' derivatives add must be what is missing, up to this share, to explain it.
LEAK_EXPLAINS = 1e-2

#: How far away from the inputs as given, relative to each, one more direction is checked.
ELSEWHERE = 0.0625

# --- kinks ---------------------------------------------------------------------------------------

#: Up to this many elements with kinks are held against each other in pairs.
TIED = 8
#: How far around a kink the function's derivatives are sampled, and with which step; near enough
#: to see no other kink, far enough for differences to have digits.
AROUND, STEP_AROUND = 1e-8, 1e-9
#: How exact those derivatives are, without extrapolation.
EXACT_AROUND = 1e-4
#: They are sampled at this many points; at a kink they differ at least by this part of their size.
POINTS_AROUND, JUMP_AROUND = 48, 1e-2
#: ... which are a sample: the least and the largest of all may be this part of the range further.
HULL = 0.05

# --- second order --------------------------------------------------------------------------------

#: Directions in the space of gradients whose derivatives are checked.
SECOND_ORDER_ROWS = 3
#: As `ALONE` and `BUDGET`: a second derivative costs several times a first one.
SECOND_ALONE, SECOND_BUDGET = 16, 60

# --- Taylor's remainder --------------------------------------------------------------------------

#: Steps of the remainder on each side, each a quarter of the one before: 18 octaves, after which
#: a remainder that falls as h² has lost 11 decades. More would only be rounding.
TAYLOR_STEPS = 10
#: They end once so many in turn have been lost in rounding.
TAYLOR_LOST = 3
#: A remainder this many times what rounding can make of it has a slope that means something.
CLEAR = 10.0
#: A slope is fitted to at least so many remainders, the finest ones, and to coarser ones for as
#: long as the slope between them stays within this of that.
FITTED, ASYMPTOTIC = 3, 0.25
#: A remainder that falls at least with this power of h is of second order, one whose power is
#: between these of first; what is between the two is neither for long, and is not judged.
SECOND_ORDER, FIRST_ORDER = 1.75, (0.85, 1.15)
#: A remainder that is all rounding confirms a gradient that, were it off by this part of its size,
#: would have left more than that.
SHOWS = 1e-2
#: A note tells of a remainder of first order only if it has been so for this many octaves.
NOTED = 6.0

# --- diagnosis -----------------------------------------------------------------------------------

#: Lines through an input that may be probed for the sake of a diagnosis.
MORE_LINES = 12
#: A slope takes part in fits if it is known this well, ...
SLOPE_KNOWN = 1e-3
#: ... and a factor is recognised if it is known this well; one that only a single slope speaks
#: for, if it is known even better.
FACTOR_KNOWN, FACTOR_ALONE = 1e-4, 1e-8
#: A set of elements is named if so many others of the same size could have been the wrong ones.
COINCIDENCES = 200
#: Beyond this many elements only factors are tried: others take copies of all derivatives.
LARGE = 1_000_000
