"""What a function refers to beside its arguments: a plan is for one state of it.

Names lead from a function to closure cells, globals and attributes, and from the objects there to
others. What is found is compared at every replay (`Surroundings.conditions`), so that a plan is
never used after one of them has changed; arrays and generators are replaced by what stands for
them while the function is captured (`Surroundings.replaced`); and what the function has itself
changed meanwhile is found (`Surroundings.changes`), because a replay would not do it again.
"""

from __future__ import annotations

import dis
import functools
import operator
import os
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_nn.nn.module import Module, changes
from tinygrad_nn.optim import Optimizer
from tinygrad_nn.plan.draws import is_generator, is_source
from tinygrad_nn.source_line import SourceLine
from tinygrad_nn.tensor import Tensor

__all__ = ["Surroundings", "differs"]

_LIBRARIES = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep for file in (np.__file__, os.__file__)
)
_PACKAGE = __name__.partition(".")[0]
#: Where the networks of scalars are: lists of neurons, which are lists of Values.
_SCALARS = f"{_PACKAGE}.scalar"
_INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))

#: Up to so many elements of a container are compared one by one; more, by their number alone.
_COMPARED = 64
#: Up to so many by a test each.
_FEW = 4
#: Up to so many are looked into.
_ENTERED = 1024

#: Methods that Python calls without their names being in the code; `__init__` and those for
#: printing are left out, since they name every attribute.
_IMPLICIT = frozenset(
    f"__{name}__"
    for name in (
        "call", "getitem", "setitem", "len", "iter", "next", "contains", "enter", "exit", "add",
        "radd", "sub", "rsub", "mul", "rmul", "truediv", "matmul", "pow", "neg", "getattr",
        "getattribute", "bool", "float", "array", "abs", "eq", "ne", "lt", "le", "gt",
        "ge", "floordiv", "mod", "rmatmul",
    )
)  # fmt: skip

_PLAIN = (
    type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype, range, slice,
)  # fmt: skip

_missing = object()

#: Methods that change a container in place, and an assignment to an element.
_MUTATORS = frozenset(
    ["append", "extend", "insert", "pop", "remove", "clear", "add", "update", "setdefault",
     "discard", "popitem", "appendleft", "popleft", "sort", "reverse", "[]="]
)  # fmt: skip


def differs(now: Any, before: Any) -> bool:
    """Return whether two objects are different for a plan: plain ones by value, else by identity.

    1, 1.0 and True are different, and so are 0.0 and -0.0.
    """
    if now is before:
        return False
    if now.__class__ is not before.__class__ or not isinstance(before, _PLAIN):
        return True
    if isinstance(before, float | complex | np.inexact):
        return repr(now) != repr(before)
    return bool(now != before)


def _same(now: Any, before: Any) -> bool:
    return len(now) == len(before) and not any(map(differs, now, before))


class Place(NamedTuple):
    """Where something is found: an item, an attribute, a cell of a closure, or in the class."""

    owner: Any
    key: Any
    kind: str
    name: str
    value: Any  # what was there before the function ran

    def get(self) -> Any:
        """Return what is there now."""
        try:
            return _READ[self.kind](self.owner, self.key)
        except (KeyError, IndexError, AttributeError, ValueError):
            return _missing

    def set(self, value: Any) -> None:
        """Put something there."""
        _WRITE[self.kind](self.owner, self.key, value)

    def source(self, owner: str) -> str:
        """Return the expression for what is there."""
        return _SOURCE[self.kind].format(owner, self.key)


_READ: dict[str, Callable[[Any, Any], Any]] = {
    "item": operator.getitem,
    "attribute": getattr,
    "cell": lambda cell, _: cell.cell_contents,
    "inherited": getattr,
}
_WRITE: dict[str, Callable[[Any, Any, Any], None]] = {
    "item": operator.setitem,
    "attribute": setattr,
    "cell": lambda cell, _, value: setattr(cell, "cell_contents", value),
    "inherited": lambda owner, key, _: vars(owner).pop(key, None),
}
_SOURCE = {
    "item": "{}[{!r}]",
    "attribute": "{}.{}",
    "cell": "{}.cell_contents",
    "inherited": "{}.{}",
}


