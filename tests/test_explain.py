"""What `explain`, `source` and `draw` tell of a compiled function."""

import ast
import inspect
import itertools
import re
import shutil
import time
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn import losses, nn
from tinygrad_nn.errors import CaptureError
from tinygrad_nn.plan.annotate import _array_meaning
from tinygrad_nn.plan.arguments import take_apart
from tinygrad_nn.plan.explain import Change, calls, names_of, owner
from tinygrad_nn.plan.names import Names, arguments_of, literal, nodes_in

HOSTILE = '"]; x -> y <script>alert(1)</script> &amp; \\N `b` #35;'


def training(momentum=0.9):
    """Return a step of a small network, called twice, so that its optimizer has a state."""
    model = nn.MLP(2, [16, 16, 2], rng=0)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = losses.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    x, y = rng.random((100, 2), dtype=np.float32), rng.integers(0, 2, 100)
    for _ in range(3):
        step(x, y)
    return step


def sections(text):
    """Split an explanation at its unindented rows."""
    found = {}
    for row in str(text).splitlines():
        if row and not row.startswith(" "):
            title = re.split(r"[:;,]|  ", row)[0]
            found[title] = []
        elif row:
            found[title].append(row)
    return found


# --- explain -------------------------------------------------------------------------------------


def test_a_training_step_is_explained_from_its_arguments_to_what_it_leaves_behind():
    step = training()
    text = step.explain()
    assert text.splitlines()[0] == "step(x: float32 (100, 2), y: int64 (100,))"
    assert "The function has 1 other plan." in text  # of the first step, without momentum
    parts = sections(text)
    captured = "\n".join(parts["As captured"])
    assert "    h1 = linear(x, layers.0.weight, layers.0.bias)  " in captured
    assert "layers.2.weight.grad = h4.T @ h15 " in captured
    assert "= 0.9 * optimizer.state[0] " in captured
    assert "h26 = lr * h25" in captured
    behind = " ".join(parts["Left behind"])
    for name in ("layers.0.weight", "layers.2.bias", "optimizer.state[0]"):
        assert f"  {name} <- " in behind
    assert "layers.1.bias.grad" in behind
    conditions = "\n".join(parts["Replayed while"])
    assert "y" in conditions.split("momentum")[0]  # the labels are classes
    assert "momentum=0.9" in conditions


def test_instructions_stand_below_the_line_that_they_come_from():
    step = training()
    rows = [row.strip() for row in sections(step.explain())["As captured"]]
    first = inspect.getsourcelines(step.function)[1]
    heads = [k for k, row in enumerate(rows) if row.startswith("test_explain.py:")]
    lines = {"model(x)": 3, "loss.backward()": 4, "optimizer.step()": 5}
    expected = [f"test_explain.py:{first + offset}" for offset in lines.values()]
    assert [rows[k].split()[0] for k in heads] == expected
    for k, text in zip(heads, lines, strict=True):
        assert text in rows[k]
    of = {text: rows[k:end] for text, k, end in zip(lines, heads, [*heads[1:], None], strict=True)}
    assert any("= relu(" in row for row in of["model(x)"])
    assert any("layers.0.weight.grad = " in row for row in of["loss.backward()"])
    assert any("= lr * " in row for row in of["optimizer.step()"])
    assert len(of["loss.backward()"]) > len(of["model(x)"]) > 5


def test_both_tapes_give_the_same_numbers_the_same_names():
    step = training()
    plan = step.plan
    names = names_of(plan)
    before = {i.out for i in plan.captured.instructions}
    shown = [names(v) for v in {i.out for i in plan.tape.instructions} | before if names.has_own(v)]
    numbered = [name for name in shown if not name.endswith(".grad")]
    assert len(set(numbered)) == len(numbered)
    kept = [i for i in plan.tape.instructions if i.out in before and not i.view]
    assert kept
    for i in kept:
        assert step.explain().count(f"  {names(i.out)} = ") == 2


def test_what_the_passes_have_done_adds_up():
    plan = training().plan
    changes = plan.about.changes
    assert sum(changes[0].before) == len(plan.captured.instructions)
    assert sum(changes[-1].after) == len(plan.tape.instructions)
    for one, next_one in itertools.pairwise(changes):
        assert one.after == next_one.before
    assert any(c.before != c.after for c in changes)
    assert all(isinstance(c, Change) and c.purpose for c in changes)


