"""What a primitive is, and the index from NumPy's functions to the primitives behind them.

A primitive is a function of arrays with one derivative rule per array input. A rule is
``rule(g, y, *inputs, **static)``: the incoming cotangent `g`, the result `y`, the inputs and the
keywords of the call; it returns the cotangent of *its* input. Rules are NumPy expressions. On
arrays they compute; on tensors NumPy hands each operation back to the engine, which records it,
so the same expression yields derivatives of any order.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, overload

import numpy as np

from tinygrad_nn.errors import NotDifferentiableError

__all__ = [
    "BY_FUNCTION", "COMPOSITES", "NEGATIVE", "POSITIVE", "REAL", "UNIT", "Primitive", "bind",
    "defaults", "implements", "primitive", "ufunc",
]  # fmt: skip

Rule = Callable[..., Any]
Domain = tuple[float, float]
Linear = str | int | None

#: Where a function of one real number is defined and smooth; the tests draw their samples there.
REAL: Domain = (-3.0, 3.0)
POSITIVE: Domain = (0.2, 3.0)
NEGATIVE: Domain = (-3.0, -0.2)
UNIT: Domain = (-0.9, 0.9)

#: NumPy function -> the primitive that stands behind it when an argument is a node.
BY_FUNCTION: dict[Callable[..., Any], Primitive] = {}

#: NumPy function -> a function of the same signature that is made of primitives.
COMPOSITES: dict[Callable[..., Any], Callable[..., Any]] = {}


_NUMBERS: frozenset[type] = frozenset([float, int, bool])
#: Classes of arguments that are no nodes.
_ORDINARY: frozenset[type] = _NUMBERS | {np.ndarray, np.float64, np.float32, complex}


class Primitive:
    """A differentiable function of arrays: its forward, and one rule per array input.

    Parameters
    ----------
    forward : callable
        ``forward(*arrays, **static)`` on raw arrays. Keyword-only parameters are the static ones.
    rules : sequence of callable or None, optional
        One ``rule(g, y, *inputs, **static)`` per array input; None where the function is constant
        in that input. A variadic primitive has a single rule, called with the input's position
        first: ``rule(i, g, y, *inputs, **static)``; or several, the last of which serves all
        further inputs. Without rules, `backward` refuses to go through the primitive.
    name : str, optional
        Shown in drawings and errors; the function's own name by default.
    numpy : sequence of callable
        NumPy functions that dispatch here when they meet a node.
    scalar : callable, optional
        The same function on Python floats, for `Value`; may raise where NumPy gives inf or nan.
    elementwise : bool
        Whether inputs broadcast against each other, and each element of the result depends on
        one element of each. The graph walk then sums each rule's result to the input's shape, so
        that no rule has to; and a rule, being a product with a diagonal, carries tangents forward
        as it carries cotangents back.
    linear : {None, "all", "each"} or int
        Whether the primitive is linear in all its differentiable inputs together ("all": a
        reshape, a concatenation), in the first so many of them (1: indexing, whose index arrays
        stay), or in each of them while the others stay ("each": a matrix product). Forward mode
        then applies the primitive itself to tangents; without this it transposes the rules.
    variadic : bool
        Whether it takes any number of arrays (NumPy's counterpart takes them as one sequence).
    domain : tuple of Domain
        Per input, the interval that samples are drawn from.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> distance = tg.Primitive(
    ...     lambda a, b: (a - b) ** 2,
    ...     [lambda g, y, a, b: 2.0 * g * (a - b), lambda g, y, a, b: 2.0 * g * (b - a)],
    ...     name="distance",
    ...     elementwise=True,
    ... )
    >>> a = tg.tensor([1.0, 4.0], requires_grad=True)
    >>> distance(a, 2.0).sum().backward()
    >>> a.grad
    array([-2.,  4.])
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        rules: Sequence[Rule | None] | None = None,
        *,
        name: str | None = None,
        numpy: Sequence[Callable[..., Any]] = (),
        scalar: Callable[..., float] | None = None,
        elementwise: bool = False,
        linear: Linear = None,
        variadic: bool = False,
        domain: Sequence[Domain] = (),
    ) -> None:
        self.forward = forward
        self.name = name if name is not None else forward.__name__
        self.numpy = tuple(numpy)
        self.scalar = scalar
        self.elementwise = elementwise
        self.linear = linear
        self.variadic = variadic
        self.domain = tuple(domain)
        is_ufunc = isinstance(forward, np.ufunc)
        self.__doc__ = f"`numpy.{self.name}`, recorded." if is_ufunc else forward.__doc__
        self.__module__ = getattr(forward, "__module__", None) or __name__
        self.__qualname__ = getattr(forward, "__qualname__", self.name)
        self.arity, self.static_names = _signature(forward, variadic)
        self.rules: tuple[Rule | None, ...] = ()
        self.is_python = not is_ufunc  # whether the forward is code of several calls
        #: ``rule(i)`` is the rule for input `i`, None where the primitive is constant in it.
        self.rule: Callable[[int], Rule | None] = partial(_no_rule, self.name)
        self.differentiable = True  # until the rules say otherwise
        self.trusted = False  # whether its cotangents are known to be arrays of their own
        self.plain = False  # whether there is a rule for each of a fixed number of inputs
        if rules is not None:
            self.defvjp(*([rules] if callable(rules) else rules))
        for function in self.numpy:
            BY_FUNCTION[function] = self

    def defvjp(self, *rules: Rule | None) -> None:
        """Set the derivative rules, one per array input (None: constant in that input).

        Raises
        ------
        TypeError
            If the number of rules is not the number of array inputs.

        Examples
        --------
        >>> import numpy as np, tinygrad_nn as tg
        >>> @tg.primitive
        ... def cube(x):
        ...     return x * x * x
        >>> cube.defvjp(lambda g, y, x: g * 3.0 * x * x)
        >>> x = tg.tensor(2.0, requires_grad=True)
        >>> cube(x).backward()
        >>> x.grad
        array(12.)
        """
        expected = max(len(rules), 1) if self.variadic else self.arity
        if expected is not None and len(rules) != expected:
            raise TypeError(
                f"primitive {self.name!r} has {expected} array input(s), got {len(rules)} rule(s); "
                f"give one per input, None where it is not differentiable"
            )
        for rule in rules:
            if rule is not None and not callable(rule):
                raise TypeError(
                    f"primitive {self.name!r}: a rule is a function or None, got "
                    f"{type(rule).__name__}"
                )
        self.rules = rules
        # Not a method of this object, which would make a cycle of it and all that it refers to.
        self.rule = partial(_variadic_rule, rules) if self.variadic else rules.__getitem__
        self.differentiable = any(rule is not None for rule in rules)
        self.plain = not self.variadic and all(rule is not None for rule in rules)

    def __call__(self, *args: Any, **static: Any) -> Any:
        """Compute, and record where an argument is a node."""
        if len(args) == 1 and type(args[0]) is np.ndarray:  # in rules, nearly always
            return self.forward(*args, **static)
        for a in args:
            kind = type(a)
            if kind in _ORDINARY:
                continue
            # A node's class knows how to record; a private hook keeps this file free of both.
            record = getattr(kind, "__primitive__", None)
            if record is not None:
                return record(self, args, static)
        if self.scalar is not None and not static and _NUMBERS.issuperset(map(type, args)):
            # Plain numbers: the rules of a graph of scalars come here, and must stay plain numbers.
            try:
                return self.scalar(*map(float, args))
            except (ArithmeticError, ValueError):
                # inf or nan, which NumPy gives and Python refuses
                return self.forward(*map(np.float64, args))
        return self.forward(*args, **static)

    def __reduce__(self) -> str:
        # Pickled and copied as functions are: by name.
        names = (self.name, self.__qualname__)
        module = sys.modules.get(self.__module__)
        return next((n for n in names if getattr(module, n, None) is self), self.__qualname__)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def _no_rule(name: str, i: int) -> Rule | None:
    raise NotDifferentiableError(
        f"primitive {name!r} has no derivative rules: give it one per input with "
        f"{name}.defvjp(...), None for an input that it is constant in"
    )