class Box(NamedTuple):
    """A container that can be changed in place."""

    items: Any
    name: str
    before: Any  # a copy

    def values(self) -> Any:
        """Return the elements, without the keys of a dict."""
        return self.items.values() if isinstance(self.items, dict) else self.items

    def has_changed(self, to: Any) -> bool:
        """Whether it holds something else than `to`, a copy of it."""
        if isinstance(self.items, set):
            return bool(self.items != to)
        if isinstance(self.items, dict):
            return list(self.items) != list(to) or not _same(self.values(), to.values())
        return not _same(self.items, to)

    def restore(self) -> None:
        """Put back what was in it."""
        items = self.items
        if isinstance(items, list):
            items[:] = self.before
        else:
            items.clear()
            (items.extend if isinstance(items, deque) else items.update)(self.before)


class Change(NamedTuple):
    """What the function has itself changed."""

    name: str
    before: Any
    now: Any
    line: SourceLine | None


class Surroundings:
    """What `roots`, a function and the objects among its arguments, refer to.

    Attributes
    ----------
    places : list of Place
        What must be what it is for the plan to hold.
    boxes : list of Box
    modules : list of (Module, dict)
        Those in reach, with what was found in each.
    tensors : dict
        Those in reach, and whether they required a gradient, by identity.
    changes : list of Change
        What the function has changed, once it has run.
    modes : list of (Module, bool)
        Modules that it has put into training mode, or out of it.
    """

    def __init__(self, roots: list[Any]) -> None:
        self._names: set[str] = set()
        self._home = getattr(roots[0], "__module__", None) or "__main__"
        known = -1
        while known != len(self._names):  # names lead to functions, and these to further names
            known = len(self._names)
            self._walk(roots)
        self.modules = [(m, self._parts_of(m)) for m in self._modules]
        self._before = [(box, _copied(box.items)) for box in self.boxes]
        self._patches: list[tuple[Place, Any]] = []
        self.changes: list[Change] = []
        self.modes: list[tuple[Module, Any]] = []
        self._seen = [changes[0]]

    # --- finding -------------------------------------------------------------------------------

    def _walk(self, roots: list[Any]) -> None:
        self.places: list[Place] = []
        self.boxes: list[Box] = []
        self._inner: list[Place] = []  # elements and defaults, which their containers guard
        self._modules: list[Module] = []
        self.tensors: dict[int, tuple[Tensor, bool, str]] = {}
        self.codes: dict[types.CodeType, None] = {}
        self._known: dict[int, Any] = {}  # by identity, kept alive
        self._found: set[tuple[int, Any]] = set()
        self._stack: list[tuple[Any, str]] = [(root, "") for root in reversed(roots)]
        while self._stack:
            item, name = self._stack.pop()
            if id(item) in self._known or isinstance(item, _PLAIN):
                continue
            self._known[id(item)] = item
            self._enter(item, name)

    def _place(self, owner: Any, key: Any, kind: str, name: str) -> None:
        if (id(owner), key) in self._found:
            return
        self._found.add((id(owner), key))
        place = Place(owner, key, kind, name, None)
        value = place.get()
        if value is not _missing:
            self.places.append(place._replace(value=value))
            self._stack.append((value, name))

    def _enter(self, item: Any, name: str) -> None:
        for kinds, enter in _ENTER:
            if isinstance(item, kinds):
                enter(self, item, name)
                return

    def _is_users(self, item: Any) -> bool:
        """Whether a function, class or module is of the program, and not of a library."""
        module = getattr(item, "__module__", None) or getattr(item, "__name__", "")
        top = str(module).partition(".")[0]
        if top == _PACKAGE or top == "numpy" or top == "builtins":
            return False
        if top == self._home.partition(".")[0] or top == "__main__":
            return True
        file = getattr(sys.modules.get(str(module)), "__file__", None) or ""
        if file.startswith(_INSTALLED) or top in sys.stdlib_module_names:
            return False
        return not file.startswith(_LIBRARIES)

    def _function(self, f: types.FunctionType, name: str) -> None:
        code = f.__code__
        for variable, cell in zip(code.co_freevars, f.__closure__ or (), strict=True):
            self._place(cell, None, "cell", variable)
        if not self._is_users(f):
            return
        self.codes[code] = None
        self._names |= _names_in(code)
        for key in _globals_in(code):
            if key in f.__globals__:
                self._place(f.__globals__, key, "item", key)
        for k, value in enumerate(f.__defaults__ or ()):
            self._stack.append((value, f"default {k} of {f.__name__}"))
        if f.__defaults__ and any(map(_is_varying, f.__defaults__)):
            self._inner.append(
                Place(
                    f, "__defaults__", "attribute", f"the defaults of {f.__name__}", f.__defaults__
                )
            )
        if f.__kwdefaults__:
            self._stack.append((f.__kwdefaults__, f"the defaults of {f.__name__}"))

    def _method(self, m: types.MethodType, name: str) -> None:
        self._stack += [(m.__func__, name), (m.__self__, "self")]

    def _partial(self, p: functools.partial[Any], name: str) -> None:
        self._stack += [(p.func, name), (p.args, name), (p.keywords, name)]

    def _python_module(self, module: types.ModuleType, name: str) -> None:
        if self._is_users(module):
            for key in self._names & vars(module).keys():
                self._place(vars(module), key, "item", f"{name}.{key}")

    def _class(self, kind: type, name: str) -> None:
        if self._is_users(kind):
            self._class_parts(kind, kind, name, _IMPLICIT | {"__init__"})

    def _class_parts(self, owner: Any, kind: type, name: str, implicit: frozenset[str]) -> None:
        """Follow what code refers to in a class, for the class itself or an instance of it."""
        own = vars(owner) if hasattr(owner, "__dict__") else {}
        for parent in kind.__mro__:
            if not self._is_users(parent):
                continue
            for key in (self._names | implicit) & vars(parent).keys():
                value = vars(parent)[key]
                for function in _functions_in(value):
                    self._stack.append((function, f"{name}.{key}"))
                if isinstance(value, types.MemberDescriptorType):
                    self._place(owner, key, "attribute", f"{name}.{key}")
                elif not (_functions_in(value) or hasattr(value, "__get__")):
                    if _is_varying(value) or isinstance(owner, type):
                        self._place(parent, key, "attribute", f"{name}.{key}")
                    elif key not in own:  # read through the object, which may get one of its own
                        self._place(owner, key, "inherited", f"{name}.{key}")

    def _object(self, item: Any, name: str) -> None:
        wrapped = getattr(item, "__dict__", {}).get("__wrapped__")  # functools.wraps, and `compile`
        if wrapped is not None:
            self._stack.append((wrapped, name))
        kind = type(item)
        if kind.__module__ == _SCALARS:
            self._stack += [(value, f"{name}.{key}") for key, value in vars(item).items()]
        if kind.__module__.partition(".")[0] in (_PACKAGE, "numpy"):
            return
        name = name or kind.__name__
        if self._is_users(kind):
            self._class_parts(item, kind, name, _IMPLICIT)
        for key in self._names & getattr(item, "__dict__", {}).keys():
            self._place(vars(item), key, "item", f"{name}.{key}")

    def _module(self, module: Module, name: str) -> None:
        name = name or type(module).__name__
        self._modules.append(module)
        self._class_parts(module, type(module), name, _IMPLICIT | {"forward"})
        for key, value in vars(module).items():
            if self._is_relevant(module, key, value):
                self._stack.append((value, f"{name}.{key}"))
                if _is_varying(value):
                    self._inner.append(Place(vars(module), key, "item", f"{name}.{key}", value))

    def _is_relevant(self, module: Module, key: str, value: Any) -> bool:
        if key in self._names or isinstance(value, Module | Tensor | list | tuple | dict):
            return True
        return any(
            parent.__module__.startswith(_PACKAGE) and parent is not Module
            for parent in type(module).__mro__[:-1]
        )

    def _parts_of(self, module: Module) -> dict[str, Any]:
        found = {
            key: value
            for key, value in vars(module).items()
            if self._is_relevant(module, key, value)
        }
        return found | {"training": module.training}

    def _optimizer(self, optimizer: Optimizer, name: str) -> None:
        groups = optimizer.param_groups
        self.boxes.append(Box(groups, f"{name}.param_groups", list(groups)))
        for group in groups:
            self._stack += [(p, f"a parameter of {name}") for p in group["params"]]
        self._class_parts(optimizer, type(optimizer), name, _IMPLICIT | {"rule", "step"})
        for key in (self._names & vars(optimizer).keys()) - _OPTIMIZERS:
            self._place(vars(optimizer), key, "item", f"{name}.{key}")

    def _tensor(self, tensor: Tensor, name: str) -> None:
        self.tensors[id(tensor)] = (tensor, tensor.requires_grad, name)

    def _tuple(self, items: tuple[Any, ...], name: str) -> None:
        fields = getattr(items, "_fields", range(len(items)))
        self._stack += [
            (value, f"{name}[{k!r}]") for k, value in zip(fields, items[:_ENTERED], strict=False)
        ]

    def _box(self, items: Any, name: str) -> None:
        self.boxes.append(Box(items, name, _copied(items)))
        if len(items) > _ENTERED:
            return
        pairs = items.items() if isinstance(items, dict) else enumerate(items)
        for key, value in pairs:
            self._stack.append((value, f"{name}[{key!r}]"))
            if _is_varying(value) and not isinstance(items, set):
                self._inner.append(Place(items, key, "item", f"{name}[{key!r}]", value))

    @property
    def generators(self) -> list[Any]:
        """The generators of random numbers in reach."""
        return [item for item in self._known.values() if is_generator(item)]

    def mentions(self, *names: str) -> bool:
        """Whether one of these names occurs in the code in reach."""
        return not self._names.isdisjoint(names)

    # --- while the function is captured --------------------------------------------------------

    @contextmanager
    def replaced(self, stand_in: Callable[[Any, str], Any]) -> Iterator[None]:
        """Put stand-ins in the places of arrays and generators, and everything back afterwards.

        `stand_in` takes an array or a generator, and its name. When the block is left without an
        error, what the function has changed is in `changes`.
        """
        known: dict[int, Any] = {}

        def of(value: Any, name: str) -> Any:
            if isinstance(value, tuple):
                parts = [of(v, f"{name}[{k}]") for k, v in enumerate(value)]
                if not any(map(operator.is_not, parts, value)):
                    return value
                return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
            if not _is_varying(value):
                return value
            if id(value) not in known:
                known[id(value)] = stand_in(value, name)
            return known[id(value)]

        try:
            if self.mentions("random", "default_rng"):
                rng = np.random.default_rng
                self._inner.append(Place(vars(np.random), "default_rng", "item", "", rng))
            for place in (*self.places, *self._inner):
                new = of(place.value, place.name)
                if new is not place.value:
                    place.set(new)
                    self._patches.append((place, new))
            boxes = [(box, _copied(box.items)) for box in self.boxes]
            parts = [(m, self._parts_of(m)) for m in self._modules]
            yield
            self.changes = [*self._changed_places(), *self._changed_boxes(boxes)]
            self.changes += self._changed_modules(parts)
            self.changes += self._changed_tensors()
        finally:
            known.clear()
            self._restore()

    def _changed_places(self) -> Iterator[Change]:
        expected = {id(place): new for place, new in self._patches}
        for place in (*self.places, *self._inner):
            now = place.get()
            before = expected.get(id(place), place.value)
            if differs(now, before):
                yield Change(place.name, place.value, now, self._stored(place.key, place.name))

    def _changed_boxes(self, boxes: list[tuple[Box, Any]]) -> Iterator[Change]:
        for box, before in boxes:
            if box.has_changed(before):
                was, is_ = (f"{len(items)} elements" for items in (before, box.items))
                yield Change(box.name, was, is_, self._mutated(box.name))

    def _mutated(self, name: str) -> SourceLine | None:
        """Return the first line that changes a container of this name in place, as it seems."""
        last = name.rpartition(".")[2].partition("[")[0]
        for code in _with_inner(self.codes):
            found: dict[int, set[Any]] = {}
            for line, is_store, argument in _operations(code):
                found.setdefault(line, set()).add(
                    "[]=" if is_store and argument == "" else argument
                )
            for line, words in found.items():
                if last in words and words & _MUTATORS:
                    return SourceLine(code.co_filename, line, code.co_name, None)
        return self.named(last)

    def _changed_modules(self, parts: list[tuple[Module, dict[str, Any]]]) -> Iterator[Change]:
        for module, before in parts:
            now = self._parts_of(module)
            for key in before.keys() | now.keys():
                was, is_ = before.get(key, _missing), now.get(key, _missing)
                if not differs(is_, was):
                    continue
                if key == "training":
                    self.modes.append((module, is_))
                else:
                    name = f"{type(module).__name__}.{key}"
                    yield Change(name, was, is_, self._stored(key, name))

    def set_modes(self) -> None:
        """Leave modules in the mode, of training or not, that the function has put them into."""
        for module, training in self.modes:
            module.training = training

    def _changed_tensors(self) -> Iterator[Change]:
        for tensor, before, owner in self.tensors.values():
            if tensor.requires_grad is not before:
                name = f"{owner or tensor.name}.requires_grad"
                line = self.named("requires_grad", "requires_grad_")
                yield Change(name, before, tensor.requires_grad, line)

    def _stored(self, key: Any, name: str) -> SourceLine | None:
        """Return the first line that assigns to a name or an attribute."""
        names = {key, name.rpartition(".")[2], name}
        for code in _with_inner(self.codes):
            for line, is_store, argument in _operations(code):
                if is_store and argument in names:
                    return SourceLine(code.co_filename, line, code.co_name, None)
        return None

    def named(self, *names: str) -> SourceLine | None:
        """Return the first line of the code in which one of these names occurs."""
        for code in _with_inner(self.codes):
            for line, _, argument in _operations(code):
                if argument in names:
                    return SourceLine(code.co_filename, line, code.co_name, None)
        return None

    def _restore(self) -> None:
        for place in (*self.places, *self._inner):
            if place.get() is not place.value:
                place.set(place.value)
        for box, before in self._before:
            if box.has_changed(before):
                box._replace(before=before).restore()
        for module, parts in self.modules:
            now = self._parts_of(module)
            for key in now.keys() - parts.keys():
                vars(module).pop(key, None)
            for key, value in parts.items():
                if now.get(key, _missing) is not value:
                    vars(module)[key] = value
        for tensor, before, _ in self.tensors.values():
            if tensor.requires_grad is not before:
                tensor.requires_grad = before
        self._patches = []

    # --- at a replay ---------------------------------------------------------------------------

    def conditions(self, names: Callable[[Any, str], str], used: set[int]) -> list[str]:
        """Return expressions that are true where the plan does not hold.

        Parameters
        ----------
        names : callable
            Gives an object a name under which the program finds it.
        used : set of int
            The identities of the tensors that the plan reads.
        """
        rows = []
        for place in self.places:
            found = place.source(names(place.owner, "at"))
            row = f"{found} is not {names(place.value, 'was')}"
            if isinstance(place.value, _PLAIN):
                row = (
                    f"({row} and {names(differs, 'differs')}({found}, {names(place.value, 'was')}))"
                )
            rows.append(row)
        plain = [pair for pair in self._before if _is_compared_by_identity(*pair)]
        if len(plain) > 1:  # at once, which takes a tenth of the time
            boxes = ", ".join(names(box.items, "box") for box, _ in plain)
            changed = names(partial(_any_changed, plain), "any_changed")
            was = names([before for _, before in plain], "was")
            rows.append(f"([{boxes}] != {was} and {changed}())")
        done = {id(box.items) for box, _ in plain} if len(plain) > 1 else set()
        rows += [
            f"({self._box_condition(box, before, names)})"
            for box, before in self._before
            if id(box.items) not in done
        ]
        if self._modules:
            rows.append(
                f"({names(changes, 'changes')}[0] != {names(self._seen, 'seen')}[0] and "
                f"{names(self._modules_differ, 'modules_differ')}())"
            )
        for tensor, before, _ in self.tensors.values():
            if id(tensor) in used:
                rows.append(f"{names(tensor, 'p')}.requires_grad is not {before}")
        return rows

    def _box_condition(self, box: Box, before: Any, names: Callable[[Any, str], str]) -> str:
        items, count = names(box.items, "box"), len(before)
        changed = names(partial(box.has_changed, before), "has_changed")
        if _is_compared_by_identity(box, before):
            return f"{items} != {names(before, 'was')} and {changed}()"
        if count > _COMPARED:
            return f"len({items}) != {count}"
        if not isinstance(box.items, list):
            return f"{changed}()"
        if count <= _FEW:
            tests = [f"{items}[{k}] is not {names(v, 'was')}" for k, v in enumerate(before)]
        else:
            same = f"{names(all, 'all')}({names(map, 'map')}({names(operator.is_, 'is_')}, "
            tests = [f"not {same}{items}, {names(before, 'was')}))"]
        return f"({' or '.join([f'len({items}) != {count}', *tests])}) and {changed}()"

    def _modules_differ(self) -> bool:
        now = changes[0]
        for module, before in self.modules:
            found = self._parts_of(module)
            if found.keys() != before.keys() or not _same(
                [found[key] for key in before], list(before.values())
            ):
                return True
        self._seen[0] = now
        return False

    def differences(self) -> list[str]:
        """Return the names of what is not as it was."""
        found = [place.name for place in self.places if differs(place.get(), place.value)]
        found += [box.name for box, before in self._before if box.has_changed(before)]
        for module, before in self.modules:
            now = self._parts_of(module)
            found += [
                f"{type(module).__name__}.{key}"
                for key in {**before, **now}
                if differs(now.get(key, _missing), before.get(key, _missing))
            ]
        found += [
            f"{name}.requires_grad"
            for tensor, before, name in self.tensors.values()
            if tensor.requires_grad is not before
        ]
        return found


