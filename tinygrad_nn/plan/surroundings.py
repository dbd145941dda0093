"""What a function refers to beside its arguments: a plan is for one state of it.

Names lead from a function to closure cells, globals and attributes, and from the objects there to
others. What is found is compared at every replay (`Surroundings.conditions`), so that a plan is
never used after one of them has changed; arrays and generators are replaced by what stands for
them while the function is captured (`Surroundings.replaced`); and what the function has itself
changed meanwhile is found (`Surroundings.changes`), because a replay would not do it again.
"""

from __future__ import annotations

import array
import functools
import gc
import io
import operator
import os
import queue
import sys
import sysconfig
import types
import weakref
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np

from tinygrad_nn.errors import CaptureError
from tinygrad_nn.nn.module import Module, changes
from tinygrad_nn.optim import Optimizer
from tinygrad_nn.plan import outside
from tinygrad_nn.plan.draws import is_generator, is_legacy, is_source
from tinygrad_nn.plan.mentions import (
    COMPUTED,
    computes_names,
    globals_in,
    imports_in,
    names_in,
    operations,
    with_inner,
)
from tinygrad_nn.plan.state import (
    MISSING,
    PLAIN,
    SOURCE,
    Box,
    Change,
    Own,
    Place,
    differs,
    unchanged,
)
from tinygrad_nn.primitive import Primitive
from tinygrad_nn.source_line import SourceLine
from tinygrad_nn.tensor import Tensor

__all__ = ["Surroundings"]

_LIBRARIES = tuple(
    os.path.dirname(os.path.abspath(file)) + os.sep for file in (np.__file__, os.__file__)
)
_PACKAGE = __name__.partition(".")[0]
#: Where the networks of scalars are: lists of neurons, which are lists of Values.
_SCALARS = f"{_PACKAGE}.scalar"
_INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))

#: Up to so many elements of a list by a test each.
_FEW = 4
#: Up to so many elements that are no plain values are looked into.
_ENTERED = 4096
#: An array that gets no stand-in is compared by its bytes, up to so many.
_BYTES = 1 << 20

#: Methods that Python calls without their names being in the code are followed, but for these,
#: which name every attribute or which no computation calls.
_NOT_IMPLICIT = frozenset(
    f"__{name}__"
    for name in (
        "init", "new", "post_init", "repr", "str", "del", "reduce", "reduce_ex", "getstate",
        "setstate", "getnewargs", "getnewargs_ex", "copy", "deepcopy", "sizeof", "dir", "replace",
        "init_subclass", "set_name", "class_getitem", "rich_repr", "subclasshook",
    )
)  # fmt: skip
#: Those that make an object of a class.
_MAKING = frozenset({"__init__", "__new__", "__post_init__"})


#: What gives something else each time that it is asked.
_CONSUMED = (
    Iterator, io.IOBase, queue.Queue, queue.SimpleQueue,
)  # fmt: skip
_STREAMS = (sys.__stdin__, sys.__stdout__, sys.__stderr__)


