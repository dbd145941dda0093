"""Optimizers: pure update rules, and the bookkeeping that applies them to parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_nn.dispatch import Dispatching
from tinygrad_nn.errors import ShapeError
from tinygrad_nn.flat import Run, runs
from tinygrad_nn.graph import capturing, next_serial
from tinygrad_nn.tensor import Tensor

__all__ = ["SGD", "Optimizer", "sgd_rule"]

Array = npt.NDArray[Any]
Group = dict[str, Any]

# An update touches a few arrays several times; blocks of this many elements stay in the cache.
_BLOCK = 1 << 15


class _Part:
    """A run of parameters with what is kept for it from step to step."""

    __slots__ = ("array", "gradient", "parameters", "state", "views")

    def __init__(self, run: Run, state: tuple[Array, ...]) -> None:
        self.array = run.array
        self.parameters = run.parameters
        self.views = [p._value for p in run.parameters]
        self.gradient = np.empty_like(self.array)
        self.state = state

    def gather(self) -> Array | None:
        """Return the gradients as one array; None if this part no longer fits its parameters."""
        gradients = []
        views = self.views
        for k, p in enumerate(self.parameters):
            view = views[k]
            g = p.grad
            if g is None or p._value is not view:
                return None
            if type(g) is not np.ndarray or g.shape != view.shape:
                raise ShapeError(
                    f"the gradient of {p.name} must be an array of shape {view.shape}, got "
                    f"{type(g).__name__} of shape {np.shape(g)}; was .grad set by hand?"
                )
            gradients.append(g)
        if len(gradients) == 1 and gradients[0].dtype == self.array.dtype:
            return gradients[0].reshape(-1)
        return np.concatenate(gradients, axis=None, out=self.gradient)

    def split(self) -> dict[Tensor, tuple[Array, ...]]:
        """Return the state of each parameter."""
        pieces = {}
        start = 0
        for p in self.parameters:
            pieces[p] = tuple(s[start : start + p.size] for s in self.state)
            start += p.size
        return pieces


def _number(x: Any) -> Any:
    return x if isinstance(x, Dispatching) else float(x)


class _Options(dict[str, Any]):
    """The options of a group while a step is captured: the learning rate may differ at each."""

    def __init__(self, group: Group, capture: Any) -> None:
        super().__init__(group)
        self._group = group
        self._capture = capture

    def of(self, dtype: Any) -> _Options:
        """Return these, the learning rate as a number of `dtype`."""
        if "lr" in self:
            super().__setitem__("lr", self._capture.option(self._group, "lr", dtype))
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        from tinygrad_nn.traced import refusal

        raise refusal(
            f"a rule changes the option {key!r} of its group, which a replay would not do",
            "Keep what changes in the state that the rule returns, as an array",
        )


class Optimizer:
    """Base of the optimizers: parameter groups, and a pure rule applied to flat arrays.

    A subclass gives `rule` and the defaults of its options.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Leaves that require gradients; or groups ``{"params": [...], "lr": 0.1, ...}`` whose
        options override the defaults.
    defaults : dict
        The options of a group that does not give them.

    Raises
    ------
    ValueError
        If there are no parameters, one occurs twice, or one is not a leaf.

    Examples
    --------
    >>> import numpy as np, tinygrad_nn as tg
    >>> class SignDescent(tg.optim.Optimizer):
    ...     def __init__(self, params, lr=0.01):
    ...         super().__init__(params, {"lr": lr})
    ...
    ...     def rule(self, p, g, state, group):
    ...         return p - group["lr"] * np.sign(g), state
    >>> w = tg.tensor([1.0, -2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SignDescent([w], lr=0.5).step()
    >>> w.data
    array([ 0.5, -1.5])
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[Group], defaults: Group) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params must be a list of tensors: [p]")
        if hasattr(params, "parameters"):
            raise TypeError(
                f"params must be a list of tensors: {type(params).__name__}.parameters()"
            )
        items = list(params)
        if not items:
            raise ValueError("the optimizer got no parameters; pass model.parameters()")
        groups = items if all(isinstance(i, dict) for i in items) else [{"params": items}]
        self.defaults = defaults
        self.param_groups: list[Group] = []
        # Per group: the parts that were updated by the last step, and the parameters that were not.
        self._parts: list[list[_Part]] = []
        self._idle: list[list[Tensor]] = []
        # What is kept for parameters that are in no part at present.
        self._pieces: dict[Tensor, tuple[Array, ...]] = {}
        for group in groups:
            self.add_param_group(group)  # type: ignore[arg-type]  # narrowed above

    def add_param_group(self, group: Group) -> None:
        """Add parameters with options of their own.

        Parameters
        ----------
        group : dict
            ``{"params": iterable of Tensor, ...}`` and any options of the optimizer.

        Raises
        ------
        ValueError
            For an unknown option, a parameter given twice, or one that is not a leaf.
        """
        if "params" not in group:
            raise ValueError(f"a parameter group needs the key 'params', got {sorted(group)}")
        unknown = sorted(set(group) - set(self.defaults) - {"params"})
        if unknown:
            raise ValueError(
                f"unknown option(s) {', '.join(unknown)}; known are {', '.join(self.defaults)}"
            )
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"parameter {i} is a {type(p).__name__}, not a Tensor; pass model.parameters()"
                )
            if p.primitive is not None:
                raise ValueError(f"parameter {i} ({p.name}) is a result; only leaves are optimized")
            if id(p) in seen:
                raise ValueError(f"parameter {i} ({p.name}) is given twice; its step would double")
            seen.add(id(p))
        if not params:
            raise ValueError("a parameter group is empty")
        group = self.defaults | group | {"params": params}
        self.validate(group)
        self.param_groups.append(group)
        self._parts.append([])
        self._idle.append(params)

    def validate(self, group: Group) -> None:
        """Raise ValueError if the options of `group` make no sense."""

    def rule(self, p: Array, g: Array, state: tuple[Array, ...], group: Group) -> Any:
        """Return the new parameters and the new state, pure: nothing is written to.

        Parameters
        ----------
        p, g : ndarray
            Parameters and their gradients, flat. They may be those of several parameters, or a
            part of one: the rule must work element by element.
        state : tuple of ndarray
            What the last step returned, empty at the first; each of the shape of `p`.
        group : dict
            The options.

        Returns
        -------
        ndarray, tuple of ndarray
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient; the others are left as they are.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients anew; called first.

        Returns
        -------
        The closure's result, or None.
        """
        loss = closure() if closure is not None else None
        if capturing() is not None:
            self._record_step(capturing())
            return loss
        for i, group in enumerate(self.param_groups):
            gathered = self._gather(i)
            if gathered is None:
                self._arrange(i)
                gathered = self._gather(i) or []
            for part, g in gathered:
                self._update(part, g, group)
        return loss

    def _record_step(self, capture: Any) -> None:
        """Do a step while it is captured: the same rule, on what stands for the arrays."""
        for i, group in enumerate(self.param_groups):
            gradients = {id(p): p.grad for p in group["params"]}
            if not self._fits(i, gradients):
                self._arrange(i, {id(p) for p in group["params"] if gradients[id(p)] is not None})
            options = _Options(group, capture)
            for part in self._parts[i]:
                parts = part.parameters
                p = np.concatenate([np.ravel(p.data) for p in parts])
                g = np.concatenate([np.ravel(gradients[id(p)]) for p in parts])
                new_p, state = self.rule(p, g, capture.kept(part), options.of(p.dtype))
                capture.keep(part, state)
                start = 0
                for parameter in parts:
                    stop = start + parameter.size
                    parameter.data = np.reshape(new_p[start:stop], parameter.shape)
                    start = stop
            capture.depends_on(self._parts, i, partial(self._is_as_before, i))
            capture.depends_on_options(group)

    def _fits(self, i: int, gradients: dict[int, Any]) -> bool:
        """Whether the parts of group `i` are those of the parameters that have a gradient."""
        if any(gradients[id(p)] is not None for p in self._idle[i]):
            return False
        return bool(self._parts[i]) and all(
            gradients[id(p)] is not None and p._value is view
            for part in self._parts[i]
            for p, view in zip(part.parameters, part.views, strict=True)
        )

    def _is_as_before(self, i: int, parts: list[_Part]) -> bool:
        """Make `parts` those of group `i` again, as they were at another step, if that can be.

        They have been replaced because other parameters had gradients, or a state was loaded.
        """
        kept = dict(self._pieces)
        for part in self._parts[i]:
            kept.update(part.split())
        states = []
        for part in parts:
            pieces = [kept.pop(p, ()) for p in part.parameters]
            if any(len(piece) != len(part.state) for piece in pieces):
                return False
            states.append(tuple(map(np.concatenate, zip(*pieces, strict=True))))
        for part, state in zip(parts, states, strict=True):
            part.state = state
            for p, view in zip(part.parameters, part.views, strict=True):
                if p._value is not view:  # numbers that were put there since
                    np.copyto(view, p._value)
                    p._value = view
        self._pieces = kept
        self._parts[i] = parts
        moving = {id(p) for part in parts for p in part.parameters}
        self._idle[i] = [p for p in self.param_groups[i]["params"] if id(p) not in moving]
        return True

    def _gather(self, i: int) -> list[tuple[_Part, Array]] | None:
        """Return the parts of group `i` with their gradients; None if they must be made anew."""
        for p in self._idle[i]:
            if p.grad is not None:
                return None
        gathered = []
        for part in self._parts[i]:
            g = part.gather()
            if g is None:
                return None
            gathered.append((part, g))
        return gathered

    def _arrange(self, i: int, moving: set[int] | None = None) -> None:
        """Make the parts of group `i` anew, and carry over what was kept for each parameter.

        `moving` are the identities of the parameters that have a gradient, found out by default.
        """
        for part in self._parts[i]:
            self._pieces.update(part.split())
        params = self.param_groups[i]["params"]
        if moving is None:
            moving = {id(p) for p in params if p.grad is not None}
        self._idle[i] = [p for p in params if id(p) not in moving]
        kinds: dict[Any, list[Tensor]] = {}
        for p in params:  # what has another dtype, or has not been updated yet, goes by itself
            if id(p) in moving:
                kinds.setdefault((p.dtype, bool(self._pieces.get(p))), []).append(p)
        parts = self._parts[i] = []
        for (_, started), members in kinds.items():
            for run in runs(members):
                pieces = [self._pieces.pop(p) for p in run.parameters] if started else []
                parts.append(_Part(run, tuple(map(np.concatenate, zip(*pieces, strict=True)))))

    def _update(self, part: _Part, g: Array, group: Group) -> None:
        p = part.array
        n = p.size
        if n <= 2 * _BLOCK:
            new_p, state = self.rule(p, g, part.state, group)
            # What is kept must not be the parameters or a gradient, which others write to.
            part.state = tuple(
                s.copy() if s is g or s is p or s.base is not None else s for s in state
            )
            p[...] = new_p
        else:
            # The same rule, block by block: temporaries stay in the cache.
            old = part.state
            new: tuple[Array, ...] | None = old or None
            for start in range(0, n, _BLOCK):
                block = slice(start, start + _BLOCK)
                p[block], state = self.rule(p[block], g[block], tuple(s[block] for s in old), group)
                if new is None:
                    new = tuple(np.empty_like(p) for _ in state)
                for target, value in zip(new, state, strict=True):
                    target[block] = value
            part.state = new or ()
        now = next_serial()
        for parameter in part.parameters:
            parameter._changed = now

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Parameters
        ----------
        set_to_none : bool
            Set them to None, so that parameters which get no gradient are not updated; otherwise
            to arrays of zeros.
        """
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none else np.zeros_like(p._value)

    def state_dict(self) -> dict[str, Any]:
        """Return the options of each group, and what is kept for each parameter, as copies."""
        pieces = dict(self._pieces)
        for parts in self._parts:
            for part in parts:
                pieces.update(part.split())
        groups = []
        for group in self.param_groups:
            entry = {key: value for key, value in group.items() if key != "params"}
            entry["state"] = [
                [s.reshape(p.shape).copy() for s in pieces.get(p, ())] for p in group["params"]
            ]
            groups.append(entry)
        return {"param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises
        ------
        ValueError
            If the groups or the shapes differ; nothing is changed then.
        """
        groups = state.get("param_groups")
        if groups is None:
            raise ValueError(f"the state has no 'param_groups', only {sorted(state)}")
        sizes = [len(group["params"]) for group in self.param_groups]
        if [len(entry["state"]) for entry in groups] != sizes:
            raise ValueError(
                f"the state is for groups of {[len(e['state']) for e in groups]} parameters, this "
                f"optimizer has {sizes}"
            )
        pieces = {}
        for group, entry in zip(self.param_groups, groups, strict=True):
            for p, arrays in zip(group["params"], entry["state"], strict=True):
                if any(np.shape(a) != p.shape for a in arrays):
                    raise ShapeError(
                        f"the state for {p.name} has shapes {[np.shape(a) for a in arrays]}, "
                        f"the parameter {p.shape}"
                    )
                pieces[p] = tuple(np.array(a, p.dtype).reshape(-1) for a in arrays)
        options = [{k: v for k, v in entry.items() if k != "state"} for entry in groups]
        for entry in options:
            unknown = sorted(set(entry) - set(self.defaults))
            if unknown:
                raise ValueError(f"the state has unknown option(s) {', '.join(unknown)}")
            self.validate(self.defaults | entry)
        for group, entry in zip(self.param_groups, options, strict=True):
            group.update(entry)
        self._pieces = pieces
        self._parts[:] = [[] for _ in self.param_groups]  # in place, as a captured step looks at it
        self._idle = [group["params"] for group in self.param_groups]

    def __repr__(self) -> str:
        lines = [
            f"  group {i}: {len(group['params'])} parameters, "
            + ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            for i, group in enumerate(self.param_groups)
        ]
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