_ENTER: tuple[tuple[Any, Callable[[Surroundings, Any, str], None]], ...] = (
    (Tensor, Surroundings._tensor),
    (np.ndarray, lambda *_: None),
    (Module, Surroundings._module),
    (Optimizer, Surroundings._optimizer),
    (types.FunctionType, Surroundings._function),
    (types.MethodType, Surroundings._method),
    (functools.partial, Surroundings._partial),
    (types.ModuleType, Surroundings._python_module),
    (type, Surroundings._class),
    (tuple, Surroundings._tuple),
    ((list, dict, set, deque), Surroundings._box),
    (object, Surroundings._object),
)

#: What every optimizer has; a capture makes its own conditions of it.
_OPTIMIZERS = frozenset({"defaults", "param_groups", "_parts", "_idle", "_pieces"})


def _is_compared_by_identity(box: Box, before: Any) -> bool:
    """Whether ``==`` of the lists is true for the same elements, and false for others."""
    kinds = {type(value).__eq__ for value in before}
    return isinstance(box.items, list) and len(before) <= _ENTERED and kinds <= {object.__eq__}


def _any_changed(pairs: list[tuple[Box, Any]]) -> bool:
    return any(box.has_changed(before) for box, before in pairs)


def _copied(items: Any) -> Any:
    return items.copy()


