"""Anomaly mode: the first number that is nan or infinite, and arrays that are changed meanwhile."""

import re
import threading
import warnings

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import StaleGraphError, Value, anomaly, tensor, transforms
from tinygrad_nn.anomaly import detect_anomaly, set_detect_anomaly
from tinygrad_nn.errors import AnomalyError
from tinygrad_nn.graph import _unusual
from tinygrad_nn.remedies import BACKWARD, FORWARD
from tinygrad_nn.rules import TABLE


def leaf(x, label="x", dtype=float):
    return tensor(x, dtype, requires_grad=True, label=label)


def report(f, *args, **options):
    with detect_anomaly(**options), pytest.raises(AnomalyError) as caught:
        f(*args)
    assert not _unusual
    return str(caught.value)


def grad(f):
    """Make of `f` the whole of a forward and a backward pass."""

    def both(*args):
        np.sum(f(*args)).backward()

    return both


# --- what the error says -------------------------------------------------------------------------


def test_a_forward_report_names_all_there_is_to_know():
    x = leaf([4.0, 1.0, -2.0])

    def loss(x):
        y = x * 3.0
        return np.sqrt(y)  # here

    text = report(loss, x)
    lines = text.splitlines()
    assert lines[0] == "sqrt gave nan at [2] (1 of 3 elements)"
    assert re.fullmatch(r"  x = -6, which is multiply #\d+ of shape \(3,\)", lines[1])
    assert re.fullmatch(rf'File "{re.escape(__file__)}", line \d+, in loss', lines[2])
    assert lines[3] == "    return np.sqrt(y)  # here"
    assert "np.maximum(x, 0.0)" in lines[4]


def test_a_backward_report_names_the_rule_and_the_line_of_the_forward_pass():
    x, w = leaf([[1.0, 0.0]]), leaf([[1.0], [2.0]], "w")

    def loss():
        y = np.sqrt(x + w)
        y.label = "root"
        z = np.power(x, 0.5)  # the culprit
        z.label = "power"
        return np.sum(y) + np.sum(z)

    text = report(lambda: loss().backward())
    lines = text.splitlines()
    assert lines[0] == (
        "the cotangent of 'x' became inf at [0, 1] (1 of 2 elements), by rule 0 of primitive "
        "'power', towards its input `a`:"
    )
    assert lines[1:5] == [
        "  g = 1, the cotangent that came in",
        "  y = 0, which is 'power'",
        "  a = 0, which is 'x'",
        "  b = 0.5",
    ]
    assert lines[6] == "    z = np.power(x, 0.5)  # the culprit"
    assert "infinite slope at 0" in lines[7]


def test_where_broadcasting_is_undone_the_place_is_that_of_the_input():
    x, w = leaf([[0.0], [1.0]]), leaf([3.0, 0.0], "w")
    text = report(grad(lambda: np.sqrt(x * w)))
    assert "became inf at [0, 0] (3 of 4 elements)" in text


def test_what_is_not_elementwise_is_summarised():
    a = leaf([[1.0, 2.0], [3.0, np.nan]], "a")
    text = report(lambda: a @ np.ones(2))
    assert "matmul gave nan at [1] (1 of 2 elements)" in text
    assert "float64 of shape (2, 2), from 1 to 3, 1 nan from [1, 1] on, which is 'a'" in text
    assert "'a' holds what is not finite" in text
    assert "axis = 1" in report(lambda: np.sum(a, axis=1))


def test_an_input_that_is_not_finite_is_named():
    x = np.array([1.0, np.nan])
    text = report(lambda: leaf([1.0, 2.0], "w") * x)
    assert "the constant `b` of multiply holds what is not finite" in text
    assert "'x' holds what is not finite" in report(lambda: leaf([1.0, np.inf]) * 2.0)
    masked = np.where([True, False], leaf([1.0, 2.0]), -np.inf)  # outside: not reported there
    assert "the constant `b` of where" in report(lambda: np.exp(masked - 1.0) / (masked * 0.0))