def test_a_small_function_in_full():
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    @tg.compile
    def f(x, scale=2.0):
        return np.sum(np.exp(w * x) * scale)

    f(np.ones(2))
    f(np.ones(2))
    parts = sections(f.explain())
    rows = [re.sub(r"  +", "  ", row.strip()) for row in parts["As captured"]]
    line = inspect.getsourcelines(f.function)[1] + 2
    assert rows == [
        f"test_explain.py:{line}  return np.sum(np.exp(w * x) * scale)",
        "h1 = w * x  float64 (2,)",
        "h2 = exp(h1)  float64 (2,)",
        "h3 = h2 * 2.0  float64 (2,)",
        "h4 = sum(h3)  float64 ()",
    ]
    assert "Returned: h4, float64 ()" in f.explain()
    assert calls(f.plan) == (4, 0)
    assert "makes 4 calls of NumPy, in " in f.explain()


def test_gradients_that_passes_made_views_stay_with_the_backward_pass():
    rows = [row.strip() for row in sections(training().explain())["As replayed"]]
    heads = [k for k, row in enumerate(rows) if row.startswith("test_explain.py:")]
    assert len(heads) == 3
    for k, row in enumerate(rows):
        if ".grad = " in row:
            assert heads[1] < k < heads[2], row


def test_conditions_are_written_out():
    conditions = sections(training().explain())["Replayed while"]
    assert not any(re.fullmatch(r"(not )?\(?h\d+\)?", row.strip()) for row in conditions)


def test_what_costs_nothing_is_marked():
    step = training()
    plan = step.plan
    names = names_of(plan)
    rows = sections(step.explain())["As replayed"]
    done = {i for _, chain in plan.rows for i in chain}
    marked = {row.split(" = ")[0].strip() for row in rows if row.endswith(", in place")}
    views = {row.split(" = ")[0].strip() for row in rows if row.endswith(", a view")}
    kinds = [(i, names(i.out)) for i in plan.tape.instructions if names.has_own(i.out)]
    assert views == {name for i, name in kinds if i.view}
    assert marked == {name for i, name in kinds if i not in done and not i.view}
    assert "layers.1.bias.grad" in views


def test_calls_of_methods_and_of_functions_in_python_are_counted():
    from tinygrad_nn.plan.explain import is_numpy

    a = np.ones(2)
    for function in (np.add, np.add.reduce, np.copyto, np.dot, a.dot, np.linalg.inv, a.take):
        assert is_numpy(function), function
    for function in (len, tg.relu, None, 3, {}.get):
        assert not is_numpy(function), function


def test_the_function_and_its_surroundings_are_among_the_conditions():
    scale = 2.0
    w = tg.tensor([1.0], requires_grad=True)
    net = nn.Linear(1, 1, rng=0)

    @tg.compile
    def f(x):
        return net(x * w) * scale

    f(np.ones((1, 1)))
    conditions = sections(f.explain())["Replayed while"]
    assert any("scale is 2.0" in row for row in conditions)
    assert any("the same objects are called" in row and "net" in row for row in conditions)
    assert any("training mode" in row for row in conditions)


def test_plain_arguments_are_part_of_what_a_plan_is_for():
    @tg.compile
    def f(batch, factor, *, train):
        return batch["x"] * factor if train else batch["x"]

    f({"x": np.ones(3), "y": [np.ones(2)]}, 2.0, train=True)
    assert f.explain().splitlines()[0] == (
        "f(batch['x']: float64 (3,), batch['y'][0]: float64 (2,), factor=2.0, train=True)"
    )
    assert "h1 = batch['x'] * 2.0" in f.explain()


def test_the_plan_of_the_last_call_is_explained():
    @tg.compile
    def f(x):
        return np.exp(x) + 1.0

    f(np.ones(3))
    f(np.ones(4))
    assert "(4,)" in f.explain().splitlines()[0]
    f(np.ones(3))
    assert "(3,)" in f.explain().splitlines()[0]