#: Methods that change a container in place, and an assignment to an element.
_MUTATORS = frozenset(
    ["append", "extend", "insert", "pop", "remove", "clear", "add", "update", "setdefault",
     "discard", "popitem", "appendleft", "popleft", "sort", "reverse", "[]="]
)  # fmt: skip


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
        self._computes = False  # whether the code computes names of attributes
        self._home = getattr(roots[0], "__module__", None) or "__main__"
        known: Any = None
        while known != (len(self._names), self._computes):
            known = len(self._names), self._computes  # names lead to functions, these to more names
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
        self._inner: list[Place] = []  # elements, which their containers guard
        self._programs: list[Place] = []  # the functions themselves, and numbers of odd arrays
        self._owns: list[Own] = []
        self._groups: list[Box] = []  # of optimizers, whose options a plan guards by itself
        self._modules: list[Module] = []
        self.tensors: dict[int, tuple[Tensor, bool, str]] = {}
        self.codes: dict[types.CodeType, None] = {}
        self._known: dict[int, Any] = {}  # by identity, kept alive
        self._found: set[tuple[int, Any]] = set()
        self._stack: list[tuple[Any, str]] = [(root, "") for root in reversed(roots)]
        while self._stack:
            item, name = self._stack.pop()
            if id(item) in self._known or isinstance(item, PLAIN):
                continue
            self._known[id(item)] = item
            self._enter(item, name)

    def _place(self, owner: Any, key: Any, kind: str, name: str) -> None:
        if (id(owner), key) in self._found:
            return
        self._found.add((id(owner), key))
        place = Place(owner, key, kind, name, None)
        value = place.get()
        if value is not MISSING or kind in ("slot", "context"):
            is_program = kind in ("class", "array", "bytes") or key in _OF_FUNCTIONS
            (self._programs if is_program else self.places).append(place._replace(value=value))
            if key != "__class__":  # which would stand for its constructor
                self._stack.append((value, name))

    def _own(self, item: Any, name: str) -> None:
        """Note which attributes an object does not have that the code may ask for."""
        own = vars(item)
        present = frozenset(own)
        kind: Any = type(item)
        absent = (self._names | {"forward"}) - present - _cached_in(kind)
        self._owns.append(Own(own, present, None if self._computes else frozenset(absent), name))

    def _unplaced(self, value: Any, name: str) -> None:
        """Follow what cannot be replaced while the function is captured."""
        if isinstance(value, tuple):
            for k, item in enumerate(value):
                self._unplaced(item, f"{name}[{k}]")
        elif isinstance(value, np.ndarray):
            self._numbers(value, name)
        else:
            self._stack.append((value, name))

    def _numbers(self, array: np.ndarray[Any, Any], name: str) -> None:
        """Make the numbers of an array that gets no stand-in a condition."""
        if array.nbytes > _BYTES:
            raise CaptureError(
                f"{name or 'an array'}, an array of {array.nbytes >> 20} MiB, is referred to in a "
                f"way that a plan cannot replace (a {type(array).__name__} of {array.dtype}, or a "
                f"method of it). Refer to a plain array by a name or an attribute, or pass it as "
                f"an argument"
            )
        self._place(array, None, "array", name)
        if array.dtype.hasobject:
            for item in array.flat:
                self._unplaced(item, f"{name}[...]")

    def _array(self, array: np.ndarray[Any, Any], name: str) -> None:
        if not _is_varying(array):
            self._numbers(array, name)

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
        self._names |= names_in(code)
        self._computes = self._computes or computes_names(code)
        self._place(f, "__code__", "attribute", f"the code of {f.__name__}")
        for key in globals_in(code):
            if key in f.__globals__:
                self._place(f.__globals__, key, "item", key)
        absent = frozenset(globals_in(code)) - f.__globals__.keys()
        if absent:  # names of builtins, that the program may use for something else
            self._owns.append(Own(f.__globals__, frozenset(f.__globals__), absent, ""))
        if "globals" in code.co_names or (
            self._computes and not COMPUTED.isdisjoint(code.co_names)
        ):
            for key, value in list(f.__globals__.items()):
                if isinstance(value, PLAIN) and not key.startswith("__"):
                    self._place(f.__globals__, key, "item", key)
        for module in imports_in(code, str(f.__globals__.get("__package__") or "")):
            if module in sys.modules:
                self._stack.append((sys.modules[module], module))
        if f.__defaults__:
            self._place(f, "__defaults__", "attribute", f"the defaults of {f.__name__}")
        if f.__kwdefaults__:
            self._place(f, "__kwdefaults__", "attribute", f"the defaults of {f.__name__}")
        for key in self._names & f.__dict__.keys():
            self._place(f.__dict__, key, "item", f"{f.__name__}.{key}")
        self._own(f, f.__name__)

    def _method(self, m: types.MethodType, name: str) -> None:
        self._stack += [(m.__func__, name), (m.__self__, "self")]

    def _partial(self, p: functools.partial[Any], name: str) -> None:
        self._stack += [(p.func, name), (p.args, name), (p.keywords, name)]
        for key in ("func", "args"):
            value = getattr(p, key)
            if _is_varying(value):
                self._inner.append(Place(p, key, "part", name or "partial", value))

    def _builtin(self, f: types.BuiltinFunctionType, name: str) -> None:
        if not isinstance(f.__self__, types.ModuleType | type | None):
            self._unplaced(f.__self__, name)

    def _python_module(self, module: types.ModuleType, name: str) -> None:
        if self._is_users(module):
            for key in self._names & vars(module).keys():
                self._place(vars(module), key, "item", f"{name}.{key}")
            if self._computes:
                for key, value in list(vars(module).items()):
                    if isinstance(value, PLAIN) and not key.startswith("__"):
                        self._place(vars(module), key, "item", f"{name}.{key}")
        elif module is os and not self._names.isdisjoint(("environ", "getenv", "environb")):
            self._box(os.environ._data, "os.environ")  # type: ignore[attr-defined]  # bytes by bytes

    def _class(self, kind: type, name: str) -> None:
        if self._is_users(kind):
            self._class_parts(kind, kind, name, _MAKING)
            if self._is_users(type(kind)):
                self._class_parts(kind, type(kind), name)

    def _class_parts(
        self, owner: Any, kind: type, name: str, implicit: frozenset[str] = frozenset()
    ) -> None:
        """Follow what code refers to in a class, for the class itself or an instance of it."""
        own = vars(owner) if hasattr(owner, "__dict__") else {}
        for parent in kind.__mro__:
            if not self._is_users(parent):
                continue
            for key, value in list(vars(parent).items()):
                functions = _functions_in(value)
                is_named = key in self._names or key in implicit or self._computes
                if not is_named and not (functions and _is_implicit(key)):
                    continue
                for function in functions:
                    self._stack.append((function, f"{name}.{key}"))
                if functions:
                    self._place(parent, key, "class", f"{name}.{key}")
                elif isinstance(value, types.MemberDescriptorType):
                    self._place(owner, key, "slot", f"{name}.{key}")
                elif hasattr(value, "__get__"):
                    if self._is_users(type(value)):
                        self._stack.append((value, f"{name}.{key}"))
                elif not _is_implicit(key) and key not in _NOT_IMPLICIT:
                    if _is_varying(value) or isinstance(owner, type):
                        self._place(parent, key, "attribute", f"{name}.{key}")
                    elif key not in own:  # read through the object, which may get one of its own
                        self._place(owner, key, "inherited", f"{name}.{key}")

    def _object(self, item: Any, name: str) -> None:
        kind = type(item)
        if isinstance(item, _CONSUMED) and not self._is_users(kind):
            if item not in _STREAMS:
                raise _consumed(item, name)
            return
        own = getattr(item, "__dict__", {})
        wrapped = own.get("__wrapped__")  # functools.wraps, and `compile`
        if wrapped is not None:
            self._stack.append((wrapped, name))
            for key in self._names & own.keys() - _OF_COMPILED:
                self._place(own, key, "item", f"{name}.{key}")
        if kind.__module__ == _SCALARS:
            self._stack += [(value, f"{name}.{key}") for key, value in own.items()]
        if isinstance(item, Primitive):  # whose forward and rules may be the user's
            self._stack += [(value, f"{item.name}.{key}") for key, value in own.items()]
        if kind.__module__.partition(".")[0] in (_PACKAGE, "numpy"):
            return
        name = name or kind.__name__
        if self._is_users(kind):
            self._place(item, "__class__", "attribute", f"the class of {name}")
            self._class_parts(item, kind, name)
        every = self._computes or isinstance(item, ChainMap | UserDict | UserList)
        for key in own.keys() if every else self._names & own.keys():
            self._place(own, key, "item", f"{name}.{key}")
        if own is not item and hasattr(item, "__dict__") and not isinstance(item, type):
            self._own(item, name)

    def _module(self, module: Module, name: str) -> None:
        name = name or type(module).__name__
        self._modules.append(module)
        self._class_parts(module, type(module), name, frozenset({"forward"}))
        for key, value in vars(module).items():
            if self._is_relevant(module, key, value):
                self._stack.append((value, f"{name}.{key}"))
                if _is_varying(value):
                    self._inner.append(Place(vars(module), key, "item", f"{name}.{key}", value))

    def _is_relevant(self, module: Module, key: str, value: Any) -> bool:
        if key in self._names or key == "forward" or self._computes:
            return True
        if isinstance(value, Module | Tensor | list | tuple | dict):
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
            self._groups.append(Box(group, f"an option of {name or 'the optimizer'}", dict(group)))
            if "param_groups" in self._names:  # which reads its options
                self._box(group, f"{name}.param_groups[...]")
        self._class_parts(optimizer, type(optimizer), name, frozenset({"rule", "step"}))
        for key in (self._names & vars(optimizer).keys()) - _OPTIMIZERS:
            self._place(vars(optimizer), key, "item", f"{name}.{key}")

    def _tensor(self, tensor: Tensor, name: str) -> None:
        self.tensors[id(tensor)] = (tensor, tensor.requires_grad, name)

    def _tuple(self, items: tuple[Any, ...], name: str) -> None:
        if _is_plain(items):
            return
        self._check_number(items, name)
        fields = getattr(items, "_fields", range(len(items)))
        self._stack += [(value, f"{name}[{k!r}]") for k, value in zip(fields, items, strict=False)]

    def _box(self, items: Any, name: str) -> None:
        self.boxes.append(Box(items, name, _copied(items)))
        if isinstance(items, dict) and not _is_plain(items):
            self._stack += [(key, f"a key of {name}") for key in items]
        if _is_plain(items.values() if isinstance(items, dict) else items):
            return
        self._check_number(items, name)
        pairs = items.items() if isinstance(items, dict) else enumerate(items)
        for key, value in pairs:
            self._stack.append((value, f"{name}[{key!r}]"))
            if _is_varying(value) and not isinstance(items, set):
                self._inner.append(Place(items, key, "item", f"{name}[{key!r}]", value))

    def _check_number(self, items: Any, name: str) -> None:
        if len(items) > _ENTERED:
            raise CaptureError(
                f"{name or 'a ' + type(items).__name__} has {len(items)} elements, too many to see "
                f"at each call whether one has changed. Pass what is needed of it as an argument, "
                f"or keep it as one array"
            )

    @property
    def legacy(self) -> list[Any]:
        """Sources of random numbers whose draws are not captured."""
        return [item for item in self._known.values() if is_legacy(item)]

    @property
    def asks_outside(self) -> bool:
        """Whether the code may call clocks, files and the like."""
        return outside.asked(self._names, self._known.values())

    @property
    def every_code(self) -> list[types.CodeType]:
        """The code of all functions in reach, and those inside them."""
        return list(with_inner(self.codes))

    @property
    def generators(self) -> list[Any]:
        """The generators of random numbers in reach."""
        return [item for item in self._known.values() if is_generator(item)]

    def knows(self, item: Any) -> bool:
        """Whether this very object is in reach."""
        return id(item) in self._known

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
            for place in (*self.places, *self._programs, *self._inner):
                new = of(place.value, place.name)
                if new is not place.value:
                    place.set(new)
                    self._patches.append((place, new))
            boxes = [(box, _copied(box.items)) for box in self.boxes]
            parts = [(m, self._parts_of(m)) for m in self._modules]
            yield
            self.changes = [*self._changed_groups(), *self._changed_places()]
            self.changes += [*self._changed_boxes(boxes), *self._added()]
            self.changes += self._changed_modules(parts)
            self.changes += self._changed_tensors()
        finally:
            known.clear()
            self._restore()

    def _changed_places(self) -> Iterator[Change]:
        expected = {id(place): new for place, new in self._patches}
        for place in (*self.places, *self._programs, *self._inner):
            now = place.get()
            before = expected.get(id(place), place.value)
            if _differ(now, before):
                yield Change(place.name, place.value, now, self._stored(place.key, place.name))

    def _changed_boxes(self, boxes: list[tuple[Box, Any]]) -> Iterator[Change]:
        for box, before in boxes:
            if box.has_changed(before):
                was, is_ = (f"{len(items)} elements" for items in (before, box.items))
                yield Change(box.name, was, is_, self._mutated(box.name))

    def _changed_groups(self) -> Iterator[Change]:
        for box in self._groups:
            for key in {**box.before, **box.items}:
                was, is_ = (d.get(key, MISSING) for d in (box.before, box.items))
                if differs(is_, was):
                    line = self.named("param_groups") or self.named(key)
                    remedy = "Change it outside the compiled function, between the steps"
                    yield Change(f"{box.name}, {key!r}", was, is_, line, remedy)

    def _added(self) -> Iterator[Change]:
        for own in self._owns:
            for key in own.added():
                name = own.attribute(key)
                yield Change(name, "nothing there", own.attributes[key], self._stored(key, name))

    def _mutated(self, name: str) -> SourceLine | None:
        """Return the first line that changes a container of this name in place, as it seems."""
        last = name.rpartition(".")[2].partition("[")[0]
        for code in with_inner(self.codes):
            found: dict[int, set[Any]] = {}
            for line, is_store, argument in operations(code):
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
                was, is_ = before.get(key, MISSING), now.get(key, MISSING)
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
        for code in with_inner(self.codes):
            for line, is_store, argument in operations(code):
                if is_store and argument in names:
                    return SourceLine(code.co_filename, line, code.co_name, None)
        return None

    def named(self, *names: str) -> SourceLine | None:
        """Return the first line of the code in which one of these names occurs."""
        for code in with_inner(self.codes):
            for line, _, argument in operations(code):
                if argument in names:
                    return SourceLine(code.co_filename, line, code.co_name, None)
        return None

    def _restore(self) -> None:
        for place in (*self.places, *self._programs, *self._inner):
            if _differ(place.get(), place.value) or place.get() is not place.value:
                place.set(place.value)
        for own in self._owns:
            for key in own.added():
                del own.attributes[key]
        for box, before in (*self._before, *((box, box.before) for box in self._groups)):
            if box.has_changed(before):
                box._replace(before=before).restore()
        for module, parts in self.modules:
            now = self._parts_of(module)
            for key in now.keys() - parts.keys():
                vars(module).pop(key, None)
            for key, value in parts.items():
                if now.get(key, MISSING) is not value:
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
        rows = [self._place_condition(place, names) for place in (*self.places, *self._programs)]
        for own in self._owns:
            attributes = names(own.attributes, "own")
            if own.absent is None:
                rows.append(f"{attributes}.keys() != {names(own.present, 'was')}")
            else:
                absent = names(own.absent, "absent")
                rows.append(f"not {attributes}.keys().isdisjoint({absent})")
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
            if id(tensor) in used or "requires_grad" in self._names:
                rows.append(f"{names(tensor, 'p')}.requires_grad is not {before}")
        return rows

    def _place_condition(self, place: Place, names: Callable[[Any, str], str]) -> str:
        was = names(place.value, "was")
        if place.kind == "array":
            return f"{names(_differ, 'differ')}({names(place.get, 'now')}(), {was})"
        found = f"{names(place.get, 'now')}()"
        if place.kind in SOURCE:
            found = place.source(names(place.owner, "at"))
        row = f"{found} is not {was}"
        if isinstance(place.value, PLAIN):
            row = f"({row} and {names(differs, 'differs')}({found}, {was}))"
        return row

    def _box_condition(self, box: Box, before: Any, names: Callable[[Any, str], str]) -> str:
        items, count = names(box.items, "box"), len(before)
        changed = names(partial(box.has_changed, before), "has_changed")
        was = names(before, "was")
        if _is_compared_by_identity(box, before):
            return f"{items} != {was} and {changed}()"
        if isinstance(box.items, set):
            return f"{changed}()"
        tests = [f"len({items}) != {count}"]
        same = f"{names(all, 'all')}({names(map, 'map')}({names(operator.is_, 'is_')}, "
        if isinstance(box.items, dict):
            tests += [
                f"not {same}{items}, {was}))", f"not {same}{items}.values(), {was}.values()))"
            ]  # fmt: skip
        elif count <= _FEW and isinstance(box.items, list):
            tests += [f"{items}[{k}] is not {names(v, 'was')}" for k, v in enumerate(before)]
        else:
            tests.append(f"not {same}{items}, {was}))")
        return f"({' or '.join(tests)}) and {changed}()"

    def _modules_differ(self) -> bool:
        now = changes[0]
        for module, before in self.modules:
            found = self._parts_of(module)
            if found.keys() != before.keys() or not unchanged(
                [found[key] for key in before], list(before.values())
            ):
                return True
        self._seen[0] = now
        return False

    def differences(self) -> list[str]:
        """Return the names of what is not as it was."""
        places = (*self.places, *self._programs)
        found = [place.name for place in places if _differ(place.get(), place.value)]
        found += [own.attribute(key) for own in self._owns for key in own.added()]
        found += [box.name for box, before in self._before if box.has_changed(before)]
        for module, before in self.modules:
            now = self._parts_of(module)
            found += [
                f"{type(module).__name__}.{key}"
                for key in {**before, **now}
                if differs(now.get(key, MISSING), before.get(key, MISSING))
            ]
        found += [
            f"{name}.requires_grad"
            for tensor, before, name in self.tensors.values()
            if tensor.requires_grad is not before
        ]
        return found