def _variadic_rule(rules: tuple[Rule | None, ...], i: int) -> Rule | None:
    if len(rules) > 1:
        return rules[min(i, len(rules) - 1)]
    return rules[0] and partial(rules[0], i)


def _signature(forward: Callable[..., Any], variadic: bool) -> tuple[int | None, frozenset[str]]:
    """Read off `forward` how many arrays it takes, and the names of its static keywords."""
    if isinstance(forward, np.ufunc):
        return forward.nin, frozenset({"out"})
    parameters = inspect.signature(forward).parameters.values()
    static = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return None if variadic or rest else len(positional), static


def ufunc(
    function: np.ufunc,
    *rules: Rule | None,
    scalar: Callable[..., float] | None = None,
    domain: Domain | tuple[Domain, ...] = REAL,
    forward: Callable[..., Any] | None = None,
) -> Primitive:
    """Declare the primitive behind a NumPy ufunc: elementwise, broadcasting, named as NumPy does.

    `domain` is one interval for all inputs, or a tuple of one per input.
    """
    per_input = domain if isinstance(domain[0], tuple) else (domain,) * function.nin
    result = Primitive(
        forward or function,
        rules or (None,) * function.nin,
        name=function.__name__,
        numpy=[function],
        scalar=scalar,
        elementwise=True,
        domain=per_input,
    )
    result.__module__ = "tinygrad_nn.rules.elementwise"  # where all of these are declared
    return result


