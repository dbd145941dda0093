"""Functions as they stand in scientific code: NumPy for arrays, and nothing else in mind.

Each comes with arguments to differentiate it at. The module must not import the package that
differentiates them, nor be written for it, but for one thing: arrays are not filled in place.
"""

# ruff: noqa: B905, N803, N806, RUF007, RUF059  # the code is left as it is written elsewhere

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Code(NamedTuple):
    """A function, and how to draw its arguments."""

    f: Callable[..., Any]
    draw: Callable[[np.random.Generator], tuple[Any, ...]]
    smooth: bool  # whether it has second derivatives


CODE: dict[str, Code] = {}


def at(
    draw: Callable[[np.random.Generator], tuple[Any, ...]], *, smooth: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        CODE[f.__name__] = Code(f, draw, smooth)
        return f

    return enter


# --- sequences and time series -------------------------------------------------------------------


def log_normalized(x):
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


@at(lambda r: (r.normal(size=3), r.normal(size=(3, 3)), r.normal(size=(3, 4))))
def hidden_markov(start, transition, emission, seen=(0, 3, 1, 1, 2, 0)):
    """Log-probability of observations by the forward algorithm."""
    transition, emission = log_normalized(transition), log_normalized(emission)
    alpha = log_normalized(start) + emission[:, seen[0]]
    for o in seen[1:]:
        alpha = np.logaddexp.reduce(alpha[:, None] + transition, axis=0) + emission[:, o]
    return np.logaddexp.reduce(alpha)


@at(lambda r: (r.normal(size=(6, 3)), r.normal(size=(3, 3))), smooth=False)
def viterbi(scores, transition):
    """Score of the best path, by its states."""
    delta, back = scores[0], []
    for row in scores[1:]:
        options = delta[:, None] + transition
        back.append(np.argmax(options, axis=0))
        delta = np.max(options, axis=0) + row
    state = int(np.argmax(delta))
    path = [state]
    for pointers in back[::-1]:
        state = int(pointers[state])
        path.insert(0, state)
    again = sum(scores[t, s] for t, s in enumerate(path))
    again += sum(transition[s, t] for s, t in zip(path, path[1:]))
    return delta.max() + 2.0 * again


@at(lambda r: (np.array([0.1, 0.2, 0.6]), r.normal(size=25)))
def garch(parameters, returns):
    """Negative log-likelihood of GARCH(1, 1)."""
    omega, alpha, beta = parameters
    variance = np.var(returns)
    loss = 0.0
    for r in returns:
        loss += 0.5 * (np.log(2 * np.pi * variance) + r**2 / variance)
        variance = omega + alpha * r**2 + beta * variance
    return loss


@at(lambda r: (np.array([0.5, -0.3]), np.array(0.3), r.normal(size=30)))
def arma(ar, ma, x):
    """Sum of squared innovations of an ARMA(2, 1) process."""
    e = [0.0, 0.0]
    for t in range(2, len(x)):
        e.append(x[t] - ar @ x[t - 2 : t][::-1] - ma * e[-1])
    return np.sum(np.square(np.stack(e[2:])))


@at(lambda r: (np.array(0.3), r.normal(size=20), np.array(1.0)))
def holt(smoothing, series, level):
    """Errors of exponential smoothing."""
    errors = []
    for value in series:
        errors.append(value - level)
        level = level + smoothing * errors[-1]
    return np.mean(np.sqrt(1.0 + np.stack(errors) ** 2))


@at(lambda r: (r.normal(size=64), 1.0 + r.uniform(size=16)))
def welch(signal, window):
    """Power spectrum by averaged periodograms, in decibels."""
    starts = range(0, len(signal) - len(window) + 1, len(window) // 2)
    frames = np.stack([signal[s : s + len(window)] for s in starts])
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    power = np.mean(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0)
    return 10.0 * np.log10(power / np.sum(window**2) + 1e-3)


@at(lambda r: (r.normal(size=20),))
def savitzky_golay(y, width=5, degree=2):
    half = width // 2
    basis = np.vander(np.arange(-half, half + 1), degree + 1, increasing=True)
    kernel = np.linalg.pinv(basis.astype(float))[0]
    padded = np.pad(y, half, mode="reflect")
    return np.convolve(padded, kernel[::-1], mode="valid")


@at(lambda r: (r.normal(size=12), r.normal(size=(4, 5)), r.normal(size=(4, 5)), r.normal(size=4)))
def recurrent(inputs, gates, candidates, h):
    """Last state of a gated recurrent cell."""
    for x in inputs.reshape(-1, 4)[:, :1]:
        joined = np.concatenate([x, h])
        z = 1.0 / (1.0 + np.exp(-gates @ joined))
        h = (1.0 - z) * h + z * np.tanh(candidates @ joined)
    return h


# --- dynamics -------------------------------------------------------------------------------------


@at(lambda r: (r.normal(size=(4, 3)), 0.1 * r.normal(size=(4, 3)), r.uniform(0.5, 2.0, 4)))
def gravity(x, v, mass, dt=0.05, softening=0.1):
    """Energy of bodies after some steps of the leapfrog method."""

    def acceleration(x):
        d = x[None, :, :] - x[:, None, :]
        cube = (np.sum(d**2, axis=-1) + softening**2) ** -1.5
        return np.einsum("ijk,ij,j->ik", d, cube, mass)

    for _ in range(5):
        v = v + 0.5 * dt * acceleration(x)
        x = x + dt * v
        v = v + 0.5 * dt * acceleration(x)
    i, j = np.triu_indices(len(mass), 1)
    distance = np.sqrt(np.sum((x[i] - x[j]) ** 2, axis=1) + softening**2)
    return 0.5 * np.sum(mass[:, None] * v**2) - np.sum(mass[i] * mass[j] / distance)


@at(lambda r: (r.uniform(0.5, 1.5, 9), r.normal(size=10)))
def heat(conductivity, u, dt=0.1, steps=4):
    """Crank and Nicolson's method for heat in a rod of changing conductivity."""
    flux = np.diag(conductivity) @ np.diff(np.eye(len(u)), axis=0)
    A = np.diff(np.eye(len(u)), axis=0).T @ flux
    left, right = np.eye(len(u)) + 0.5 * dt * A, np.eye(len(u)) - 0.5 * dt * A
    for _ in range(steps):
        u = np.linalg.solve(left, right @ u)
    return u


@at(lambda r: (r.normal(size=3), np.array([10.0, 28.0, 8.0 / 3.0])))
def lyapunov(state, parameters, dt=0.02, steps=10):
    """Exponents of the Lorenz system, by orthogonalizing its tangents."""
    sigma, rho, beta = parameters
    tangents = np.eye(3)
    total = np.zeros(3)
    for _ in range(steps):
        x, y, z = state
        zero = 0.0 * x
        jacobian = np.stack(
            [
                np.stack([-sigma, sigma, zero]),
                np.stack([rho - z, zero - 1.0, -x]),
                np.stack([y, x, -beta]),
            ]
        )
        state = state + dt * np.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])
        tangents, R = np.linalg.qr(tangents + dt * jacobian @ tangents)
        total = total + np.log(np.abs(np.diagonal(R)))
    return total / (steps * dt)