def _is_varying(value: Any) -> bool:
    """Whether a place holds something that has other numbers at every call."""
    if isinstance(value, tuple):
        return any(map(_is_varying, value))
    if isinstance(value, np.ndarray):
        return type(value) in (np.ndarray, np.memmap) and value.dtype.kind in "fiubc"
    return is_source(value)


def _functions_in(value: Any) -> list[Any]:
    """Return the functions of a method, a property, a static or class method."""
    if isinstance(value, types.FunctionType):
        return [value]
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [f for f in (value.fget, value.fset) if f is not None]
    wrapped = getattr(value, "__wrapped__", None)
    if wrapped is None:
        wrapped = getattr(value, "func", None)  # functools.cached_property
    return [wrapped] if isinstance(wrapped, types.FunctionType) else []


def _with_inner(codes: Any) -> Iterator[types.CodeType]:
    stack = list(codes)[::-1]
    while stack:
        code = stack.pop()
        yield code
        stack += [c for c in code.co_consts if isinstance(c, types.CodeType)]


@functools.lru_cache(1024)
def _names_in(code: types.CodeType) -> frozenset[str]:
    """Return the names of attributes in a code and those inside it, and texts that may be some."""
    found: set[str] = set()
    for c in _with_inner([code]):
        found.update(c.co_names)
        found.update(s for s in c.co_consts if isinstance(s, str) and s.isidentifier())
    return frozenset(found)


@functools.lru_cache(1024)
def _globals_in(code: types.CodeType) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for c in _with_inner([code]):
        for instruction in dis.get_instructions(c):
            if "GLOBAL" in instruction.opname or "_NAME" in instruction.opname:
                found[str(instruction.argval)] = None
    return tuple(found)


def _operations(code: types.CodeType) -> Iterator[tuple[int, bool, Any]]:
    """Yield the line, whether it stores, and the name of each instruction that has one."""
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        positions = instruction.positions
        line = (positions and positions.lineno) or line
        if instruction.opname == "STORE_SUBSCR":
            yield line, True, ""
        elif isinstance(instruction.argval, str):
            yield line, instruction.opname.startswith("STORE"), instruction.argval