_ENTER: tuple[tuple[Any, Callable[[Surroundings, Any, str], None]], ...] = (
    (Tensor, Surroundings._tensor),
    (np.ndarray, Surroundings._array),
    (Module, Surroundings._module),
    (Optimizer, Surroundings._optimizer),
    (types.FunctionType, Surroundings._function),
    (types.MethodType, Surroundings._method),
    (functools.partial, Surroundings._partial),
    (types.BuiltinFunctionType | types.MethodWrapperType, Surroundings._builtin),
    (
        types.MappingProxyType | KeysView | ValuesView | ItemsView,
        lambda s, v, name: s._stack.extend((r, name) for r in gc.get_referents(v)),
    ),
    (frozenset, lambda s, v, name: s._tuple(tuple(v), name)),
    (ContextVar, lambda s, v, name: s._place(v, None, "context", name)),
    (weakref.ref, lambda s, v, name: s._place(v, None, "referent", name)),
    (bytearray | array.array, lambda s, v, name: s._place(v, None, "bytes", name)),
    (types.ModuleType, Surroundings._python_module),
    (type, Surroundings._class),
    (tuple, Surroundings._tuple),
    ((list, dict, set, deque), Surroundings._box),
    (object, Surroundings._object),
)

#: What every optimizer has; a capture makes its own conditions of it.
_OPTIMIZERS = frozenset({"defaults", "param_groups", "_parts", "_idle", "_pieces"})