@overload
def primitive(forward: Callable[..., Any], /) -> Primitive: ...
@overload
def primitive(
    *,
    name: str | None = None,
    numpy: Sequence[Callable[..., Any]] = (),
    rules: Sequence[Rule | None] | None = None,
    scalar: Callable[..., float] | None = None,
    elementwise: bool = False,
    linear: Linear = None,
    variadic: bool = False,
    domain: Sequence[Domain] = (),
) -> Callable[[Callable[..., Any]], Primitive]: ...
def primitive(forward: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function of arrays a primitive: one node of the graph, with derivatives of its own.

    Use it bare and give the rules with `Primitive.defvjp`, or with keywords (see `Primitive`).
    Positional parameters are the arrays, keyword-only parameters are static.

    Parameters
    ----------
    forward : callable
        A function of arrays; it may call anything, since it only ever sees raw arrays.
    **options
        The keywords of `Primitive`: ``rules``, ``name``, ``elementwise``, ``numpy``...

    Returns
    -------
    Primitive

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> @tg.primitive(rules=[lambda g, y, x, *, k: g * k * np.cos(k * x)], elementwise=True)
    ... def wave(x, *, k=1.0):
    ...     return np.sin(k * x)
    >>> x = tg.tensor([0.0, 1.0], requires_grad=True)
    >>> wave(x, k=2.0).sum().backward()
    >>> x.grad
    array([ 2.        , -0.83229367])
    """
    if forward is None:
        return lambda f: Primitive(f, **options)
    return Primitive(forward, **options)


def implements(
    *functions: Callable[..., Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare what stands behind NumPy functions that are compositions of primitives.

    The decorated function is called with the arguments of the NumPy function, as they come.
    """

    def register(composite: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            COMPOSITES[function] = composite
        return composite

    return register


@cache
def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of a function and their defaults."""
    return {p.name: p.default for p in inspect.signature(function).parameters.values()}


def _is_default(value: Any, default: Any) -> bool:
    """Whether a keyword is at its "not given" value, and so changes nothing."""
    if value is None or value is np._NoValue or value is default:
        return True
    return isinstance(value, str | bool) and bool(value == default)


def bind(
    function: Callable[..., Any],
    target: Primitive,
    args: Sequence[Any],
    keywords: dict[str, Any],
    name: str | None = None,
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Turn the arguments of a NumPy function into those of the primitive behind it.

    NumPy's first parameters are the primitive's arrays (a sequence of arrays, for a variadic
    one), the others its static keywords, by the same names.

    Raises
    ------
    NotDifferentiableError
        If the call uses a keyword that the primitive does not have.
    """
    own = defaults(function)
    names = list(own)
    n = 1 if target.variadic else target.arity
    assert n is not None  # only a user's own primitive may have no fixed number of inputs
    arrays = list(args[:n])
    static = dict(zip(names[n:], args[n:], strict=False)) | keywords
    arrays += [static.pop(name) for name in names[len(arrays) : n] if name in static]
    for key, value in list(static.items()):
        if key in target.static_names and key != "out":
            if value is np._NoValue:
                del static[key]
        elif _is_default(value, own.get(key)):
            del static[key]
        else:
            raise NotDifferentiableError(
                f"np.{name or function.__name__}(..., {key}=...) is not supported on tensors: "
                f"`{key}` has no derivative rule here. Leave it out, or compute on `t.data` where "
                f"no gradient is needed"
            )
    return (list(arrays[0]) if target.variadic else arrays), static
