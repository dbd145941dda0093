"""Linear algebra: what the registry of samples cannot say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_nn import Tensor, Value, tensor
from tinygrad_nn.backward import pull_back
from tinygrad_nn.errors import NotDifferentiableError, ShapeError
from tinygrad_nn.rules import TABLE
from tinygrad_nn.rules.einsum import _written_out

Array = np.ndarray
la = np.linalg


def leaf(x: Any) -> Tensor:
    return tensor(x, requires_grad=True)


def gradient(f: Callable[[Any], Any], x: Any) -> Array:
    x = leaf(x)
    y = f(x)
    y.backward()
    assert x.grad is not None
    return x.grad


def hessian(f: Callable[[Any], Any], x: Any) -> Array:
    """Return second derivatives by the flattened elements of `x`."""
    x = leaf(x)
    _, first = pull_back([(f(x), leaf(np.ones(())))], record=True)
    g = np.ravel(first[x.serial])
    rows = [pull_back([(g[i], np.ones(()))])[1].get(x.serial) for i in range(x.size)]
    return np.array([np.zeros(x.size) if row is None else np.ravel(row) for row in rows])


def along(f: Callable[[Any], Any], x: Array, v: Array, h: float = 1e-4) -> float:
    """Return the derivative of a real `f` along `v`, numerically."""
    y = [float(f(x + step * h * v)) for step in (-2.0, -1.0, 1.0, 2.0)]
    return (y[0] - 8.0 * y[1] + 8.0 * y[2] - y[3]) / (12.0 * h)


def symmetric(rng: np.random.Generator, *shape: int) -> Array:
    x = rng.normal(size=shape)
    return x + np.swapaxes(x, -1, -2)


# --- symmetric matrices --------------------------------------------------------------------------

W = np.random.default_rng(0).uniform(0.5, 1.5, (3, 3))

OF_SYMMETRIC: dict[str, Callable[[Any], Any]] = {
    "eigvalsh": lambda x: np.sum(W[0] * la.eigvalsh(x)),
    "eigvalsh U": lambda x: np.sum(W[0] * la.eigvalsh(x, "U")),
    "eigh": lambda x: np.sum(W * la.eigh(x).eigenvectors ** 2) + np.sum(W[1] * la.eigh(x)[0] ** 3),
    "eigh U": lambda x: np.sum(W * la.eigh(x, UPLO="U")[1] ** 2),
    "eigh, projectors": lambda x: np.sum(W * (la.eigh(x)[1][:, :2] @ la.eigh(x)[1][:, :2].T)),
    "cholesky": lambda x: np.sum(W * la.cholesky(x @ x + np.eye(3))),
    "cholesky, direct": lambda x: np.sum(W * la.cholesky(x + 9.0 * np.eye(3))),
    "cholesky, upper": lambda x: np.sum(W * la.cholesky(x + 9.0 * np.eye(3), upper=True)),
    "svd": lambda x: np.sum(W[0] * la.svd(x, hermitian=True)[1]),
    "pinv": lambda x: np.sum(W * la.pinv(x, hermitian=True)),
}


@pytest.mark.parametrize("case", OF_SYMMETRIC)
def test_functions_of_a_symmetric_matrix(case: str, rng: np.random.Generator) -> None:
    f = OF_SYMMETRIC[case]
    x = symmetric(rng, 3, 3) + np.diag([0.0, 3.0, -4.0])
    g = gradient(f, x)
    assert_allclose(g, g.T, atol=1e-13)
    v, u = symmetric(rng, 3, 3), symmetric(rng, 3, 3)
    assert_allclose(np.sum(g * v), along(f, x, v), rtol=1e-7)
    assert_allclose(
        v.ravel() @ hessian(f, x) @ u.ravel(),
        along(lambda y: float(np.sum(gradient(f, y) * v)), x, u),
        rtol=1e-6,
    )


@pytest.mark.parametrize("upper", [False, True])
def test_one_triangle_is_read(upper: bool, rng: np.random.Generator) -> None:
    whole = symmetric(rng, 2, 3, 3) + 9.0 * np.eye(3)
    triangle = np.triu(whole) if upper else np.tril(whole)
    triangle[..., *((0, 2) if not upper else (2, 0))] = np.nan
    uplo = "U" if upper else "L"
    assert_array_equal(TABLE["mirrored"](leaf(triangle), upper=upper).data, whole)
    w, v = la.eigh(leaf(triangle), uplo)
    expected = la.eigh(whole, uplo)
    assert_array_equal(w.data, expected[0])
    assert_array_equal(v.data, expected[1])
    assert_allclose(la.eigvalsh(leaf(triangle), uplo).data, expected[0], rtol=1e-14)
    factor = la.cholesky(leaf(triangle), upper=upper)
    assert_allclose(factor.data, la.cholesky(whole, upper=upper), rtol=1e-14, atol=1e-15)


# --- coinciding eigenvalues and singular values --------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(la.eigvalsh(x) ** 2),
        lambda x: np.sum(la.eigh(x)[0] ** 2),
        lambda x: np.sum(la.svdvals(x) ** 2),
        lambda x: np.sum(la.svd(x)[1] ** 2),
        lambda x: np.sum(np.real(la.eigvals(x) ** 2)),
        lambda x: np.sum(la.eig(x)[0] ** 2),
        lambda x: la.norm(x) ** 2,
    ],
    ids=["eigvalsh", "eigh", "svdvals", "svd", "eigvals", "eig", "norm"],
)
def test_functions_of_equal_values_alone(f: Callable[[Any], Any]) -> None:
    assert_allclose(gradient(f, np.eye(3)), 2.0 * np.eye(3), atol=1e-14)
    x = np.diag([2.0, 2.0, 0.5])
    assert_allclose(gradient(f, x), 2.0 * x, atol=1e-14)


@pytest.mark.parametrize(
    "f",
    [lambda x: np.sum(W * la.eigh(x)[1]), lambda x: np.sum(W * la.svd(x)[0])],
    ids=["eigh", "svd"],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_vectors_of_equal_values_have_no_derivative(f: Callable[[Any], Any]) -> None:
    assert not np.any(np.isfinite(gradient(f, np.eye(3))).all())


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("values", [la.eigvalsh, la.svdvals])
def test_second_derivatives_at_equal_values_are_never_wrong(values: Callable[[Any], Any]) -> None:
    # The true one exists here, but the vectors that lead to it do not.
    found = hessian(lambda x: np.sum(values(x) ** 2), np.eye(2))
    share = 0.5 if values is la.eigvalsh else 1.0
    off = np.array([[share, 1.0 - share], [1.0 - share, share]])
    expected = np.diag([2.0, 0.0, 0.0, 2.0])
    expected[1:3, 1:3] = 2.0 * off
    assert np.all(np.isnan(found) | np.isclose(found, expected))
    assert np.isfinite(found[0, 0])


# --- determinants of singular matrices -----------------------------------------------------------


def adjugate_transposed(x: Array) -> Array:
    n = len(x)
    minors = [
        [(-1) ** (i + j) * la.det(np.delete(np.delete(x, i, 0), j, 1)) for j in range(n)]
        for i in range(n)
    ]
    return np.array(minors)


@pytest.mark.parametrize("rank", [4, 3, 2, 1, 0])
def test_gradient_of_a_determinant_at_every_rank(rank: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, rank)) @ rng.normal(size=(rank, 4))
    g = gradient(la.det, x)
    expected = adjugate_transposed(x)
    assert_allclose(g, expected, atol=1e-13)
    if rank < 3:
        assert_allclose(g, 0.0, atol=1e-13)


@pytest.mark.parametrize("rank", [3, 2, 1])
def test_second_derivative_of_a_determinant(rank: int, rng: np.random.Generator) -> None:
    x = np.diag([1.5, -0.7, 0.4]) * (np.arange(3) < rank)
    x = la.qr(rng.normal(size=(3, 3)))[0] @ x @ la.qr(rng.normal(size=(3, 3)))[0]
    v, u = rng.normal(size=(2, 3, 3))
    slope = along(lambda y: float(np.sum(gradient(la.det, y) * v)), x, u)
    assert_allclose(v.ravel() @ hessian(la.det, x) @ u.ravel(), slope, rtol=1e-7, atol=1e-9)


def test_determinants_of_a_stack_some_singular() -> None:
    x = np.stack([np.eye(2), np.ones((2, 2)), np.zeros((2, 2))])
    g = gradient(lambda x: np.sum(la.det(x)), x)
    assert_allclose(g[0], np.eye(2), atol=1e-15)
    assert_allclose(g[1], [[1.0, -1.0], [-1.0, 1.0]], atol=1e-15)
    assert_allclose(g[2], np.zeros((2, 2)), atol=1e-15)


def test_slogdet_has_a_constant_sign() -> None:
    x = leaf([[0.0, 2.0], [1.0, 0.0]])
    sign, log = la.slogdet(x)
    assert (sign.item(), log.item()) == (-1.0, pytest.approx(np.log(2.0)))
    sign.backward()
    assert x.grad is None or not np.any(x.grad)
    assert type(la.slogdet(x)) is type(la.slogdet(np.eye(2)))


# --- norms: the conventions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "x", "expected"),
    [
        (None, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        (2, [0.0, 0.0], [0.0, 0.0]),
        (1, [0.0, 0.0], [0.0, 0.0]),
        (1, [0.0, -2.0], [0.0, -1.0]),
        (3, [0.0, 0.0], [0.0, 0.0]),
        (np.inf, [3.0, -3.0, 1.0], [0.5, -0.5, 0.0]),
        (np.inf, [0.0, 0.0], [0.0, 0.0]),
        (-np.inf, [3.0, -1.0, 1.0], [0.0, -0.5, 0.5]),
        (0.5, [0.0, 1.0], [0.0, 1.0]),
        ("fro", [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]),
        ("nuc", [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]),
        (2, [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]),
        (2, [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 0.5]]),
    ],
)
def test_subgradients_of_norms(order: Any, x: Any, expected: Any) -> None:
    assert_allclose(gradient(lambda x: la.norm(x, order), x), expected, atol=1e-15)


def test_second_derivative_of_the_norm_at_the_origin_is_zero() -> None:
    assert_array_equal(hessian(la.norm, [0.0, 0.0]), np.zeros((2, 2)))
    x = leaf(0.0)
    _, first = pull_back([(la.norm(np.stack([x, tensor(0.0)])), leaf(np.ones(())))], record=True)
    _, second = pull_back([(first[x.serial], np.ones(()))])
    assert not np.any(second.get(x.serial, 0.0))
    assert_array_equal(hessian(la.norm, [0.0, 1.0]), [[1.0, 0.0], [0.0, 0.0]])


def test_norm_of_integers_and_halves() -> None:
    assert la.norm(tensor([3, 4])).item() == 5.0
    x = leaf(np.array([300.0, 400.0], np.float16))
    assert la.norm(x).dtype == np.float16
    assert la.norm(x).item() == 500.0  # whose square half precision does not have


# --- inverses and linear systems -----------------------------------------------------------------


def test_lstsq_of_too_small_a_rank_is_the_shortest_solution(rng: np.random.Generator) -> None:
    a = np.outer(rng.normal(size=4), rng.normal(size=2))
    b = rng.normal(size=4)
    found = la.lstsq(leaf(a), b)
    expected = la.lstsq(a, b)
    assert_allclose(found[0].data, expected[0], atol=1e-13)
    assert found[1].shape == expected[1].shape == (0,)
    assert found[2].item() == expected[2] == 1


def test_pinv_has_its_derivative_at_constant_rank(rng: np.random.Generator) -> None:
    p, q = rng.normal(size=4), rng.normal(size=3)
    u, v = rng.normal(size=4), rng.normal(size=3)
    w = rng.normal(size=(3, 4))

    def f(x: Any) -> Any:
        return np.sum(w * la.pinv(x, rcond=1e-8))

    g = gradient(f, np.outer(p, q))
    h = 1e-5
    slope = (f(np.outer(p + h * u, q + h * v)) - f(np.outer(p - h * u, q - h * v))) / (2 * h)
    assert_allclose(np.sum(g * (np.outer(u, q) + np.outer(p, v))), slope, rtol=1e-7)


def test_identities(rng: np.random.Generator) -> None:
    """Derivatives of constants are zero: everything that cancels must do so."""
    x = rng.normal(size=(2, 4, 3)) + 3.0 * np.eye(4, 3)
    w = rng.normal(size=(2, 3, 3))
    for f in [
        lambda x: np.swapaxes(la.qr(x)[0], -1, -2) @ la.qr(x)[0],
        lambda x: np.swapaxes(la.svd(x, full_matrices=False)[0], -1, -2) @ la.svd(x, False)[0],
        lambda x: la.pinv(x) @ x,
        lambda x: la.inv(x[:, :3]) @ x[:, :3],
        lambda x: la.solve(x[:, :3], x[:, :3]),
    ]:
        assert_allclose(gradient(lambda x, f=f: np.sum(w * f(x)), x), 0.0, atol=1e-12)
    for f in [
        lambda x: la.qr(x)[0] @ la.qr(x)[1],
        lambda x: la.svd(x, False)[0] * la.svd(x, False)[1][:, None] @ la.svd(x, False)[2],
    ]:
        v = rng.normal(size=x.shape)
        assert_allclose(gradient(lambda x, f=f, v=v: np.sum(v * f(x)), x), v, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_half_precision_is_computed_in_single(n: int) -> None:
    x = np.eye(n, dtype=np.float16) * 2.0
    for f in (la.inv, la.cholesky, la.det, la.svdvals, la.eigvalsh):
        y = f(leaf(x))
        assert y.dtype == np.float16
        assert gradient(lambda x, f=f: np.sum(f(x)), x).dtype == np.float16


# --- complex matrices ----------------------------------------------------------------------------

_Z = np.array([[1.0 + 0.5j, 2.0, -0.3j], [0.3j, 1.5, 0.7], [0.2, -0.4 + 1.0j, 2.2]])


def _hermitian(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda z: f(z @ np.conjugate(z.T) + np.diag([1.0, 2.0, 3.0]))


def _projector(v: Any) -> Any:
    return np.outer(v, np.conjugate(v))


def _truncated(z: Any) -> Any:
    """Return a sum of the first two products of singular vectors, in which no phase is left."""
    u, s, vh = la.svd(z, full_matrices=False)
    return (u[:, :2] * s[:2] ** 2) @ vh[:2] + u[:, :1] @ vh[:1]


COMPLEX: dict[str, Callable[[Any], Any]] = {
    "inv": la.inv,
    "solve": lambda z: la.solve(z, z @ z[0]),
    "det": la.det,
    "slogdet": lambda z: la.slogdet(z).sign,
    "slogdet, logarithm": lambda z: la.slogdet(z).logabsdet,
    "matrix_power": lambda z: la.matrix_power(z, -2),
    "matmul": lambda z: z @ z,
    "einsum": lambda z: np.einsum("ij,jj,k->ik", z, z, z[0]),
    "vdot": lambda z: np.vdot(z[0], z[1]),
    "vecdot": lambda z: np.vecdot(z, z[0]),
    "tensordot": lambda z: np.tensordot(z, z, ((0, 1), (1, 0))),
    "kron": lambda z: np.kron(z[:2], z[0]),
    "cross": lambda z: np.cross(z[0], z),
    "eigvals": la.eigvals,
    "eig": lambda z: np.sum(la.eig(z)[1] * np.conjugate(la.eig(z)[1]) * W, axis=0),
    "eigvalsh": _hermitian(la.eigvalsh),
    "eigh": _hermitian(lambda z: la.eigh(z)[1] * np.conjugate(la.eigh(z)[1])),
    "eigh, projector": _hermitian(lambda z: _projector(la.eigh(z)[1][:, 0])),
    "cholesky": _hermitian(la.cholesky),
    "cholesky, upper": _hermitian(lambda z: la.cholesky(z, upper=True)),
    "svdvals": la.svdvals,
    "svd": lambda z: _truncated(z),
    "svd, tall": lambda z: _truncated(z[:, :2]),
    "svd, wide": lambda z: _truncated(z[:2]),
    "svd, sizes": lambda z: la.svd(z)[0] * np.conjugate(la.svd(z)[0]),
    "qr": lambda z: la.qr(z)[0] * W + la.qr(z)[1],
    "qr, tall": lambda z: la.qr(z[:, :2])[0] @ (1.0 + la.qr(z[:, :2])[1]),
    "qr, wide": lambda z: la.qr(z[:2])[0] @ (1.0 + la.qr(z[:2])[1]),
    "pinv": la.pinv,
    "pinv, tall": lambda z: la.pinv(z[:, :2]),
    "pinv, wide": lambda z: la.pinv(z[:2]),
    "lstsq": lambda z: la.lstsq(z[:, :2], z[:, 2])[0],
    "lstsq, residuals": lambda z: la.lstsq(z[:, :2], z[:, 2])[1],
    "norm": la.norm,
    "norm 1": lambda z: la.norm(z, 1),
    "norm 3": lambda z: la.vector_norm(z, ord=3),
    "nuclear norm": lambda z: la.norm(z, "nuc"),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPLEX)
def test_complex_gradients(case: str, rng: np.random.Generator) -> None:
    f = COMPLEX[case]
    shape = np.shape(f(_Z))
    w = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    assert_allclose(f(leaf(_Z)).data, f(_Z), rtol=1e-12, atol=1e-13)

    def loss(z: Any) -> Any:
        return np.sum(np.real(f(z) * w))

    g = gradient(loss, _Z)
    v = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    assert_allclose(np.sum(np.real(np.conj(g) * v)), along(loss, _Z, v), rtol=1e-7)


def test_second_derivative_of_a_complex_determinant_is_refused() -> None:
    z = leaf(_Z)
    _, first = pull_back([(np.real(la.det(z)), leaf(np.ones(())))], record=True)
    with pytest.raises(NotDifferentiableError, match=r"slogdet"):
        np.sum(np.real(first[z.serial])).backward()


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (la.inv, W),
        (la.det, W),
        (lambda x: la.solve(x, W[0]), W),
        (lambda x: la.matrix_power(x, 3), W),
        (lambda x: np.einsum("ij,ji,ki->k", x, x, x), W),
        (la.eigvals, np.diag([1.0, 2.0, 4.0]) + 0.1 * W),
    ],
    ids=["inv", "det", "solve", "matrix_power", "einsum", "eigvals"],
)
def test_complex_steps(f: Callable[[Any], Any], x: Array, rng: np.random.Generator) -> None:
    v = rng.normal(size=x.shape)
    w = rng.normal(size=np.shape(f(x)))
    slope = np.sum(w * f(tensor(x + 1e-30j * v)).data.imag) / 1e-30
    assert_allclose(np.sum(gradient(lambda x: np.sum(w * f(x)), x) * v), slope, rtol=1e-12)


# --- einsum --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subscripts", "ndims", "expected"),
    [
        ("ij,jk", (2, 2), "ij,jk->ik"),
        ("ba", (2,), "ba->ab"),
        ("bA", (2,), "bA->Ab"),
        ("ii", (2,), "ii->"),
        (" i j -> j ", (2,), "ij->j"),
        ("...i,...", (3, 1), "zyi,y->zyi"),
        ("...,...", (0, 0), ",->"),
        ("i...->...", (3,), "izy->zy"),
        ("z...", (2,), "zy->yz"),
    ],
)
def test_subscripts_written_out(subscripts: str, ndims: tuple[int, ...], expected: str) -> None:
    assert _written_out(subscripts, ndims) == expected


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij", [(2,)]),
        ("i", [(2, 3)]),
        ("ij", [(2, 3), (3,)]),
        ("ij,jk", [(2, 3)]),
        ("i...j...", [(2, 3)]),
        ("i.j", [(2, 3)]),
        ("...i->i", [(2, 3)]),
        ("i$", [(2, 3)]),
        ("ij->k", [(2, 3)]),
        ("ij->ii", [(2, 3)]),
        ("ij,jk", [(2, 3), (2, 3)]),
        ("ii", [(2, 3)]),
    ],
)
def test_bad_subscripts(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [np.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=r"."):
        np.einsum(subscripts, *arrays)
    with pytest.raises(ValueError, match=r"."):
        np.einsum(subscripts, *map(leaf, arrays))


def test_einsum_refuses_what_it_does_not_know() -> None:
    with pytest.raises(NotDifferentiableError, match=r"np\.einsum\(\.\.\., dtype="):
        np.einsum("i->", leaf([1.0, 2.0]), dtype=np.float32)
    with pytest.raises(NotDifferentiableError, match=r"order='C'"):
        np.einsum("i->", leaf([1.0, 2.0]), order="C")


def test_einsum_of_a_view_owns_its_result() -> None:
    x = leaf(np.ones((2, 2)))
    assert not np.shares_memory(np.einsum("ii->i", x).data, x.data)


def test_einsum_with_infinite_cotangents_off_the_diagonal() -> None:
    x = leaf(np.eye(2))
    np.einsum("ii->i", x).backward(np.array([np.inf, 1.0]))
    assert_array_equal(x.grad, [[np.inf, 0.0], [0.0, 1.0]])


def test_scalars_among_the_operands() -> None:
    v = Value(3.0)
    x = leaf([1.0, 2.0])
    np.einsum("i,->", x, v).backward()
    assert v.grad == 3.0
    assert_array_equal(x.grad, [3.0, 3.0])
    assert_array_equal(np.dot(x, v).data, [3.0, 6.0])
    assert_array_equal(np.kron(x, 2.0).data, [2.0, 4.0])


# --- products ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(2, 2), (2, 3), (3, 2)])
def test_cross_products_in_the_plane_warn_as_numpy_does(lengths: tuple[int, int]) -> None:
    a, b = (np.array([1.0, -2.0, 0.5])[:n] for n in lengths)
    b = b + 1.0
    with pytest.warns(DeprecationWarning, match="2-dimensional vectors"):
        expected = np.cross(a, b)
    with pytest.warns(DeprecationWarning, match="2-dimensional vectors"):
        found = np.cross(leaf(a), b)
    assert_array_equal(found.data, expected)
    found.sum().backward()


def test_multi_dot_takes_the_cheap_order() -> None:
    a, b, c = (leaf(np.ones(shape)) for shape in ((50, 2), (2, 50), (50, 1)))
    y = la.multi_dot([a, b, c])
    assert y.args[1].shape == (2, 1)
    y = la.multi_dot([c.T, a, b])
    assert y.args[0].shape == (1, 2)


def test_zeroth_power_is_constant() -> None:
    x = leaf([[np.inf, 2.0], [np.nan, 3.0]])
    y = la.matrix_power(x, 0)
    assert_array_equal(y.data, np.eye(2))
    y.sum().backward()
    assert_array_equal(x.grad, np.zeros((2, 2)))
    assert la.matrix_power(x, 1) is not x


BAD: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "inverse of a singular matrix": (lambda: la.inv(leaf(np.ones((2, 2)))), la.LinAlgError),
    "inverse of no square": (lambda: la.inv(leaf(np.ones((2, 3)))), la.LinAlgError),
    "singular system": (lambda: la.solve(leaf(np.ones((2, 2))), np.ones(2)), la.LinAlgError),
    "determinant of no square": (lambda: la.det(leaf(np.ones((2, 3)))), la.LinAlgError),
    "cholesky, indefinite": (lambda: la.cholesky(leaf(-np.eye(2))), la.LinAlgError),
    "cholesky of no square": (lambda: la.cholesky(leaf(np.ones((1, 3)))), la.LinAlgError),
    "eigh of no square": (lambda: la.eigh(leaf(np.ones((1, 3)))), la.LinAlgError),
    "eigh of a vector": (lambda: la.eigh(leaf(np.ones(3))), la.LinAlgError),
    "eig of no square": (lambda: la.eig(leaf(np.ones((2, 3)))), la.LinAlgError),
    "eigh UPLO": (lambda: la.eigh(leaf(np.eye(3)), "X"), ValueError),
    "svd of a vector": (lambda: la.svd(leaf(np.ones(3))), la.LinAlgError),
    "qr of a vector": (lambda: la.qr(leaf(np.ones(3))), la.LinAlgError),
    "svd, full": (lambda: la.svd(leaf(np.ones((2, 3)))), NotDifferentiableError),
    "qr, complete": (lambda: la.qr(leaf(np.ones((3, 2))), "complete"), NotDifferentiableError),
    "qr, raw": (lambda: la.qr(leaf(np.ones((2, 2))), "raw"), NotDifferentiableError),
    "pinv, both tolerances": (lambda: la.pinv(leaf(np.eye(2)), 1e-3, rtol=1e-3), ValueError),
    "lstsq lengths": (lambda: la.lstsq(leaf(np.ones((3, 2))), np.ones(2)), la.LinAlgError),
    "tensorinv": (lambda: la.tensorinv(leaf(np.ones((2, 2))), 0), ValueError),
    "tensorsolve": (lambda: la.tensorsolve(leaf(np.ones((2, 3))), np.ones(2)), la.LinAlgError),
    "matrix_power of no square": (lambda: la.matrix_power(leaf(W[:2]), 2), la.LinAlgError),
    "matrix_power 1.5": (lambda: la.matrix_power(leaf(np.eye(2)), 1.5), TypeError),
    "multi_dot of one": (lambda: la.multi_dot([leaf(np.eye(2))]), ValueError),
    "multi_dot of stacks": (lambda: la.multi_dot([leaf(np.ones((2, 2, 2)))] * 3), la.LinAlgError),
    "vector norm by name": (lambda: la.norm(leaf([1.0]), "fro"), ValueError),
    "matrix norm 3": (lambda: la.norm(leaf(np.eye(2)), 3), ValueError),
    "norm of 3 axes": (lambda: la.norm(leaf(np.ones((2, 2, 2))), 1), ValueError),
    "norm of one axis twice": (lambda: la.norm(leaf(np.eye(2)), axis=(0, 0)), ValueError),
    "cond of nothing": (lambda: la.cond(leaf(np.ones((0, 2)))), la.LinAlgError),
    "tensordot": (lambda: np.tensordot(leaf(np.ones((2, 3))), np.ones((2, 3)), 1), ShapeError),
    "tensordot, 3 axes": (lambda: np.tensordot(leaf(np.ones((2, 3))), W, 3), ShapeError),
    "linalg.outer": (lambda: la.outer(leaf(np.eye(2)), np.ones(2)), ShapeError),
    "cross": (lambda: np.cross(leaf(np.ones(4)), np.ones(4)), ShapeError),
    "linalg.cross": (lambda: la.cross(leaf(np.ones(2)), np.ones(2)), ShapeError),
    "vecdot": (lambda: la.vecdot(leaf(np.ones(2)), np.ones(3)), ShapeError),
    "dot": (lambda: np.dot(leaf(np.ones((2, 2, 3))), np.ones((2, 3))), ValueError),
    "inner": (lambda: np.inner(leaf(np.ones((2, 3))), np.ones((3, 2))), ValueError),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_calls(case: str) -> None:
    f, error = BAD[case]
    with pytest.raises(error):
        f()


def test_gradient_of_a_rank_deficient_qr_is_refused() -> None:
    with pytest.raises(la.LinAlgError):
        np.sum(la.qr(leaf([[1.0, 0.0], [0.0, 0.0]]))[0]).backward()


def test_cond_of_a_singular_matrix_is_infinite() -> None:
    assert la.cond(leaf(np.zeros((2, 2)))).item() == np.inf
    assert la.cond(leaf(np.diag([1.0, 0.0]))).item() == np.inf