#: What makes up a function, and an object.
_OF_FUNCTIONS = frozenset({"__code__", "__defaults__", "__kwdefaults__", "__class__"})

#: What a compiled function has, which changes as it is called.
_OF_COMPILED = frozenset({"function", "fallback", "cache_size", "captures", "__wrapped__"})


def _consumed(item: Any, name: str) -> CaptureError:
    kind = type(item).__name__
    return CaptureError(
        f"{name or 'an argument'}, of type {kind}, gives something else each time it is asked, "
        f"which a replay would not ask again. Take the batch outside the compiled function, and "
        f"pass it as an argument"
    )


def _differ(now: Any, before: Any) -> bool:
    """Whether two things in a place are different, the numbers of arrays among them."""
    if now.__class__ is tuple and len(now) == 4 and now[3:] and isinstance(now[1], np.dtype):
        *head, numbers, mask = now
        if not isinstance(before, tuple) or head != list(before[:2]) or mask != before[3]:
            return True
        same = numbers == before[2] if isinstance(numbers, bytes) else unchanged(numbers, before[2])
        return not same
    return differs(now, before)


def _is_implicit(key: str) -> bool:
    return key[:2] == key[-2:] == "__" and key not in _NOT_IMPLICIT


def _is_plain(items: Any) -> bool:
    """Whether all elements are plain values."""
    return all(issubclass(kind, PLAIN) for kind in set(map(type, items)))


@functools.lru_cache(256)
def _cached_in(kind: type) -> frozenset[str]:
    """Return the attributes of a class that are put into an object when they are first read."""
    return frozenset(
        key
        for parent in kind.__mro__
        for key, value in vars(parent).items()
        if isinstance(value, functools.cached_property)
    )


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
