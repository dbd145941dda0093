"""Module: a function with parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from reprlib import recursive_repr
from typing import Any, ClassVar
from weakref import ref

import numpy as np
import numpy.typing as npt

from tinygrad_nn.errors import ShapeError
from tinygrad_nn.graph import Node, mark_scope, next_serial
from tinygrad_nn.tensor import Tensor, alias

__all__ = ["Module", "changes"]

#: How often an attribute of any module has been set: what stands here is all that a compiled
#: function has to look at to know that no module has changed.
changes = [0]


class Module:
    """Base of everything that has parameters: give it attributes and a `forward`.

    Attributes that are tensors are its parameters (those that require a gradient) and buffers
    (those that do not); attributes that are modules are its parts. Lists, tuples and dicts of
    either are searched too. There is nothing to register and no constructor to call. (`Value`s are
    not searched for: a network of those is in `tinygrad_nn.scalar`.)

    Attributes
    ----------
    training : bool
        False after `eval`; for modules that behave differently in training.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> class Scale(tg.nn.Module):
    ...     def __init__(self):
    ...         self.factor = tg.tensor([1.0, 2.0], requires_grad=True)
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Scale()
    >>> model(np.array([3.0, 4.0]))
    tensor([3., 8.], <multiply>)
    >>> [name for name, _ in model.named_parameters()]
    ['factor']
    """

    training: bool = True

    #: Attributes that `repr` shows, in order; by default the parts are shown alone.
    _shown: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        changes[0] += 1
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        changes[0] += 1
        object.__delattr__(self, name)

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Compute the output; called by ``module(...)``."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Return `forward` of the arguments, and mark what it computed as this module's."""
        # Nodes made during the call have numbers from here up to the output's, which is all that
        # a drawing needs to know to put a frame around them.
        start = next_serial()
        output = self.forward(*args, **keywords)
        if output.__class__ is Tensor and output.serial > start:  # nearly always: quicker in place
            output._scopes += (ref(self), self.__class__.__name__, start)
        else:
            mark_scope(self, output, start)
        return output

    # --- parameters and parts ------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all modules in it, each once, with their qualified names."""
        for name, item in _walk(self, prefix):
            if isinstance(item, Module):
                yield name, item

    def modules(self) -> Iterator[Module]:
        """Yield this module and all modules in it, each once."""
        return (module for _, module in self.named_modules())

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield parameters and buffers, each once, with their qualified names."""
        names: set[str] = set()
        for name, item in _walk(self, prefix):
            # A result that forward() keeps is neither; what stands for a parameter while it is
            # differentiated is one.
            if isinstance(item, Tensor) and (item.is_leaf or item.primitive is alias):
                if name in names:
                    raise ValueError(
                        f"two tensors of {type(self).__name__} have the qualified name {name!r}; "
                        f"rename an attribute or a key of a dict"
                    )
                names.add(name)
                yield name, item

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors that require gradients, each once, with their qualified names.

        Names follow the attributes, as in ``layers.0.weight``, in the order of definition.
        """
        return (
            (name, tensor) for name, tensor in self.named_tensors(prefix) if tensor.requires_grad
        )

    def parameters(self) -> list[Tensor]:
        """Return the tensors that require gradients, each once, in the order of definition."""
        return [tensor for _, tensor in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, tensor in self.named_tensors():
            tensor.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze all parameters (False), or unfreeze those that were frozen so; return the module.

        Buffers stay buffers.
        """
        for _, tensor in self.named_tensors():
            if tensor.requires_grad and not requires_grad:
                tensor.frozen = True
                tensor.grad = None  # a leftover gradient would move it once more
                tensor.requires_grad_(False)
            elif requires_grad and tensor.frozen:
                tensor.frozen = False
                tensor.requires_grad_(True)
        return self

    # --- modes ---------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Set `training` in this module and all modules in it, and return the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set `training` to False throughout, and return the module."""
        return self.train(False)

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all parameters and buffers by qualified name."""
        found = dict(self.named_tensors())
        for tensor in found.values():
            tensor._check_leaving("state_dict()")
        return {name: tensor.data.copy() for name, tensor in found.items()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], strict: bool = True) -> None:
        """Take over the values that `state_dict` returned.

        Parameters
        ----------
        state : mapping of str to array_like
            By qualified name; converted to each parameter's dtype.
        strict : bool
            Whether missing and surplus names are errors.

        Raises
        ------
        KeyError
            If names are missing or surplus; the message lists them.
        ShapeError
            If shapes differ; the message lists them. Nothing is changed in either case.
        """
        own = dict(self.named_tensors())
        missing = [name for name in own if name not in state]
        surplus = [name for name in state if name not in own]
        if strict and (missing or surplus):
            raise KeyError(
                f"state does not fit {type(self).__name__}: missing {missing}, surplus {surplus}"
            )
        arrays = {name: np.asarray(state[name]) for name in own if name in state}
        wrong = [
            f"{name} has dtype {own[name].dtype}, the state {array.dtype}"
            for name, array in arrays.items()
            if not np.can_cast(array.dtype, own[name].dtype, "same_kind")
        ]
        if wrong:
            raise TypeError(f"state does not fit {type(self).__name__}: " + "; ".join(wrong))
        wrong = [
            f"{name} has shape {own[name].shape}, the state {array.shape}"
            for name, array in arrays.items()
            if array.shape != own[name].shape
        ]
        if wrong:
            raise ShapeError(f"state does not fit {type(self).__name__}: " + "; ".join(wrong))
        with np.errstate(over="ignore"):
            fitted = {name: array.astype(own[name].dtype) for name, array in arrays.items()}
        lost = [n for n, a in fitted.items() if np.isinf(a).any() and np.isfinite(arrays[n]).all()]
        if lost:
            raise ValueError(f"numbers too large for the dtype of {', '.join(lost)}")
        for name, array in fitted.items():
            own[name].data = array

    def __tree__(self) -> tuple[dict[str, Tensor], Callable[..., Module], Callable[..., Module]]:
        """Return the parameters, and two functions that make a module like this of others.

        So transforms differentiate with respect to a module, and return one. The second function
        is for gradients: frozen parameters and buffers, which have none, are None in what it makes.
        """
        every = dict(self.named_tensors())
        own = {name: tensor for name, tensor in every.items() if tensor.requires_grad}

        def rebuild(leaves: Sequence[Any], rest: dict[int, Any] | None = None) -> Module:
            others = map(_as_parameter, leaves)
            new = {id(old): other for old, other in zip(own.values(), others, strict=True)}
            return _replaced(self, (rest or {}) | new)  # type: ignore[no-any-return]  # Any to mypy

        def bare(leaves: Sequence[Any]) -> Module:
            return rebuild(leaves, {id(tensor): None for tensor in every.values()})

        return own, rebuild, bare

    # --- what it looks like --------------------------------------------------------------------

    def _title(self) -> str:
        """Return the module in one line."""
        return f"{type(self).__name__}({', '.join(self._settings())})"

    def _settings(self) -> list[str]:
        return [f"{name}={getattr(self, name)!r}" for name in self._shown]

    @recursive_repr("...")
    def __repr__(self) -> str:
        lines = []
        for name, part in _parts(self):
            text = repr(part).replace("\n", "\n  ")
            lines.append(f"  ({name}): {text}")
        if not lines:
            return self._title()
        head = f"{type(self).__name__}({', '.join(self._settings())}"
        return "\n".join([head, *lines, ")"])

    def summary(self) -> str:
        """Return a table of modules, parameter shapes and counts, one row to a tensor.

        Examples
        --------
        >>> import tinygrad_nn as tg
        >>> print(tg.nn.MLP(2, [3, 1]).summary())
        parameter        shape   dtype    count
        layers.0.weight  (2, 3)  float32      6
        layers.0.bias    (3,)    float32      3
        layers.1.weight  (3, 1)  float32      3
        layers.1.bias    (1,)    float32      1
        total                                13
        """
        rows = [("parameter", "shape", "dtype", "count")]
        counts = {"": 0, "frozen": 0, "buffer": 0}
        for name, tensor in self.named_tensors():
            kind = "" if tensor.requires_grad else "frozen" if tensor.frozen else "buffer"
            counts[kind] += tensor.size
            title = f"{name} ({kind})" if kind else name
            rows.append((title, str(tensor.shape), str(tensor.dtype), f"{tensor.size:,}"))
        rows.append(("total", "", "", f"{sum(counts.values()):,}"))
        rows += [
            (f"of them {kind}", "", "", f"{counts[kind]:,}")
            for kind in ("frozen", "buffer")
            if counts[kind]
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in rows
        )


def _children(owner: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(owner, Module):
        yield from vars(owner).items()
    elif isinstance(owner, dict):
        yield from ((str(key), value) for key, value in owner.items())
    elif isinstance(owner, list | tuple):
        yield from ((str(i), value) for i, value in enumerate(owner))


def _walk(root: Module, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield modules and tensors below `root`, itself first, depth first, once per identity."""
    seen: set[int] = set()
    stack: list[tuple[str, Any]] = [(prefix, root)]
    while stack:
        name, item = stack.pop()
        if id(item) in seen:
            continue
        if isinstance(item, Module | Tensor | dict | list | tuple):
            seen.add(id(item))
        if isinstance(item, Module | Tensor):
            yield name, item
        below = [(f"{name}.{key}" if name else key, value) for key, value in _children(item)]
        stack.extend(reversed(below))


def _as_parameter(leaf: Any) -> Any:
    """Make a tensor that is found among the parameters; what is a container itself stays."""
    if isinstance(leaf, Node):
        return alias(leaf)  # see named_tensors
    if isinstance(leaf, Module | dict | list | tuple):
        return leaf
    array = np.asarray(leaf)
    return Tensor(array, requires_grad=array.dtype.kind in "fc")


def _replaced(item: Any, new: dict[int, Any]) -> Any:
    """Copy modules and containers, with objects replaced by identity; what is shared stays so."""
    if id(item) in new:
        return new[id(item)]
    if isinstance(item, Module):
        twin = new[id(item)] = object.__new__(type(item))
        vars(twin).update({name: _replaced(value, new) for name, value in vars(item).items()})
        return twin
    if isinstance(item, dict):
        return type(item)({key: _replaced(value, new) for key, value in item.items()})
    if isinstance(item, list | tuple):
        values = [_replaced(value, new) for value in item]
        return type(item)(*values) if hasattr(item, "_fields") else type(item)(values)
    return item


def _parts(module: Module) -> Iterator[tuple[str, Any]]:
    """Yield the modules directly in `module`, through lists, tuples and dicts; not itself."""
    stack = list(reversed(list(_children(module))))
    while stack:
        name, item = stack.pop()
        if isinstance(item, Module):
            if item is not module:
                yield name, item
        else:
            below = [(f"{name}.{key}", value) for key, value in _children(item)]
            stack.extend(reversed(below))
