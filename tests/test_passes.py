"""Each pass alone, on tapes of its own: what it changes, what it must leave, what stays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_eager import as_leaf, backwards
from hypothesis import given as drawn
from hypothesis import settings
from programs import Program, programs
from tapes import Step, check, effects, execute, given, names, steps, tape_of

import tinygrad_nn as tg
from tinygrad_nn import losses, nn, tensor
from tinygrad_nn.plan.passes import PASSES
from tinygrad_nn.plan.passes.bias import biases_joined
from tinygrad_nn.plan.passes.cse import common_subexpressions
from tinygrad_nn.plan.passes.dead import dead_code
from tinygrad_nn.plan.passes.folding import constants_folded
from tinygrad_nn.plan.passes.labels import labels_known
from tinygrad_nn.plan.passes.opening import opened
from tinygrad_nn.plan.passes.pieces import pieces_joined
from tinygrad_nn.plan.passes.rewriting import rewritten
from tinygrad_nn.plan.passes.snapshots import snapshots_taken
from tinygrad_nn.plan.tape import Tape
from tinygrad_nn.rules.indexing import one_hot

Array = np.ndarray
Case = tuple[Callable[..., Any], tuple[Any, ...], list[str]]

STEPS = steps()
ALL = list(dict.fromkeys(PASSES))
X = np.linspace(0.5, 2.0, 6).reshape(2, 3)
ROW = np.array([0.5, 1.5, 2.5])
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.5, 4.0])
LABELS = np.array([2, 0, 1, 2])


def cases(table: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=list(table))


def through(tape: Tape, *changes: Callable[[Tape], Tape]) -> Tape:
    for change in changes:
        tape = change(tape)
    return tape


def leaf(x: Any) -> Any:
    return tensor(x, requires_grad=True)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))
def test_a_step_means_the_same_after_each_pass(step: Step) -> None:
    f, args = step
    tape = tape_of(f, *args)
    for change in ALL:
        check(change, tape)  # each alone
    for change in PASSES:
        tape = check(change, tape)  # and one after the other


@settings(max_examples=100)
@drawn(programs())
def test_random_programs(program: Program) -> None:
    tape = tape_of(backwards(program.f), *map(as_leaf, program.inputs))
    for change in ALL:
        check(change, tape)
    for change in PASSES:
        tape = check(change, tape)


@pytest.mark.parametrize("change", ALL, ids=lambda change: change.__name__)
@pytest.mark.parametrize("dtype", ["e", "f", "F", "D", "i", "q", "B"])
def test_other_dtypes(change: Callable[[Tape], Tape], dtype: str) -> None:
    def f(x: Any) -> Any:
        return x * 1, x + 0, x**2, x / 1, -x + x[::-1], 2 * np.sum(x), x[1], x - x, x @ np.ones(3)

    check(change, tape_of(f, np.array([1, 2, 3], dtype)))


def test_draws_keep_their_turns() -> None:
    rng = np.random.default_rng(0)

    def f(x: Any) -> Any:
        rng.random(3)  # nobody looks at it, but it moves the generator on
        a, b = rng.random(3), rng.random(3)
        return x * a * 1.0 + b

    tape = tape_of(f, ROW)
    assert len(effects(tape)) == 3
    for change in PASSES:
        tape = check(change, tape)
    assert len(effects(tape)) == 3


def test_the_interpreter_sees_a_fault() -> None:
    def wrong(tape: Tape) -> Tape:
        return tape.with_instructions([i.with_args(i.args[::-1]) for i in tape.instructions])

    with pytest.raises(AssertionError):
        check(wrong, tape_of(lambda x, y: x - y, X, X + 1.0))


# --- dead code ------------------------------------------------------------------------------------

DEAD: dict[str, Case] = {
    "unused": (lambda x: (np.exp(x), np.sin(x))[1], (X,), ["sin"]),
    "chain": (lambda x: (np.log(np.exp(np.cos(x))), x * 2.0)[1], (X,), ["multiply"]),
    "used by what is used": (lambda x: np.exp(np.sin(x)), (X,), ["sin", "exp"]),
    "all are outputs": (lambda x: (np.exp(x), np.sin(x)), (X,), ["exp", "sin"]),
    "loss of a gradient": (
        lambda x: (np.sum(np.sin(x)).backward(), x.grad)[1], (leaf(X),), ["cos", "multiply"],
    ),
}  # fmt: skip


@cases(DEAD)
def test_dead_code(case: Case) -> None:
    f, args, expected = case
    assert names(check(dead_code, tape_of(f, *args), exact=True)) == expected


def test_dead_code_keeps_assumptions_and_writes() -> None:
    p = tensor(ROW)

    def f(x: Any, labels: Any) -> None:
        losses.cross_entropy(x, labels)
        p.data = p.data + 1.0

    tape = check(dead_code, tape_of(f, np.ones((4, 3)), LABELS))
    assert names(tape) == ["min", "greater_equal", "add"]


# --- opening --------------------------------------------------------------------------------------

OPENED: dict[str, Case] = {
    "softmax": (
        lambda x: tg.softmax(x, axis=-1), (X,), ["max", "subtract", "exp", "matmul", "divide"],
    ),
    "mean": (np.mean, (X,), ["sum", "multiply"]),
    "one call": (np.exp, (X,), ["exp"]),
    "an emitter of its own": (tg.relu, (X,), ["relu"]),
    "sort": (np.sort, (X,), ["sort"]),
    "looks at its numbers": (tg.erf, (X,), ["erf"]),
}  # fmt: skip


@cases(OPENED)
def test_opened(case: Case) -> None:
    f, args, expected = case
    tape = tape_of(f, *args)
    assert len(names(tape)) == 1
    new = check(opened, tape, exact=True)
    assert names(new) == expected
    assert {i.line for i in new.instructions} == {tape.instructions[0].line}


def test_opened_keeps_draws() -> None:
    rng = np.random.default_rng(0)
    tape = tape_of(lambda x: x + rng.standard_normal(3), ROW)
    assert names(check(opened, tape)) == names(tape)


# --- constant folding -----------------------------------------------------------------------------

FOLDED: dict[str, Case] = {
    "times one": (lambda x: np.exp(x * 1.0), (X,), ["exp"]),
    "ones": (lambda x: np.exp(x * np.ones((2, 3))), (X,), ["exp"]),
    "ones that broadcast": (lambda x: np.exp(x * np.ones((2, 3))), (ROW,), ["multiply", "exp"]),
    "by one": (lambda x: np.exp(x / 1), (X,), ["exp"]),
    "plus zero keeps -0.0 away": (lambda x: np.exp(x + 0.0), (X,), ["add", "exp"]),
    "plus -0.0": (lambda x: np.exp(x + -0.0), (X,), ["exp"]),
    "minus zero": (lambda x: np.exp(x - 0.0), (X,), ["exp"]),
    "minus -0.0": (lambda x: np.exp(x - -0.0), (X,), ["subtract", "exp"]),
    "zero minus": (lambda x: 0.0 - x, (X,), ["subtract"]),
    "one by": (lambda x: 1.0 / x, (X,), ["divide"]),
    "power of one": (lambda x: np.exp(x**1), (X,), ["exp"]),
    "times zero": (lambda x: x * 0.0, (X,), ["multiply"]),
    "integers become floating": (lambda x: x * 1.0, (LABELS,), ["multiply"]),
    "single becomes double": (
        lambda x: x * np.ones(3), (ROW.astype("f"),), ["multiply"],
    ),
    "astype": (lambda x: np.exp(x.astype(float)), (X,), ["exp"]),
    "astype to another": (lambda x: x.astype("f"), (X,), ["astype"]),
}  # fmt: skip


@cases(FOLDED)
def test_constants_folded(case: Case) -> None:
    f, args, expected = case
    tape = check(constants_folded, tape_of(f, *args), exact=True)
    assert names(tape) == expected


def test_constants_folded_of_special_numbers() -> None:
    def f(x: Any) -> Any:
        return (
            x * 1.0, x + 0.0, x - 0.0, x / 1.0, x + -0.0, x - -0.0, x * 0.0, x**1.0, 0.0 - x,
            x * np.full(7, -0.0), x + np.array([0.0] * 6 + [-0.0]),
        )  # fmt: skip

    for dtype in "efd":
        with np.errstate(all="ignore"):
            tape = tape_of(f, SPECIAL.astype(dtype))
        check(constants_folded, tape, exact=True)


def test_results_of_constants() -> None:
    """Equal elements become one number, which is computed with at once."""

    def f(x: Any) -> Any:
        loss = np.mean(x * 3.0)
        loss.backward()
        return loss

    tape = through(tape_of(f, leaf(X)), opened)
    new = check(constants_folded, tape)
    gradient = next(v for _, v in new.writes)
    assert gradient is not None
    assert not gradient.is_result


# --- common subexpressions ------------------------------------------------------------------------

COMMON: dict[str, Case] = {
    "equal": (lambda x: np.exp(x) * np.exp(x), (X,), ["exp", "multiply"]),
    "in a chain": (lambda x: np.sin(x * 2.0) + np.sin(x * 2.0), (X,), ["multiply", "sin", "add"]),
    "two outputs": (lambda x: (np.exp(x), np.exp(x)), (X,), ["exp"]),
    "equal constants": (
        lambda x: x * np.arange(3.0) - x * np.arange(3.0), (X,), ["multiply", "subtract"],
    ),
    "other constants": (
        lambda x: x * np.arange(3.0) - x * np.ones(3), (X,), ["multiply", "multiply", "subtract"],
    ),
    "other dtypes": (
        lambda x: (x * np.ones(3, "f"), x * np.ones(3, "d")), (X.astype("f"),), ["multiply"] * 2,
    ),
    "other axes": (lambda x: (np.sum(x, 0), np.sum(x, 1)), (X[:, :2],), ["sum", "sum"]),
    "other order": (lambda x, y: (x - y, y - x), (X, X + 1.0), ["subtract", "subtract"]),
    "zeros of two signs": (lambda x: (x * 0.0, x * -0.0), (X,), ["multiply", "multiply"]),
    "numbers of two types": (lambda x: (x + 1, x + True), (X,), ["add", "add"]),
    "zeros in options": (
        lambda y: (
            one_hot(y, length=3, value=0.0, dtype=np.dtype("d")),
            one_hot(y, length=3, value=-0.0, dtype=np.dtype("d")),
        ),
        (LABELS,), ["one_hot", "one_hot"],
    ),
}  # fmt: skip


@cases(COMMON)
def test_common_subexpressions(case: Case) -> None:
    f, args, expected = case
    tape = check(common_subexpressions, tape_of(f, *args), exact=True)
    assert names(tape) == expected


def test_equal_draws_are_two() -> None:
    rng = np.random.default_rng(0)
    tape = tape_of(lambda x: x + rng.random(3) - rng.random(3), ROW)
    assert names(check(common_subexpressions, tape)) == names(tape)


def test_an_error_that_one_of_two_raises() -> None:
    def f(x: Any) -> Any:
        a = np.log(x)
        with np.errstate(divide="raise"):
            return a, np.log(x)

    assert names(check(common_subexpressions, tape_of(f, ROW))) == ["log", "log"]


# --- rewriting ------------------------------------------------------------------------------------


def _softmax_by_hand(x: Any) -> Any:
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return np.exp(shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)))


REWRITTEN: dict[str, Case] = {
    "square": (lambda x: x**2, (X,), ["square"]),
    "root": (lambda x: x**0.5, (X,), ["sqrt"]),
    "reciprocal": (lambda x: x**-1.0, (X,), ["reciprocal"]),
    "another power": (lambda x: x**3, (X,), ["power"]),
    "power of integers": (lambda x: x**2, (LABELS,), ["power"]),
    "power of complex numbers": (lambda x: x**2, (X + 1j,), ["power"]),
    "power of an array": (lambda x: x ** np.full(3, 2.0), (X,), ["power"]),
    "mean of a vector": (lambda x: 0.5 * np.sum(x), (ROW,), ["matmul"]),
    "half of it in half precision": (
        lambda x: np.float16(0.5) * np.sum(x), (ROW.astype("e"),), ["sum", "multiply"],
    ),
    "sum of a matrix": (lambda x: 0.5 * np.sum(x), (X,), ["sum", "multiply"]),
    "sum of integers": (lambda x: 3 * np.sum(x), (LABELS,), ["sum", "multiply"]),
    "sum of many": (lambda x: 0.5 * np.sum(x), (np.ones(5000),), ["sum", "multiply"]),
    "a sum with others who look": (
        lambda x: (0.5 * np.sum(x), np.sum(x)), (ROW,), ["matmul", "sum"],
    ),
    "an element": (lambda x: np.exp(x[1, -1]), (X,), ["exp"]),
    "scaled one-hot": (
        lambda y: 2.0 * one_hot(y, length=3, dtype=np.dtype("d")), (LABELS,), ["one_hot"],
    ),
    "softmax": (
        _softmax_by_hand, (X,),
        ["max", "subtract", "exp", "sum", "exp", "divide"],
    ),
    "no softmax": (
        lambda x, b: np.exp(x - np.log(b)), (X, ROW), ["log", "subtract", "exp"],
    ),
    "softmax that may overflow": (
        lambda x: np.exp(x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True))), (X,),
        ["exp", "sum", "log", "subtract", "exp"],
    ),
    "product with a number": (lambda x: x @ np.array([[2.0]]), (X[:, :1],), ["multiply"]),
    "product with a number on the left": (
        lambda x: np.array([[2.0]]) @ x, (X[:1],), ["multiply"],
    ),
}  # fmt: skip


@cases(REWRITTEN)
def test_rewritten(case: Case) -> None:
    f, args, expected = case
    tape = through(check(rewritten, tape_of(f, *args)), dead_code)
    assert sorted(names(tape)) == sorted(expected)


def test_rewritten_of_special_numbers() -> None:
    def f(x: Any) -> Any:
        return x**2, x**-1.0, x[1], x[2], 0.0 * np.sum(x), 2.0 * np.sum(x[-2:])

    for dtype in "efd":
        with np.errstate(all="ignore"):
            tape = tape_of(f, SPECIAL.astype(dtype))
        check(rewritten, tape)
    far = np.array([[0.0, -1000.0, -np.inf], [1000.0, 999.0, 0.0], [0.0, 0.0, 0.0]])
    check(rewritten, tape_of(_softmax_by_hand, far))


# --- labels ---------------------------------------------------------------------------------------


def _cross_entropy(dtype: Any = np.int64, **options: Any) -> Tape:
    def f(x: Any, y: Any) -> Any:
        loss = losses.cross_entropy(x, y, **options)
        loss.backward()
        return loss

    x = leaf(np.sin(np.arange(12.0)).reshape(4, 3))
    return through(tape_of(f, x, LABELS.astype(dtype)), dead_code, opened, constants_folded)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64])
def test_labels_known(dtype: Any) -> None:
    tape = check(labels_known, _cross_entropy(dtype))
    assert {"within", "pick_within", "one_hot_within"} <= set(names(tape))
    assert not {"greater_equal", "one_hot"} & set(names(tape))


@pytest.mark.parametrize("wrong", [[2, 0, 3, 1], [2, 0, -1, 1]])
def test_labels_that_are_no_classes(wrong: list[int]) -> None:
    """The assumption fails, and the function itself says what to do."""
    tape = check(labels_known, _cross_entropy())
    numbers = given(tape)
    (labels,) = (v for v in numbers if v.dtype.kind == "i")
    numbers[labels] = np.array(wrong)
    asked = [i for i in tape.instructions if i.primitive.name == "within"]
    found = Tape(asked, outputs=[i.out for i in asked])
    assert [bool(a) for a in execute(found, numbers)] == [False]


def test_labels_without_an_assumption() -> None:
    tape = tape_of(lambda y: one_hot(y, length=3), LABELS)
    assert check(labels_known, tape).instructions == tape.instructions


def test_two_axes_of_labels() -> None:
    """Only what is known for the shorter axis is used."""

    def f(x: Any, z: Any, y: Any) -> Any:
        return losses.cross_entropy(x, y) + np.sum(z[np.arange(4), y])

    x, z = np.ones((4, 3)), np.arange(20.0).reshape(4, 5)
    tape = through(tape_of(f, x, z, LABELS), dead_code, opened, constants_folded)
    check(labels_known, tape)


# --- pieces ---------------------------------------------------------------------------------------


def _gradient(f: Callable[..., Any], x: Array = X) -> Tape:
    """Return the tape of the gradient of a sum."""

    def step(t: Any) -> None:
        np.sum(f(t)).backward()

    return through(tape_of(step, leaf(x)), dead_code, opened, constants_folded)


SIX = np.linspace(0.5, 2.0, 6)
SQUARE = np.linspace(0.5, 2.0, 24).reshape(4, 6)

#: A function, its argument, and the numbers of concatenations and scatterings in its gradient.
PIECES: dict[str, tuple[Callable[..., Any], Array, int, int]] = {
    "two halves": (lambda x: np.sin(x[:3]) * np.exp(x[3:]), SIX, 1, 0),
    "with a gap": (lambda x: np.sin(x[:2]) * np.exp(x[4:]), SIX, 1, 0),
    "one piece": (lambda x: np.sin(x[1:4]), SIX, 1, 0),
    "three": (lambda x: np.sin(x[:2]) * np.exp(x[2:4]) * np.cos(x[4:]), SIX, 1, 0),
    "overlapping": (lambda x: np.sin(x[:4]) * np.exp(x[2:]), SIX, 0, 2),
    "and all of it": (lambda x: np.sum(np.sin(x[:3]) * np.exp(x[3:])) + np.sum(x**3), SIX, 1, 0),
    "every other": (lambda x: np.sin(x[::2]) * np.exp(x[1::2]), SIX, 0, 2),
    "backwards": (lambda x: np.sin(x[2::-1]) * np.exp(x[3:]), SIX, 0, 2),
    "columns": (lambda x: np.sin(x[:, :3]) * np.exp(x[:, 3:]), SQUARE, 1, 0),
    "an element of an axis": (lambda x: np.sin(x[:, 0]) * np.exp(x[:, 1]), SQUARE, 1, 0),
    "two axes": (lambda x: np.sin(x[:2, :3]) * np.exp(x[2:, 3:]), SQUARE, 0, 2),
    "by an array": (lambda x: np.sin(x[np.array([0, 2])]) * np.exp(x[2:4]), SIX, 0, 2),
    "nothing of it": (lambda x: np.sum(np.sin(x[:0])) + np.sum(np.exp(x[3:])), SIX, 0, 1),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_joined(name: str) -> None:
    f, x, joined, scattered = PIECES[name]
    tape = check(pieces_joined, _gradient(f, x), exact=True)
    left = names(through(tape, dead_code))
    found = left.count("concatenate"), left.count("scatter_add")
    assert found[0] == joined or found[1] == scattered, found


def test_pieces_that_others_look_at() -> None:
    """A term of the sum that is a result itself stays."""

    def step(x: Any, y: Any) -> None:
        (np.sum(np.sin(x[:3])) + np.sum(np.exp(x[3:]))).backward()
        y.grad = x.grad * 2.0

    tape = through(tape_of(step, leaf(SIX), leaf(SIX)), dead_code, opened)
    check(pieces_joined, tape, exact=True)


# --- biases ---------------------------------------------------------------------------------------


def _flat_model(*sizes: int) -> Any:
    model = nn.MLP(sizes[0], list(sizes[1:]), rng=0)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    for p in model.parameters():
        p.grad = np.zeros_like(p.data)
    optimizer.step()  # moves the parameters into one array
    return model


def _backward(f: Callable[..., Any], *args: Any) -> Tape:
    def step(*args: Any) -> Any:
        y = f(*args)
        np.mean(y**2).backward()
        return y

    return through(tape_of(step, *args), dead_code, opened, constants_folded)


FEW = np.sin(np.arange(20, dtype=np.float32)).reshape(5, 4)


def test_biases_joined() -> None:
    model = _flat_model(4, 6, 3)
    before = _backward(model, FEW)
    tape = through(check(biases_joined, before), dead_code)
    # Three products of the forward and backward pass, two of which have the bias's, too.
    assert names(tape).count("matmul") == names(before).count("matmul") - 2
    assert names(tape).count("add") == names(before).count("add") - 2
    assert names(tape).count("concatenate") == 4


def _twice(product: Any, bias: Any) -> Any:
    return np.tanh(product) * (product + bias)


def _strange(model: Any) -> dict[str, Callable[..., Any]]:
    a, b = model.layers
    return {
        "the product is looked at": lambda x: (x @ a.weight) * 2.0 + a(x),
        "one product for two": lambda x: _twice(x @ a.weight, a.bias),
        "a bias alone": lambda x: a(x) * a.bias,
        "two biases": lambda x: x @ a.weight + a.bias + a.bias,
        "another layer's bias": lambda x: x @ a.weight + np.concatenate([b.bias, b.bias]),
        "both": lambda x: b(tg.relu(a(x))) + b(np.tanh(a(x))),
        "the same input twice": lambda x: np.concatenate([a(x), np.tanh(x) @ a.weight + a.bias]),
        "a weight's rows": lambda x: x[:, :2] @ a.weight[2:] + a.bias,
        "a transposed weight": lambda x: a(x) @ a.weight.T,
        "twice the weight": lambda x: x @ (a.weight * 2.0) + a.bias,
    }


@pytest.mark.parametrize("name", list(_strange(_flat_model(4, 6, 3))))
def test_biases_in_other_places(name: str) -> None:
    tape = _backward(_strange(_flat_model(4, 6, 3))[name], FEW)
    check(biases_joined, tape)


@pytest.mark.parametrize(
    "x",
    [FEW[0], FEW.reshape(1, 5, 4), np.ones((5000, 4), np.float32)],
    ids=["a vector", "a batch of matrices", "many samples"],
)
def test_biases_that_stay(x: Array) -> None:
    tape = _backward(_flat_model(4, 6), x)
    assert names(check(biases_joined, tape)) == names(tape)


def test_biases_elsewhere_in_memory() -> None:
    w, b = leaf(np.ones((4, 3), np.float32)), leaf(np.ones(3, np.float32))
    tape = _backward(lambda x: x @ w + b, FEW)
    assert names(check(biases_joined, tape)) == names(tape)
    first, second = _flat_model(4, 6, 6).layers
    tape = _backward(lambda x: x @ first.weight + second.bias, FEW)
    assert names(check(biases_joined, tape)) == names(tape)


# --- snapshots ------------------------------------------------------------------------------------

P, Q = tensor(ROW), tensor(ROW + 1.0)


def _updated(x: Any) -> Any:
    before = P.data[1:].copy()
    P.data = P.data + x
    return before, x


def _exchanged(x: Any) -> None:
    P.data, Q.data = Q.data.copy(), P.data.copy()


SNAPSHOTS: dict[str, Case] = {
    "returned": (_updated, (ROW,), ["copy", "add", "copy"]),
    "exchanged": (_exchanged, (ROW,), ["copy", "copy"]),
    "nothing is written": (lambda x: (x, P.data, x * 2.0), (ROW,), ["multiply"]),
}


@cases(SNAPSHOTS)
def test_snapshots_taken(case: Case) -> None:
    f, args, expected = case
    tape = through(tape_of(f, *args), constants_folded)
    assert sorted(names(check(snapshots_taken, tape, exact=True))) == sorted(expected)