@at(lambda r: (r.uniform(-3.0, 3.0, 6), r.normal(size=6), np.array(1.5)))
def kuramoto(phase, frequency, coupling, dt=0.1):
    """Order parameter of coupled oscillators."""
    for _ in range(8):
        pull = np.mean(np.sin(phase - phase[:, np.newaxis]), axis=1)
        phase = np.mod(phase + dt * (frequency + coupling * pull), 2 * np.pi)
    return np.abs(np.mean(np.exp(1j * phase)))


@at(lambda r: (r.normal(size=(5, 5)), r.normal(size=5), np.array(0.4)))
def mean_field(couplings, field, beta):
    """Magnetization of an Ising model, iterated until it stands."""
    J = 0.5 * (couplings + couplings.T) * (1.0 - np.eye(5))
    m = np.zeros(5)
    for _ in range(300):
        new = np.tanh(beta * (J @ m + field))
        if np.max(np.abs(new - m)) < 1e-13:
            return new
        m = new
    return m


@at(lambda r: (np.array(0.6), np.array(2.5)))
def kepler(eccentricity, anomaly):
    """Position on an orbit: Newton's method for the eccentric anomaly."""
    E = anomaly
    for _ in range(50):
        step = (E - eccentricity * np.sin(E) - anomaly) / (1.0 - eccentricity * np.cos(E))
        E = E - step
        if abs(step) < 1e-15:
            break
    true = 2.0 * np.arctan2(
        np.sqrt(1.0 + eccentricity) * np.sin(E / 2.0), np.sqrt(1.0 - eccentricity) * np.cos(E / 2.0)
    )
    return np.rad2deg(true), 1.0 - eccentricity * np.cos(E)