def test_before_the_first_call_there_is_nothing_to_explain():
    @tg.compile
    def f(x):
        return np.exp(x)

    assert "f has not been captured yet" in f.explain()
    assert "call it once" in f.explain()
    with pytest.raises(CaptureError, match="has not been captured yet"):
        f.source()
    with pytest.raises(CaptureError, match="has not been captured yet"):
        tg.draw(f)


def test_a_function_that_runs_eagerly_says_why():
    def f(x):
        return x if float(x[0]) > 0 else -x

    compiled = tg.compile(f, fallback=True)
    with pytest.warns(UserWarning, match="f cannot be compiled"):
        compiled(np.ones(2))
    assert compiled.explain().startswith("f runs eagerly, for it could not be captured: ")
    assert "float()" in compiled.explain() or "float" in compiled.explain()
    with pytest.raises(CaptureError, match="runs eagerly"):
        compiled.source()


def test_texts_show_themselves():
    step = training()
    for text in (step.explain(), step.source()):
        assert isinstance(text, str)
        assert repr(text) == str(text)
        assert "\n" in repr(text)


# --- names ---------------------------------------------------------------------------------------


def test_names_come_from_modules_closures_globals_objects_and_containers():
    net, other = nn.MLP(1, [1], rng=0), nn.Linear(1, 1, rng=0)
    w = tg.tensor([1.0], requires_grad=True)
    parts = {"a": [tg.tensor([2.0])], "net": net}
    holder = SimpleNamespace(scale=tg.tensor(3.0))

    def helper(x):
        return x * w

    def one(x):
        return helper(net(x)) + parts["a"][0] * holder.scale

    def two(x):
        return one(x) + other(x)

    names = nodes_in(one, [])
    assert names[id(net.layers[0].weight)] == "layers.0.weight"
    assert names[id(w)] == "w"
    assert names[id(parts["a"][0])] == "parts['a'][0]"
    assert names[id(holder.scale)] == "holder.scale"
    names = nodes_in(two, [])
    assert names[id(other.weight)] == "other.weight"
    assert names[id(net.layers[0].weight)] == "net.layers.0.weight"
    assert nodes_in(two, [("model", nn.Linear(1, 1))])[id(w)] == "w"


WEIGHT = tg.tensor([1.0])


def test_names_in_functions_within_the_function_are_found():
    def f(x):
        return (lambda z: z * WEIGHT)(x)

    assert nodes_in(f, [])[id(WEIGHT)] == "WEIGHT"


def test_a_bound_method_knows_its_object():
    class Trainer:
        def __init__(self):
            self.w = tg.tensor([1.0])

        def predict(self, x):
            return self.w * x

    trainer = Trainer()
    assert nodes_in(trainer.predict, [])[id(trainer.w)] == "self.w"


def test_a_method_knows_the_model_of_its_object():
    class Trainer:
        def __init__(self):
            self.net = nn.Linear(2, 1, rng=0)

        @tg.compile
        def predict(self, x):
            return self.net(x)

    trainer = Trainer()
    trainer.predict(np.ones((3, 2), np.float32))
    assert "(x, weight, bias)" in type(trainer).predict.explain()


def test_two_things_never_have_one_name():
    tensors = [tg.tensor([float(k)], label="t") for k in range(3)]

    def f(x):
        return x

    taken = take_apart(((np.ones(1),), {}))
    names = Names(f, arguments_of(f, taken))
    assert [names.node(t) for t in tensors] == ["t", "t#2", "t#3"]
    assert [names.node(t) for t in tensors] == ["t", "t#2", "t#3"]


def test_arguments_that_do_not_fit_are_named_all_the_same():
    taken = take_apart(((np.ones(1), 3), {"k": 1}))
    arguments = arguments_of(lambda: None, taken)
    assert arguments.text == "argument0: float64 (1,), argument1=3, k=1"


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.asarray(np.float32(0.1)), "0.1"),
        (np.full(4, np.float32(0.1)), "full(4, 0.1)"),
        (np.asarray(np.float32(-0.01)), "-0.01"),
        (np.ones((2, 3)), "ones((2, 3))"),
        (np.zeros(4), "zeros(4)"),
        (np.full(4, 2.5), "full(4, 2.5)"),
        (np.arange(7), "arange(7)"),
        (np.array([1.0, 3.0]), "[1.0, 3.0]"),
        (np.array([1.0, 3.0, 2.0, 2.0]), ""),
        (np.array(["a"]), ""),
        (np.array([np.nan, np.nan]), "[nan, nan]"),
    ],
)
def test_short_constants_are_written_out(array, text):
    assert literal(array) == text