def test_modules_and_losses_are_named_with_the_line_that_called_them(rng):
    model = tg.nn.MLP(2, [3, 1], rng=0)
    x = np.array([[1.0, np.nan]], np.float32)
    text = report(lambda: model(x))  # this line
    assert "which called Layer.forward" in text
    assert "text = report(lambda: model(x))  # this line" in text
    logits = leaf([[np.nan, 1.0]], "logits")
    text = report(lambda: tg.losses.cross_entropy(logits, np.array([0])))
    assert "which called cross_entropy" in text
    assert "'logits' holds what is not finite" in text


def test_a_module_of_ones_own_is_the_users_program():
    class Net(tg.nn.Module):
        def forward(self, x):
            return np.log(x)  # in Net

    assert "return np.log(x)  # in Net" in report(Net(), leaf([0.0]))


def test_the_sum_of_finite_cotangents():
    x = leaf([1e-9])
    text = report(grad(lambda: x * 1e308 + x * 1e308))
    assert "as the sum of several cotangents that are finite" in text


def test_the_gradient_that_backward_is_given():
    y = leaf([1.0, 2.0]) * 2.0
    text = report(lambda: y.backward(gradient=np.array([1.0, np.nan])))
    assert "was given holds nan at [1] (1 of 2 elements)" in text


def test_a_forward_pass_outside_has_no_line():
    y = np.sum(np.sqrt(leaf([0.0])))
    assert "put the forward pass inside" in report(y.backward)


def test_a_users_primitive():
    @tg.primitive(rules=[lambda g, y, x: g / x], name="sqrt")
    def fine(x):
        return x * 1.0

    text = report(grad(fine), leaf([0.0, 1.0]))
    assert "rule 0 of primitive 'sqrt', towards its input `x`" in text
    assert "slope" not in text  # the table does not know it, whatever its name