# --- geometry and images -------------------------------------------------------------------------


@at(lambda r: (r.normal(size=(7, 3)), r.normal(size=(7, 3))))
def kabsch(P, Q):
    """Distance of two clouds of points after the best rotation."""
    P, Q = P - P.mean(axis=0), Q - np.average(Q, axis=0)
    U, s, Vt = np.linalg.svd(P.T @ Q)
    sign = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    R = U @ np.diag([1.0, 1.0, sign]) @ Vt
    return np.sqrt(np.mean(np.sum((P @ R - Q) ** 2, axis=-1)))


@at(lambda r: (r.normal(size=3), r.normal(size=3), r.normal(size=(5, 3)), np.array(1.3)))
def camera(rotation, translation, points, focal):
    """Projection with a rotation vector (Rodrigues' formula)."""
    angle = np.linalg.norm(rotation)
    k = rotation / angle
    turned = (
        points * np.cos(angle)
        + np.cross(k, points) * np.sin(angle)
        + np.outer(points @ k, k) * (1.0 - np.cos(angle))
    )
    x, y, z = (turned + translation + np.array([0.0, 0.0, 8.0])).T
    return focal * np.column_stack((x / z, y / z))


@at(lambda r: (r.uniform(-60.0, 60.0, 4), r.uniform(-150.0, 150.0, 4)))
def haversine(latitude, longitude):
    """Length of a way on the globe, in kilometres."""
    lat, lon = np.deg2rad(latitude), np.radians(longitude)
    a = (
        np.sin(np.diff(lat) / 2.0) ** 2
        + np.cos(lat[:-1]) * np.cos(lat[1:]) * np.sin(np.diff(lon) / 2.0) ** 2
    )
    return 2.0 * 6371.0 * np.arcsin(np.sqrt(a)).sum()


@at(lambda r: (r.normal(size=(6, 7)),))
def total_variation(image, eps=1e-2):
    gy, gx = np.gradient(image)
    return np.sum(np.sqrt(gx**2 + gy**2 + eps)) + 0.1 * np.sum(np.hypot(gx, gy) ** 2)