def test_a_large_constant_has_a_name():
    table = np.random.default_rng(0).random((5, 5))

    @tg.compile
    def f(x):
        return np.exp(x @ table) @ np.eye(5)

    f(np.ones(5))
    assert "h1 = x @ table " in f.explain()
    assert "h3 = h2 @ constant " in f.explain()


# --- source --------------------------------------------------------------------------------------


def test_the_source_is_the_program_with_notes():
    step = training()
    text = step.source()
    tree = ast.parse(text)
    plain = ast.unparse(tree.body[0].body)
    rows = "\n".join(row for row, _ in step.plan.rows)
    run = ast.parse("def run():\n    " + rows.replace("\n", "\n    "))
    assert plain == ast.unparse(run.body[0].body)
    first = inspect.getsourcelines(step.function)[1]
    for offset, code in ((3, "loss = "), (4, "loss.backward()"), (5, "optimizer.step()")):
        assert f"    # test_explain.py:{first + offset}  {code}" in text
    assert re.search(r"dot\(.*\) +# h\d+ = \S+ @ \S+\n", text)


def test_the_names_of_arrays_are_explained_above_the_program():
    step = training()
    head, program = step.source().split("def replay")
    explained = set(re.findall(r"\w+", head))
    for name, item in step.plan.names.items():
        if isinstance(item, np.ndarray) and re.search(rf"\b{name}\b", program):
            assert name in explained
    assert re.search(r"# p\d+ +float32 \(2, 16\) +layers\.0\.weight", head)
    assert re.search(r"# option +float32 \(\) +lr", head)


def test_a_loop_over_blocks_says_what_it_does():
    @tg.compile
    def f(x):
        return np.exp(x * 2.0) + 1.0

    x = np.ones(1_000_000)
    for _ in range(3):
        f(x)
    rows = [row for row, _ in f.plan.rows if row.startswith("for ")]
    if not rows:
        pytest.skip("no chain of this program is done in blocks")
    assert "block by block" in f.source()
    assert calls(f.plan)[0] > 3


def test_each_line_and_each_note_stands_once_in_the_program():
    program = training().source().split("def replay")[1]
    heads = re.findall(r"^    # (test_explain.py:\d+)", program, re.MULTILINE)
    assert len(heads) == 3
    notes = re.findall(r"  # (\S+ = .*)$", program, re.MULTILINE)
    assert len(notes) > 20
    assert len(set(notes)) == len(notes)


def test_transposed_arrays_are_called_so():
    x = np.ones((3, 2))
    w = tg.tensor(np.ones((4, 2)), requires_grad=True)

    @tg.compile
    def f(x):
        return np.exp(np.exp(x) @ w.T)

    f(x)
    plan = f.plan
    names = names_of(plan)
    homes: dict = {}
    for v, array in plan.memory.arrays.items():
        homes.setdefault(id(owner(array)), []).append(v)
    array = next(a for v, a in plan.memory.arrays.items() if names(v) == "w")
    meant = {_array_meaning(plan, names, homes, a) for a in (array, array[:])}
    assert meant == {"w"}
    v, array = next((v, a) for v, a in plan.memory.arrays.items() if names(v) == "h1")
    assert _array_meaning(plan, names, homes, array.T).startswith("h1.T")
    assert _array_meaning(plan, names, homes, array[1:]).startswith("in the memory of h1")
    assert _array_meaning(plan, names, homes, np.empty(7)) == "to work in"


def test_a_method_of_an_array_is_explained_by_the_array():
    step = training()
    head, program = step.source().split("def replay")
    methods = re.findall(r"^    (\w+_dot)\(", program, re.MULTILINE)
    for method in methods:
        assert re.search(rf"# {method} .* the method dot of \S", head)


