"""Containers, taken apart and put together."""

from collections import Counter, OrderedDict, defaultdict, namedtuple
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import Value, tensor
from tinygrad_nn.tree import flatten, tree_map


class Point(NamedTuple):
    x: Any
    y: Any = 0.0


Pair = namedtuple("Pair", ["first", "second"])
Nothing = namedtuple("Nothing", [])

ARRAY = np.array([1.0, 2.0])
TENSOR = tensor([1.0, 2.0])

#: Item, paths of its leaves.
TREES: list[tuple[Any, list[str]]] = [
    (1.0, [""]),
    ("text", [""]),
    (ARRAY, [""]),
    (TENSOR, [""]),
    (Value(1.0), [""]),
    ({1.0, 2.0}, [""]),
    (range(3), [""]),
    (None, []),
    ((), []),
    ([], []),
    ({}, []),
    (Nothing(), []),
    ((None, [None, {}]), []),
    ((1.0,), ["[0]"]),
    ([1.0, (2.0, 3.0)], ["[0]", "[1][0]", "[1][1]"]),
    ({"b": 1.0, "a": 2.0}, ["['b']", "['a']"]),
    ({1: 1.0, (2, 3): 2.0}, ["[1]", "[(2, 3)]"]),
    (OrderedDict(b=1.0, a=2.0), ["['b']", "['a']"]),
    (defaultdict(list, a=1.0), ["['a']"]),
    (Point(1.0, [2.0]), [".x", ".y[0]"]),
    (Pair(first=None, second={"k": 1.0}), [".second['k']"]),
    ({"layers": [{"w": ARRAY, "b": None}, Point(TENSOR)]},
     ["['layers'][0]['w']", "['layers'][1].x", "['layers'][1].y"]),
]  # fmt: skip


@pytest.mark.parametrize(("item", "paths"), TREES, ids=[repr(row[0]) for row in TREES])
def test_taken_apart_and_put_together(item: Any, paths: list[str]) -> None:
    tree = flatten(item)
    assert tree.paths == paths
    assert len(tree.leaves) == len(paths)
    again = tree.rebuild(tree.leaves)
    assert type(again) is type(item)
    assert repr(again) == repr(item)
    assert all(a is b for a, b in zip(flatten(again).leaves, tree.leaves, strict=True))
    assert [f"name{path}" for path in paths] == flatten(item, "name").paths


def test_a_container_is_rebuilt_anew() -> None:
    item = {"a": [1.0, 2.0]}
    tree = flatten(item)
    first, second = tree.rebuild(tree.leaves), tree.rebuild([3.0, 4.0])
    assert first == item
    assert first is not item
    assert first["a"] is not item["a"]
    assert second == {"a": [3.0, 4.0]}
    first["a"].append(5.0)
    assert item == {"a": [1.0, 2.0]}
    item["b"] = 1.0
    assert tree.rebuild([5.0, 6.0]) == {"a": [5.0, 6.0]}


def test_leaves_may_become_containers() -> None:
    tree = flatten((1.0, {"k": 2.0}))
    assert tree.rebuild([[1, 2], None]) == ([1, 2], {"k": None})


def test_default_dict_keeps_its_factory() -> None:
    found = tree_map(lambda leaf: leaf + 1.0, defaultdict(list, a=1.0))
    assert type(found) is defaultdict
    assert found == {"a": 2.0}
    assert found["b"] == []


def test_subclasses() -> None:
    class Settings(dict):
        pass

    class Row(list):
        pass

    assert type(tree_map(abs, Settings(a=-1.0))) is Settings
    assert type(tree_map(abs, Row([-1.0]))) is Row
    assert tree_map(abs, Row([-1.0])) == [1.0]


def test_a_class_with_leaves_of_its_own() -> None:
    class Box:
        def __init__(self, content: Any) -> None:
            self.content = content

        def __tree__(self) -> Any:
            return {"content": self.content}, lambda leaves: Box(leaves[0])

    tree = flatten([Box(1.0)], "x")
    assert tree.paths == ["x[0].content"]
    assert tree.rebuild([2.0])[0].content == 2.0
    found = tg.grad(lambda box: box.content**2)(Box(3.0))
    assert type(found) is Box
    assert found.content == 6.0
    assert flatten(Box).leaves == [Box]  # the class is none


def test_modules() -> None:
    model = tg.nn.MLP(2, [3, 1], rng=0)
    tree = flatten({"m": model})
    assert tree.paths == [f"['m'].{name}" for name, _ in model.named_parameters()]
    assert all(a is b for a, b in zip(tree.leaves, model.parameters(), strict=True))
    twice = tree_map(lambda p: 2.0 * p.data, model)
    assert type(twice) is type(model)
    assert [n for n, _ in twice.named_parameters()] == [n for n, _ in model.named_parameters()]
    for a, b in zip(twice.parameters(), model.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, 2.0 * b.data)
        assert a.dtype == b.dtype
        assert a.is_leaf
    assert flatten(model.requires_grad_(False)).leaves == []


def test_a_module_of_recorded_parameters_is_differentiable() -> None:
    model = tg.nn.MLP(2, [1], rng=0)
    x = np.array([1.0, 2.0], np.float32)
    tree_map(lambda p: p * p, model)(x).sum().backward()
    weight = model.layers[0].weight
    np.testing.assert_allclose(weight.grad, 2.0 * weight.data * x[:, None], rtol=1e-6)


def test_tied_and_shared_parts_stay_so() -> None:
    class Tied(tg.nn.Module):
        def __init__(self) -> None:
            self.a = tensor([1.0], requires_grad=True)
            self.b = [self.a]
            self.part = tg.nn.MLP(1, [1], rng=0)
            self.again = self.part

    found = tree_map(lambda p: p.data, Tied())
    assert found.a is found.b[0]
    assert found.part is found.again
    assert len(found.parameters()) == 3


def test_wide_and_deep() -> None:
    deep: Any = 1.0
    for _ in range(100):
        deep = [deep, None]
    assert flatten(deep).paths == ["[0]" * 100]
    wide = list(map(float, range(5000)))
    assert tree_map(lambda leaf: leaf, wide) == wide


def test_map_of_several_containers() -> None:
    model = tg.nn.MLP(2, [3, 1], rng=0)
    moved = tree_map(
        lambda p, g: p.data - 0.1 * g.data, model, tree_map(lambda p: 2.0 * p.data, model)
    )
    np.testing.assert_allclose(moved.layers[0].weight.data, 0.8 * model.layers[0].weight.data)
    with pytest.raises(TypeError, match="differ"):
        tree_map(lambda a, b: a, {"a": 1.0}, {"b": 1.0})


def test_classes_of_dicts() -> None:
    counted = Counter({"a": 1.0, "b": 2.0})
    found = tg.grad(lambda d: d["a"] * d["b"])(counted)
    assert type(found) is Counter
    assert found["a"] == 2.0
    assert tree_map(lambda a, b: a - b, {"a": 5.0, "b": 3.0}, {"b": 1.0, "a": 2.0}) == {
        "a": 3.0,
        "b": 2.0,
    }