@at(
    lambda r: (r.normal(size=(2, 8, 8)), r.normal(size=(3, 2, 3, 3)), r.normal(size=3)),
    smooth=False,
)
def convolutional(image, kernels, bias):
    """A layer of convolution, and the maximum of each 2 x 2."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))
    y = np.tensordot(kernels, windows, axes=([1, 2, 3], [0, 3, 4])) + bias[:, None, None]
    return np.maximum(y, 0.0).reshape(3, 3, 2, 3, 2).max(axis=(2, 4))


@at(lambda r: (r.normal(size=(8, 8)), r.normal(size=(8, 8))))
def phase_retrieval(phase, amplitude):
    """Far field of an object, of which only the intensity is seen."""
    field = np.abs(amplitude) * np.exp(1j * phase)
    far = np.fft.fftshift(np.fft.fft2(field, norm="ortho"))
    return (far * far.conj()).real


@at(lambda r: (r.uniform(0.2, 0.8, 3), r.uniform(1.2, 2.2, 3)))
def thin_films(thickness, index, wavelengths=(0.5, 0.6)):
    """Reflectance of layers, by the product of their characteristic matrices."""
    reflected = []
    for wavelength in wavelengths:
        M = np.eye(2, dtype=complex)
        for d, n in zip(thickness, index):
            phi = 2.0 * np.pi * n * d / wavelength
            c, s = np.cos(phi), np.sin(phi)
            M = M @ np.block([[c, 1j * s / n], [1j * n * s, c]])
        B, C = M @ np.array([1.0, 1.5])
        reflected.append(np.abs((B - C) / (B + C)) ** 2)
    return np.stack(reflected)


@at(lambda r: (r.normal(size=(10, 2)), r.normal(size=(10, 5))))
def t_sne(y, x):
    """Divergence of two matrices of neighbours."""

    def squared(a):
        norms = np.sum(a * a, axis=1)
        return norms[:, None] + norms - 2.0 * a @ a.T

    off = ~np.eye(len(x), dtype=bool)
    P = np.where(off, np.exp(-squared(x) / 8.0), 0.0)
    P = P / P.sum()
    Q = np.where(off, 1.0 / (1.0 + squared(y)), 0.0)
    Q = Q / Q.sum()
    return np.sum(P[off] * np.log(P[off] / Q[off]))


@at(lambda r: (r.normal(size=(5, 2)), np.array([0.2, 0.3, 0.5]), r.normal(size=(3, 2))))
def sinkhorn(x, weights, y, epsilon=0.5):
    """Cost of transport with entropy, by scaling logarithms."""
    cost = np.sum((x[:, None] - y[None]) ** 2, axis=-1)
    a, b = np.full(len(x), 1.0 / len(x)), weights / weights.sum()
    f, g = np.zeros(len(x)), np.zeros(len(y))
    for _ in range(20):
        f = epsilon * (np.log(a) - np.logaddexp.reduce((g - cost) / epsilon, axis=1))
        g = epsilon * (np.log(b) - np.logaddexp.reduce((f[:, None] - cost) / epsilon, axis=0))
    plan = np.exp((f[:, None] + g - cost) / epsilon)
    return np.vdot(plan, cost)


# --- statistics ----------------------------------------------------------------------------------


@at(lambda r: (r.normal(size=3), r.normal(size=(12, 3)), r.exponential(size=12)))
def cox(beta, X, times):
    """Partial likelihood of proportional hazards."""
    order = np.argsort(-times)
    eta = (X @ beta)[order]
    at_risk = np.log(np.cumsum(np.exp(eta)))
    return -np.sum((eta - at_risk)[::2])


@at(lambda r: (r.normal(size=(9, 3)), r.normal(size=9), r.uniform(0.5, 2.0, 9)))
def leave_one_out(X, y, weights):
    """Mean error of weighted least squares for left out points, by the hat matrix."""
    root = np.sqrt(weights)[:, None]
    A = root * np.hstack([np.ones((len(X), 1)), X])
    z = root[:, 0] * y
    coefficients, *_ = np.linalg.lstsq(A, z, rcond=None)
    hat = A @ np.linalg.inv(A.T @ A) @ A.T
    return np.mean(((z - A @ coefficients) / (1.0 - np.diag(hat))) ** 2)


@at(lambda r: (r.normal(size=(15, 4)),))
def mahalanobis(X):
    """Distances from the centre; and the correlations."""
    covariance = np.cov(X, rowvar=False)
    d = X - np.mean(X, 0)
    squared = np.einsum("ij,jk,ik->i", d, np.linalg.inv(covariance), d)
    return np.sqrt(squared), np.corrcoef(X.T)


@at(lambda r: (r.normal(size=21), np.array(1.2)), smooth=False)
def robust(x, delta):
    """Huber's loss of data, scaled by median and quartiles."""
    low, middle, high = np.percentile(x, [25, 50, 75])
    z = (x - np.median(x)) / (high - low) + 0.1 * middle
    small = np.abs(z) <= delta
    loss = np.where(small, 0.5 * z**2, delta * (np.abs(z) - 0.5 * delta))
    trimmed = np.sort(loss)[3:-3]
    return trimmed.mean() + np.ptp(x)