def test_long_conditions_are_broken_into_rows_that_mean_the_same():
    step = training()
    assert all(len(row) <= 110 for row in step.source().splitlines() if "#" not in row[:60])


# --- draw ----------------------------------------------------------------------------------------


def test_a_drawing_has_a_box_for_each_instruction_in_a_frame_for_each_line():
    step = training()
    plan = step.plan
    names = names_of(plan)
    d = tg.draw(step).description
    titles = [c.title for c in d.clusters]
    assert len(titles) == 3
    assert "loss.backward()" in titles[1]
    results = {v.label.partition(" = ")[0] for v in d.nodes if v.role in ("intermediate", "output")}
    assert results == {names(i.out) for i in plan.tape.instructions if not i.view}
    leaves = [v for v in d.nodes if v.role not in ("intermediate", "output")]
    assert {"x", "y"} <= {v.label for v in leaves if v.role == "input"}
    assert {f"layers.{k}.weight" for k in range(3)} <= {
        v.label for v in leaves if v.role == "parameter"
    }
    assert {v.label for v in d.nodes if v.role == "constant"} == {"lr"}
    assert all(e.source < len(d.nodes) and e.target < len(d.nodes) for e in d.edges)
    users = {e.source for e in d.edges}
    for k, v in enumerate(d.nodes):
        assert k in users or v.role == "output" or v.dtype == "bool", v


def test_what_is_left_behind_is_marked():
    d = tg.draw(training()).description
    left = {v.target for v in d.nodes if v.role == "output"}
    assert {"the caller", "optimizer.state[0]", "layers.0.weight and 5 more"} <= left
    assert not any(v.target for v in d.nodes if v.role != "output")
    assert "→ optimizer.state[0]" in tg.draw(training()).to_dot()


def test_edges_go_through_views():
    @tg.compile
    def f(x):
        return np.exp(x).T[0].reshape(-1) * 2.0

    f(np.ones((2, 3)))
    d = tg.draw(f).description
    pairs = [(d.nodes[e.source].label, d.nodes[e.target].label) for e in d.edges]
    assert pairs[0] == ("x", "h1 = exp(x)")
    assert pairs[1][0] == "h1 = exp(x)"
    assert pairs[1][1].startswith("h2 = h1")


def test_drawings_of_plans_are_escaped():
    w = tg.tensor([1.0, 2.0], requires_grad=True, label=HOSTILE)

    def make(weights):
        return lambda x: np.sum(weights() * x)

    f = tg.compile(make(lambda: w))
    f(np.ones(2))
    drawing = tg.draw(f)
    assert "<script>" not in drawing.to_dot()
    assert "<script>" not in drawing.to_mermaid()
    assert "h1" in drawing.to_text()
    if shutil.which("dot"):
        ET.fromstring(drawing.to_svg())


def test_plans_are_drawn_from_top_to_bottom_and_graphs_from_left_to_right():
    step = training()
    assert "rankdir=TB" in tg.draw(step).to_dot()
    assert "rankdir=LR" in tg.draw(step, rankdir="LR").to_dot()
    assert "rankdir=LR" in tg.draw(tg.Value(1.0) + 1.0).to_dot()


def test_what_many_parameters_go_into_has_one_box_beside_it():
    d = tg.draw(training()).description
    (box,) = [v for v in d.nodes if v.settings == "6 parameters"]
    assert box.label == "layers.0.weight … layers.2.bias"
    assert box.role == "parameter"


def test_a_long_program_is_explained_in_a_time_that_grows_with_its_length():
    @tg.compile
    def f(x):
        for _ in range(900):
            x = np.tanh(x * 1.01)
        return x

    f(np.ones(3))
    start = time.perf_counter()
    assert f.explain().count(" = tanh(") == 1800
    assert f.source().count(" = tanh(") == 900
    assert len(tg.draw(f).description.nodes) == 1801
    assert time.perf_counter() - start < 3.0  # some 0.1 s; 8 s where each name looks at each array


def test_a_very_long_tape_is_cut_off():
    @tg.compile
    def f(x):
        for _ in range(1500):
            x = np.tanh(x * 1.01)
        return x

    f(np.ones(3))
    rows = sections(f.explain())["As captured"]
    assert rows[-1].strip() == "..."
    assert len(rows) < 2100