# --- remedies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "points", "help_"),
    [
        (lambda x: np.log(tg.softmax(x)), [[1000.0, 0.0]], "log_softmax"),
        (lambda x: np.log(tg.softmax(x)[[1]]), [[1000.0, 0.0]], "log_softmax"),
        (lambda x: np.log(tg.sigmoid(x)), [[-1000.0]], "log_sigmoid"),
        (lambda x: np.log(np.sum(np.exp(x))), [[-1000.0, -2000.0]], "logsumexp"),
        (lambda x: np.sum(np.exp(x)), [[-1000.0, 2000.0]], "logsumexp"),
        (np.log, [[1.0, 0.0]], "logarithm of 0"),
        (np.log, [[1.0, -1.0]], "logarithm of a negative"),
        (np.log1p, [-1.0], "x > -1"),
        (np.sqrt, [-1.0], "square root of a negative"),
        (np.exp, [1000.0], "overflows"),
        (lambda a, b: a / b, [0.0, 0.0], "0 / 0"),
        (lambda a, b: a / b, [1.0, 0.0], "division by 0"),
        (np.reciprocal, [0.0], "division by 0"),
        (lambda x: x**-1.5, [0.0], "negative power of 0"),
        (lambda x: x ** (1 / 3), [-8.0], "np.cbrt"),
        (lambda x: np.where(x > 0, x, np.inf) - np.inf, [-8.0], "inf - inf"),
        (lambda x: np.where(x > 0, x, np.inf) * 0.0, [-8.0], "a mask that is multiplied"),
        (lambda a, b: a * b, [1e200, 1e200], "training diverges"),
        (lambda a, b: a @ b, [[1e200], [1e200]], "training diverges"),
        (np.arcsin, [1.5], "between -1 and 1"),
        (np.arccosh, [0.5], "from 1 on"),
        (lambda x: tg.softmax(np.where(x > 9.0, x, -np.inf)), [[1.0, 2.0]], "masked"),
        (np.mean, [[]], "Too few elements"),
        (lambda x: np.var(x, ddof=1), [[1.0]], "Too few elements"),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom")
def test_remedies_of_results(f, points, help_):
    with np.errstate(all="raise", under="ignore"):  # what is reported is not warned of as well
        assert help_ in report(f, *map(leaf, points))


@pytest.mark.parametrize(
    ("f", "points", "help_"),
    [
        (lambda x: np.sqrt(np.sum(x * x)), [[0.0, 0.0]], "np.linalg.norm"),
        (lambda x: np.sqrt(np.sum(x**2, axis=0)), [[0.0, 0.0]], "np.linalg.norm"),
        (lambda x, y: np.sqrt(x * x + y**2), [0.0, 0.0], "np.linalg.norm"),
        (lambda x, y: np.sqrt(x * x + y * y + np.square(x)), [0.0, 0.0], "np.linalg.norm"),
        (lambda x: np.sqrt(x @ x), [[0.0, 0.0]], "np.linalg.norm"),
        (lambda x: np.sqrt(np.var(x)), [[2.0, 2.0]], "np.std"),
        (np.sqrt, [0.0], "slope is infinite at 0"),
        (lambda x: np.where(x > 0, np.sqrt(x), 0.0), [[0.0, 1.0]], "tinygrad_nn.where(condition"),
        (lambda x: np.where(x > 0, np.sqrt(x) * 2.0, x), [0.0], "tinygrad_nn.where(condition"),
        (lambda x: x**0.5, [0.0], "infinite slope at 0"),
        (lambda a, b: a**b, [-2.0, 2.0], "exponent as a constant"),
        (np.arccos, [1.0], "end of the interval"),
    ],
)
def test_remedies_of_cotangents(f, points, help_):
    assert help_ in report(grad(f), *map(leaf, points))


@pytest.mark.parametrize(
    ("f", "points", "help_"),
    [
        (lambda x: np.log(tg.softmax(x)), [[1000.0, 0.0]], "log_softmax"),
        (lambda x: np.log(tg.sigmoid(x)), [[-1000.0]], "log_sigmoid"),
        (np.log, [0.0], "logarithm of 0"),
        (lambda a, b: a / b, [0.0, 0.0], "division by 0"),
        (np.logaddexp, [-np.inf, -np.inf], "nothing but -inf"),
    ],
)
def test_remedies_of_cotangents_where_results_are_not_checked(f, points, help_):
    with np.errstate(all="ignore"):
        y = np.sum(f(*map(leaf, points)))
    assert help_ in report(y.backward)


def test_the_tables_speak_of_primitives_that_exist():
    of_decompositions = {"eigh", "eig", "svd", "qr"}
    names = {
        name for table in (FORWARD, BACKWARD) for names, _, _ in table for name in names.split()
    }
    assert not names - {"*"} - of_decompositions - TABLE.keys()


# --- what is checked and what is not -------------------------------------------------------------


def test_nothing_is_checked_outside():
    with detect_anomaly():
        pass
    x = leaf([0.0])
    with np.errstate(divide="ignore"):
        np.sum(np.sqrt(x)).backward()
    assert np.isinf(x.grad).all()


def test_check_nan_and_check_inf():
    x, y = leaf([0.0]), leaf([-1.0])
    with detect_anomaly(check_inf=False), pytest.warns(RuntimeWarning, match="divide by zero"):
        np.sum(np.sqrt(x)).backward()
    report(grad(np.sqrt), y, check_inf=False)
    report(grad(np.sqrt), x, check_nan=False)
    with detect_anomaly(check_nan=False), pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(np.sqrt(y).data).all()
    with detect_anomaly(False, False, False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grad(np.sqrt)(y)


def test_infinities_that_are_put_in_are_not_reported():
    x = leaf([1.0, 2.0, 3.0])
    mask = np.array([0.0, -np.inf, 0.0])
    with detect_anomaly():
        y = tg.softmax(x + mask)
        z = tg.softmax(np.where([True, False, True], x, -np.inf))
        (y[0] + z[0]).backward()
    assert np.isfinite(x.grad).all()


def test_rules_may_use_nan_on_their_way():
    x, b = leaf([0.0, 2.0]), leaf([2.0, 2.0], "b")
    with detect_anomaly():
        grad(np.power)(x, b)
        grad(np.linalg.norm)(leaf([0.0, 0.0]))
        grad(np.std)(leaf([2.0, 2.0]))
        grad(tg.logsumexp)(leaf([1000.0, 0.0]))


def test_integers_and_booleans_are_no_concern():
    with detect_anomaly():
        assert (np.argmax(leaf([1.0, 2.0])) == 1).item()
        assert np.isnan(leaf([1.0])).data.tolist() == [False]


def test_under_no_grad_results_are_checked():
    def f():
        with tg.no_grad():
            np.log(leaf([-1.0]))

    assert "log gave nan" in report(f)
    assert "log gave nan" in report(tg.no_grad()(lambda: Value(-1.0).log()))


def test_values():
    a = Value(-2.0, label="a")
    assert "  x = -2, which is 'a'" in report(a.log)
    assert "return a.log()  # line" in report(lambda: _log(a))
    assert "division by 0" in report(lambda: a / 0.0)
    assert "division by 0" in report(lambda: 1.0 / (a * 0.0))
    assert "power gave nan" in report(lambda: a**0.5)
    assert "exp gave inf" in report((a * -1000.0).exp)
    assert "multiply gave inf" in report(lambda: a * 1e308)
    x, y = Value(0.0, label="x"), Value(0.0, label="y")
    text = report(lambda: (x**2 + y**2).sqrt().backward())
    assert "rule 0 of primitive 'sqrt'" in text
    assert "np.linalg.norm" in text
    with detect_anomaly():
        y = (a * a).tanh()
        y.backward()
    assert np.isfinite(a.grad)


def _log(a):
    return a.log()  # line


def test_complex_numbers():
    z = tensor(np.array([0.0, 1j]), requires_grad=True, label="z")
    text = report(lambda: np.log(z))
    assert "log gave" in text
    assert "which is 'z'" in text
    report(lambda: np.sqrt(z).backward(np.ones(2, complex)))
    with detect_anomaly():
        np.sum(np.abs(z * z)).backward()


def test_second_derivatives_are_checked_and_name_the_forward_line():
    x = leaf([0.0, 1.0])

    def f(x):
        return np.sum(x**1.5)  # twice

    with np.errstate(all="ignore"):
        assert np.isinf(transforms.hessian(f)(x.data)).any()
    text = report(lambda: transforms.hvp(f, x.data, np.ones(2)))
    assert "power" in text
    assert "return np.sum(x**1.5)  # twice" in text
    with detect_anomaly():
        transforms.hessian(f)(x.data + 1.0)


def test_a_batch_of_cotangents():
    def f(x):
        return np.sqrt(x)

    text = report(lambda: transforms.jacrev(f)(np.array([1.0, 0.0])))
    assert "at [1] (1 of 2 elements), by rule 0 of primitive 'sqrt'" in text
    assert "  x = 0, which is" in text


# --- arrays that are changed ---------------------------------------------------------------------


def test_data_that_is_written_to():
    x = leaf([1.0, 2.0])

    def f():
        y = x * x  # the square
        x.data[0] = 5.0
        np.sum(y).backward()

    text = report(f)
    assert "the data of 'x' was changed in place after primitive 'multiply' had computed" in text
    assert "y = x * x  # the square" in text
    np.testing.assert_array_equal(x.data, [5.0, 2.0])
    assert x.grad is None


def test_a_constant_that_is_written_to():
    x, c = leaf([1.0, 2.0]), np.array([3.0, 4.0])

    def f():
        y = np.sum(x * c)
        c[1] = 0.0
        y.backward()

    text = report(f)
    assert "the array given as `b` was changed in place" in text
    assert "array.copy()" in text
    with detect_anomaly(check_mutation=False):
        f()


def test_a_result_and_a_view_that_are_written_to():
    x = leaf([1.0, 2.0])

    def result():
        y = np.exp(x)
        y.data[0] = 5.0
        np.sum(y).backward()

    def view():
        y = np.exp(x[:1])
        x.data[0] = 5.0
        np.sum(y).backward()

    assert "the data of exp #" in report(result)
    assert "the data of 'x' was changed" in report(view)


def test_what_is_assigned_is_stale_as_ever():
    x = leaf([1.0, 2.0])
    for change in (lambda x: setattr(x, "data", x.data + 1.0), _subtract):
        for f in (np.square, lambda x: np.exp(x[:1])):
            with detect_anomaly():
                y = np.sum(f(x))
                change(x)
                with pytest.raises(StaleGraphError):
                    y.backward()


def _subtract(x):
    x.data -= 1.0


@pytest.mark.parametrize("shape", [(), (0, 3), (4, 3)])
def test_what_is_not_changed_passes(shape):
    x, c = leaf(np.ones(shape)), np.ones((*shape, 2))[..., 0]
    with detect_anomaly():
        y = np.sum(np.transpose(x * c) + c.T)
        y.backward()
        y.backward()
    np.testing.assert_array_equal(x.grad, 2.0 * np.ones(shape))


# --- the mode ------------------------------------------------------------------------------------


def test_training_is_the_same_with_and_without():
    def losses():
        model = tg.nn.MLP(2, [8, 1], rng=0)
        optimizer = tg.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        x = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
        for _ in range(5):
            loss = tg.losses.mse_loss(model(x), x[:, :1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()

    plain = list(losses())
    with detect_anomaly():
        assert list(losses()) == plain


def test_modes_nest():
    x = leaf([-1.0])
    with detect_anomaly():
        with detect_anomaly(check_nan=False), np.errstate(invalid="ignore"):
            np.sqrt(x)
        with pytest.raises(AnomalyError):
            np.sqrt(x)
        with set_detect_anomaly(False), np.errstate(invalid="ignore"):
            np.sqrt(x)
        with pytest.raises(AnomalyError):
            np.sqrt(x)
    assert not _unusual


def test_one_object_may_be_entered_twice():
    mode = detect_anomaly()
    with mode:
        with mode:
            pass
        with pytest.raises(AnomalyError):
            np.sqrt(leaf([-1.0]))
    assert not _unusual


def test_a_decorator():
    @detect_anomaly()
    def f(depth):
        return f(depth - 1) if depth else np.log(leaf(-1.0))

    with pytest.raises(AnomalyError):
        f(3)
    assert not _unusual
    with pytest.raises(TypeError, match="inside it"):

        @detect_anomaly()
        def generator():
            yield

    with pytest.raises(TypeError, match="inside it"):

        @detect_anomaly()
        async def coroutine():
            pass


def test_the_rest_of_the_program():
    set_detect_anomaly(True)
    try:
        with pytest.raises(AnomalyError):
            np.log(leaf(-1.0))
        set_detect_anomaly(True, check_nan=False)
        with np.errstate(invalid="ignore"):
            np.log(leaf(-1.0))
    finally:
        set_detect_anomaly(False)
    assert not _unusual


def test_other_threads_are_not_affected():
    found = []

    def work():
        with np.errstate(invalid="ignore"):
            found.append(np.log(leaf(-1.0)).item())

    with detect_anomaly():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert np.isnan(found[0])


def test_a_generator_that_another_thread_closes():
    def numbers():
        with detect_anomaly():
            yield

    generator = numbers()
    next(generator)
    assert anomaly.watching(())
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    assert not anomaly.watching(())
    assert not _unusual


def test_what_is_kept_of_a_node_goes_with_it():
    before = set(anomaly._records)  # of nodes that an error report elsewhere still holds
    with detect_anomaly():
        y = np.sum(np.exp(leaf([1.0, 2.0])))
        z = Value(1.0) * 2.0
        assert len(anomaly._records.keys() - before) == 3
        del y, z
    assert not anomaly._records.keys() - before


def test_the_error_is_an_arithmetic_error():
    with pytest.raises(ArithmeticError), detect_anomaly():
        np.log(leaf(0.0))
    with detect_anomaly(), pytest.raises(tg.TinygradError):
        np.log(leaf(0.0))


# --- forward mode --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "push",
    [
        lambda x: tg.jvp(np.sqrt, (x,), (np.ones(2),)),
        lambda x: tg.jacfwd(np.sqrt)(x),
    ],
)
def test_a_tangent_that_is_not_finite_is_named(push):
    with (
        np.errstate(all="ignore"),
        tg.detect_anomaly(),
        pytest.raises(AnomalyError, match=r"(?s)tangent of .*test_anomaly\.py"),
    ):
        push(np.array([0.0, 1.0]))


def long_sum(x):
    total = x[0] ** 2
    for i in range(1, len(x)):
        total = total + x[i] ** 2
    np.sqrt(total).backward()


def doubled(x):
    y = x[0] * 1.0
    for _ in range(60):  # paths whose number doubles with each step
        y = y + y
    np.sqrt(y).backward()


@pytest.mark.parametrize(("f", "remedy"), [(long_sum, "norm"), (doubled, "slope")])
def test_the_remedy_is_found_in_a_graph_that_is_deep(f, remedy):
    x = tensor(np.zeros(3000), requires_grad=True)
    with np.errstate(all="ignore"), detect_anomaly(), pytest.raises(AnomalyError, match=remedy):
        f(x)