@at(lambda r: (r.normal(size=12), np.linspace(-2.0, 2.0, 9), np.array(0.5)))
def kernel_density(data, grid, width):
    """Entropy of a density estimate."""
    z = np.subtract.outer(grid, data) / width
    density = np.exp(-0.5 * z**2).mean(axis=-1) / (width * np.sqrt(2 * np.pi))
    return -np.trapezoid(density * np.log(density), grid)


@at(lambda r: (np.array([0.05, 0.2]), np.array(100.0), r.normal(size=(20, 6))), smooth=False)
def asian_option(market, start, noise, strike=98.0, years=1.0):
    """Price by simulated paths."""
    rate, volatility = market
    dt = years / noise.shape[1]
    steps = (rate - 0.5 * volatility**2) * dt + volatility * np.sqrt(dt) * noise
    paths = start * np.exp(np.cumsum(steps, axis=1))
    payoff = np.maximum(paths.mean(axis=1) - strike, 0.0)
    return np.exp(-rate * years) * payoff.mean()


@at(lambda r: (r.uniform(0.5, 2.0, 6), r.normal(size=6)))
def grouped(weights, values, groups=(0, 2, 1, 0, 2, 2)):
    """Weighted means of groups."""
    totals = np.bincount(groups, weights=weights * values, minlength=3)
    order = np.argsort(groups, kind="stable")
    counts = np.add.reduceat(weights[order], [0, 2, 3])
    return totals / counts


@at(lambda r: (r.normal(size=5), r.normal(size=(2, 4, 6)), r.normal(size=(3, 6, 6))))
def attention(temperature, x, projections, heads=2):
    """Causal attention, after normalizing."""
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    q, k, v = (np.reshape(x @ W, (2, 4, heads, 3)).transpose(0, 2, 1, 3) for W in projections)
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) * np.exp(temperature[0]) / np.sqrt(3.0)
    scores = np.where(np.tril(np.ones((4, 4), bool)), scores, -np.inf)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return np.matmul(p, v).swapaxes(1, 2).reshape(2, 4, -1)


# --- linear algebra ------------------------------------------------------------------------------


@at(lambda r: (r.uniform(0.5, 2.0, 5), r.uniform(1.0, 2.0, 5)))
def eigenfrequencies(stiffness, mass):
    """Frequencies of a chain of masses and springs."""
    K = np.diag(stiffness + np.append(stiffness[1:], 0.0))
    K = K - np.diag(stiffness[1:], 1) - np.diag(stiffness[1:], -1)
    L = np.linalg.cholesky(np.diag(mass))
    W = np.linalg.solve(L, np.linalg.solve(L, K).T)
    return np.sqrt(np.linalg.eigvalsh(W)) / (2.0 * np.pi)


@at(lambda r: (r.uniform(size=(5, 5)), np.array(0.85)))
def page_rank(links, damping):
    """Stationary distribution by powers."""
    P = links / links.sum(axis=0)
    G = damping * P + (1.0 - damping) / len(P)
    rank = np.ones(len(P)) / len(P)
    old = np.zeros(len(P))
    steps = 0
    while not np.allclose(rank, old, rtol=0.0, atol=1e-14) and steps < 200:
        rank, old, steps = G @ rank, rank, steps + 1
    return rank + np.linalg.matrix_power(G, 3)[:, 0]


@at(lambda r: (r.normal(size=(2, 3)), r.normal(size=(3, 2, 3)), r.normal(size=(3, 2))))
def matrix_product_state(first, middle, last):
    """Norm and one amplitude."""
    state = np.tensordot(np.tensordot(first, middle, axes=1), last, axes=(-1, 0))
    amplitude = np.linalg.multi_dot([first[:1], middle[:, 1], last])
    return np.sqrt(np.sum(state**2)), amplitude.squeeze(axis=0)