def sgd_rule(
    p: Any,
    g: Any,
    lr: Any,
    velocity: Any = None,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> tuple[Any, Any]:
    """Return parameters and velocity after one step of gradient descent.

    Pure, in NumPy expressions. `velocity` is None at the first step, which is not damped. The
    recurrence stands with `SGD`.

    Parameters
    ----------
    p, g : ndarray or Tensor
        The parameters and the gradient, of equal shape.
    lr : float
        Learning rate.
    velocity : ndarray or Tensor, optional
        As the previous step returned it, of the same shape.
    momentum, dampening, weight_decay, nesterov, maximize
        As for `SGD`.

    Returns
    -------
    p : ndarray or Tensor
        The new parameters.
    velocity : ndarray, Tensor or None
        The new velocity; without momentum, what was given.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_nn.optim import sgd_rule
    >>> sgd_rule(np.array([1.0]), np.array([2.0]), 0.1, momentum=0.9)
    (array([0.8]), array([2.]))
    """
    if maximize:
        g = -g
    if weight_decay:
        g = g + weight_decay * p
    if momentum:
        if velocity is None:
            velocity = g
        else:
            velocity = momentum * velocity + (g if not dampening else (1.0 - dampening) * g)
        g = g + momentum * velocity if nesterov else velocity
    return p - lr * g, velocity


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov's look-ahead and weight decay.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Leaves, or groups with options of their own (see `Optimizer`).
    lr : float
        Learning rate, positive or 0. Change it between steps in ``optimizer.param_groups``.
    momentum : float
        Share of the velocity that is kept from step to step, from 0.
    dampening : float
        Share of the gradient that does not enter the velocity.
    weight_decay : float
        Multiple of the parameters that is added to the gradient.
    nesterov : bool
        Step along the gradient plus the velocity ahead; needs momentum and no dampening.
    maximize : bool
        Ascend.

    Raises
    ------
    ValueError
        For negative options, Nesterov without momentum or with dampening, or bad parameters.

    Notes
    -----
    With g the gradient plus ``weight_decay * p``, the recurrence is PyTorch's::

        v = momentum * v + (1 - dampening) * g        (v = g at the first step)
        p = p - lr * v                                (nesterov: lr * (g + momentum * v))

    Parameters are moved into one flat array at the first step, unless the module has put them
    into one, as `MLP` does: ``p.data`` is then a view of it. An array taken from ``p.data``
    before that first step is no longer the parameter's after it.

    References
    ----------
    I. Sutskever et al., On the importance of initialization and momentum in deep learning,
    ICML 2013.

    Examples
    --------
    >>> import tinygrad_nn as tg
    >>> w = tg.tensor(1.0, requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.9)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (w * w).backward()
    ...     optimizer.step()
    >>> print(round(w.item(), 6))
    0.062
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def validate(self, group: Group) -> None:
        """Raise ValueError if the options of `group` make no sense."""
        for name in ("lr", "momentum", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"{name} must be 0 or more, got {group[name]}")
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError("nesterov needs a momentum above 0 and a dampening of 0")

    def rule(self, p: Array, g: Array, state: tuple[Array, ...], group: Group) -> Any:
        """Apply `sgd_rule`."""
        p, velocity = sgd_rule(
            p,
            g,
            # Python floats, whatever a schedule computed: a NumPy scalar would widen float32.
            _number(group["lr"]),
            *state,
            momentum=float(group["momentum"]),
            dampening=float(group["dampening"]),
            weight_decay=float(group["weight_decay"]),
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )
        return p, () if velocity is None else (velocity,)