@at(lambda r: (r.normal(size=(3, 3)), r.normal(size=(2, 2)), r.normal(size=6)))
def kronecker(A, B, y):
    """Log-density under a covariance that is a Kronecker product."""
    K1, K2 = A @ A.T + np.eye(3), B @ B.T + np.identity(2)
    K = np.kron(K1, K2)
    sign, logdet = np.linalg.slogdet(K)
    return -0.5 * (y.T.dot(np.linalg.solve(K, y)) + logdet) + np.trace(K) / K.shape[0]


@at(lambda r: (r.normal(size=(4, 4)),))
def matrix_exponential(A, terms=18):
    total = term = np.eye(len(A))
    for k in range(1, terms):
        term = term @ A / k
        total = total + term
    return total


# --- curves and tables ---------------------------------------------------------------------------


@at(lambda r: (r.normal(size=6), np.sort(r.uniform(0.0, 5.0, 8))))
def lookup(table, x):
    """A table, interpolated; its derivative by finite differences, and its integral."""
    grid = np.arange(6.0)
    y = np.interp(x, grid, table)
    return y, np.gradient(table, 0.5), np.trapezoid(y, x), np.cumsum(y * np.gradient(x))


@at(lambda r: (r.normal(size=4), r.uniform(-1.0, 1.0, 5)))
def polynomial(coefficients, x):
    """Values by Horner's rule, and of the integral and the square."""
    y = np.polyval(coefficients, x)
    return y, np.polyval(np.polyint(coefficients), x), np.convolve(coefficients, coefficients)


@at(lambda r: (r.uniform(0.1, 3.0, 9), np.array([1.0, 2.0])))
def broken_power_law(x, breaks):
    """A spectrum with pieces."""
    a, b = breaks
    return np.select(
        [x < a, x < b], [x**-1.0, a**-1.0 * (x / a) ** -2.0],
        default=a**-1.0 * (b / a) ** -2.0 * np.exp(-(x - b)),
    )  # fmt: skip


@at(lambda r: (np.array(8.6), r.normal(size=32)))
def windowed_sinc(beta, signal, taps=9, cutoff=0.3):
    """A low-pass filter by Kaiser's window."""
    n = np.arange(taps) - (taps - 1) / 2
    window = np.i0(beta * np.sqrt(1.0 - (2.0 * n / (taps - 1)) ** 2)) / np.i0(beta)
    h = np.sinc(2.0 * cutoff * n) * window
    return np.convolve(signal, h / h.sum(), "same")


@at(lambda r: (np.array([1.0, 0.5, 0.2]), np.linspace(0.0, 6.0, 40)))
def phase_unwrapped(coefficients, t):
    """Phase of a chirp, unwrapped, and the instantaneous frequency."""
    z = np.exp(1j * (coefficients[0] + coefficients[1] * t + coefficients[2] * t**2))
    phase = np.unwrap(np.angle(z))
    return phase, np.diff(phase) / np.diff(t)


@at(lambda r: (r.normal(size=(5, 2)), np.linspace(0.05, 0.95, 7)))
def bezier(points, t):
    """A curve by de Casteljau's algorithm, and its length."""
    layer = [p + 0.0 * t[:, None] for p in points]
    while len(layer) > 1:
        layer = [(1.0 - t[:, None]) * a + t[:, None] * b for a, b in zip(layer, layer[1:])]
    length = np.linalg.norm(np.diff(layer[0], axis=0), axis=1).sum()
    return layer[0], length


@at(lambda r: (r.uniform(0.1, 0.9, 5), r.uniform(0.1, 0.9, 5)))
def information(p, q):
    """Divergences of distributions."""
    p, q = p / np.sum(p), q / np.sum(q)
    m = (p + q) / 2
    jensen = 0.5 * np.sum(p * np.log(p / m) + q * np.log(q / m))
    hellinger = np.sqrt(1.0 - np.sum(np.sqrt(p * q)))
    return np.array(0.5) * jensen, hellinger, np.prod(p) ** (1.0 / 5.0), -(p * np.log2(p)).sum()
