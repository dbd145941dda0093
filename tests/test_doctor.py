"""What NumPy does on a machine, what is advised, and the program that starts itself anew."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from click.testing import CliRunner

import tinygrad_nn as tg
from tinygrad_nn.doctor import openblas, processor, rates, report, restart, trial
from tinygrad_nn.doctor.advice import Circumstances, advise
from tinygrad_nn.doctor.kernels import CORETYPE, coretype, fall_short
from tinygrad_nn.doctor.openblas import OpenBLAS
from tinygrad_nn.doctor.processor import Processor
from tinygrad_nn.doctor.rates import Rates
from tinygrad_nn.job.program import program

AVX2 = "fpu sse4_2 avx fma avx2"
AVX512 = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"


def info(flags):
    return f"processor\t: 0\nmodel name\t: Some: CPU\nflags\t\t: {flags}\nbugs\t\t: none\n"


def blas(
    core="Haswell", config="OpenBLAS 0.3.31.188.0  USE64BITINT DYNAMIC_ARCH Haswell", threads=2
):
    return OpenBLAS.of(config, core, threads, 1)


# --- which kernels to ask for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environment", "library", "chosen"),
    [
        (info(AVX512), {}, blas("Haswell"), "SkylakeX"),
        (info(AVX512), {}, blas("Zen"), "SkylakeX"),
        (info(AVX512), {}, blas("Barcelona"), "SkylakeX"),
        (info(AVX512), {"OPENBLAS_NUM_THREADS": "1"}, blas("Zen"), "SkylakeX"),
        (info(AVX512), {CORETYPE: "Haswell"}, blas("Haswell"), None),
        (info(AVX512), {CORETYPE: ""}, blas("Haswell"), None),
        (info(AVX512), {}, blas("SkylakeX"), None),
        (info(AVX512), {}, blas("Cooperlake"), None),
        (info(AVX512), {}, blas("SAPPHIRERAPIDS"), None),
        (info(AVX512), {}, None, None),
        (info(AVX2), {}, blas("Haswell"), None),
        # AVX-512 without what the kernels need beside its foundation, as in Knights Landing
        (info(f"{AVX2} avx512f avx512cd"), {}, blas("Haswell"), None),
        ("", {}, blas("Haswell"), None),
        ("Features : asimd sve\n", {}, blas("NEOVERSEV1"), None),
        # one set of kernels, whatever the variable says
        (info(AVX512), {}, blas(config="OpenBLAS 0.3.29 NO_AFFINITY Haswell"), None),
        # whose kernels for AVX-512 were wrong, and one that does not say
        (info(AVX512), {}, blas(config="OpenBLAS 0.3.5 DYNAMIC_ARCH"), None),
        (info(AVX512), {}, blas(config="OpenBLAS 0.3.8 DYNAMIC_ARCH"), "SkylakeX"),
        (info(AVX512), {}, blas(config="DYNAMIC_ARCH"), None),
    ],
)
def test_kernels_to_ask_for(text, environment, library, chosen):
    assert coretype(text, environment, library) == chosen


# --- the facts -----------------------------------------------------------------------------------


def test_the_loaded_library_is_the_one_that_numpy_was_built_with():
    build = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found = openblas.loaded()
    if build["name"] != "scipy-openblas":
        pytest.skip(f"NumPy was built with {build['name']}")
    assert found is not None
    assert ".".join(map(str, found.version)) == build["version"]
    assert found.threads >= 1
    assert found.threading in {"pthreads", "OpenMP", "none"}


def test_another_program_sees_the_same_library():
    pools = [p for p in threadpoolctl.threadpool_info() if p["internal_api"] == "openblas"]
    found = openblas.loaded()
    known = [(pool["architecture"], pool["num_threads"]) for pool in pools]
    assert (found is None and not known) or (found.core, found.threads) in known


@pytest.mark.skipif(openblas.loaded() is None, reason="NumPy calls another library")
def test_the_library_says_what_it_was_told():
    code = (
        "from tinygrad_nn.doctor import openblas; found = openblas.loaded();"
        "print(found.core, found.threads)"
    )
    told = {CORETYPE: "Nehalem", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | told, capture_output=True, text=True
    )
    core, threads = done.stdout.split()
    assert threads == "1"
    if "x86" in os.uname().machine:
        assert core == "Nehalem"


def test_a_library_that_is_not_openblas_is_not_known(monkeypatch):
    extension = np.random.mtrand.__file__  # which is not linked to a BLAS
    monkeypatch.setattr(sys.modules["numpy.linalg._umath_linalg"], "__file__", extension)
    assert openblas.loaded() is None
    monkeypatch.setattr(sys.modules["numpy.linalg._umath_linalg"], "__file__", "/no/such/file")
    assert openblas.loaded() is None


def test_a_library_of_few_words_is_known_in_part():
    class Library:
        @staticmethod
        def openblas_get_config():
            return b"OpenBLAS"

    found = openblas._ask(Library, "openblas", "")
    assert found == OpenBLAS((), False, "Unknown", 1, "not known")


def test_processors(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(info(f"{AVX512} smep vmx amx_tile") + "\nprocessor : 1\nflags : other\n")
    monkeypatch.setattr(processor, "_CPUINFO", path)
    found = processor.this_processor()
    assert found.name == "Some: CPU"
    assert found.extensions == (
        "amx_tile", "avx", "avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl",
        "fma", "sse4_2",
    )  # fmt: skip
    assert "processor : 1" not in processor.cpuinfo()
    path.write_text("processor : 0\nFeatures : fp asimd sve2 sha1\n")
    assert processor.this_processor().extensions == ("asimd", "sve2")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    assert processor.this_processor().extensions == ()
    assert processor.this_processor().name


@pytest.mark.parametrize(
    ("text", "usable"),
    [("250000 100000\n", 3), ("20000 100000\n", 1), ("max 100000\n", 8), ("", 8),
     ("9900000 100000", 8)],
)  # fmt: skip
def test_a_container_may_use_fewer_cores(text, usable, tmp_path, monkeypatch):
    path = tmp_path / "cpu.max"
    path.write_text(text)
    monkeypatch.setattr(processor, "_CPU_MAX", path)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    found = processor.this_processor()
    assert (found.cores, found.usable) == (16, usable)


# --- what is measured ----------------------------------------------------------------------------


def test_rates_are_positive_and_finite():
    found = rates.measure()
    figures = [found.float32, found.float64, found.middle, found.call]
    assert all(0 < f < np.inf for f in figures)


def test_the_large_product_is_not_large_where_that_takes_long(monkeypatch):
    sizes = []

    def rate(m, k, n, dtype, budget):
        sizes.append(n)
        return 1.0  # GFLOP/s, with which 256³ takes 34 ms

    monkeypatch.setattr(rates, "_rate", rate)
    rates._large(np.float32)
    assert sizes == [64, 256]


def test_a_median_of_at_least_three_runs(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 11.0, 20.0, 25.0])
    monkeypatch.setattr(rates, "perf_counter", lambda: next(clock))
    assert rates._seconds(lambda: None, budget=0.0) == 5.0


def test_the_better_of_each_figure():
    a, b = Rates(1.0, 4.0, 5.0, 7.0), Rates(2.0, 3.0, 6.0, 8.0)
    assert rates.better(a, b) == rates.better(b, a) == Rates(2.0, 4.0, 6.0, 7.0)
    assert rates.better(a, None) == rates.better(None, a) == a
    assert rates.better(None, None) is None


def test_a_trial_measures_a_new_process():
    found = trial.measured_under({"OPENBLAS_NUM_THREADS": "1"})
    assert found is not None
    assert found.float32 > 0


def test_a_trial_runs_under_the_changed_environment(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os\n"
        "print(json.dumps({'float32': os.environ['ADDED'], 'float64': os.environ.get('GONE'),\n"
        "                  'middle': os.environ['KEPT'], 'call': 0}))\n"
    )
    monkeypatch.setattr(rates, "__file__", str(script))
    monkeypatch.setenv("GONE", "1")
    monkeypatch.setenv("KEPT", "2")
    assert trial.measured_under({"ADDED": "3", "GONE": None}) == Rates("3", None, "2", 0)
    assert os.environ["GONE"] == "1"


@pytest.mark.parametrize(
    "code", ["raise SystemExit(3)", "print('{')", "print('[]')", "print('{}')", "input()",
             "import time; time.sleep(60)"],
)  # fmt: skip
def test_a_trial_that_fails_measures_nothing(code, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(code)
    monkeypatch.setattr(rates, "__file__", str(script))
    monkeypatch.setattr(trial, "_PATIENCE", 1.0)
    assert trial.measured_under({}) is None


def test_a_trial_leaves_the_input_alone(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    figures = json.dumps(vars(SLOW))
    script.write_text(f"import sys\nassert not sys.stdin.read()\nprint({figures!r})\n")
    monkeypatch.setattr(rates, "__file__", str(script))
    own, (out, into) = os.dup(0), os.pipe()
    try:
        os.write(into, b"for somebody else")
        os.close(into)
        os.dup2(out, 0)
        assert trial.measured_under({}) == SLOW
        assert os.read(0, 99) == b"for somebody else"
    finally:
        os.dup2(own, 0)
        os.close(own)
        os.close(out)


@pytest.mark.parametrize("executable", ["", "/no/such/python"])
def test_no_trial_without_an_interpreter(executable, monkeypatch):
    monkeypatch.setattr(sys, "executable", executable)
    assert trial.measured_under({}) is None


def test_no_trial_in_a_program_that_holds_its_interpreter(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert trial.measured_under({}) is None


# --- advice --------------------------------------------------------------------------------------

HERE = Circumstances(
    library="scipy-openblas",
    blas=blas("SkylakeX", threads=1),
    processor=Processor("Some CPU", (), 8, 8),
    cpuinfo=info(AVX512),
    environment={},
)
SLOW = Rates(float32=200.0, float64=100.0, middle=200.0, call=600.0)


def faster(variable, value, **figures):
    """Return what measures `SLOW`, but for one setting that gives other figures."""

    def measured_under(change):
        return replace(SLOW, **figures) if change == {variable: value} else SLOW

    return measured_under


HASWELL = replace(HERE, blas=blas("Haswell", threads=1))
TOLD = replace(HASWELL, environment={CORETYPE: "Haswell"})
CROWDED = replace(HERE, blas=blas("SkylakeX", threads=64), processor=Processor("", (), 64, 4))
THREADED = replace(HERE, blas=blas("SkylakeX", threads=8))


@pytest.mark.parametrize(
    ("here", "variable", "value", "figures", "words"),
    [
        (HASWELL, CORETYPE, "SkylakeX", {"float32": 400.0},
         ["Haswell kernels", "OPENBLAS_CORETYPE=SkylakeX", "400 GFLOP/s, not 200"]),
        (TOLD, CORETYPE, None, {"float32": 400.0},
         ["OPENBLAS_CORETYPE=Haswell", "Remove", "400 GFLOP/s, not 200"]),
        (CROWDED, "OPENBLAS_NUM_THREADS", "4", {"float32": 300.0},
         ["64 threads", "4 of the cores", "OPENBLAS_NUM_THREADS=4", "300 GFLOP/s, not 200"]),
        (THREADED, "OPENBLAS_NUM_THREADS", "1", {"middle": 250.0},
         ["one thread", "OPENBLAS_NUM_THREADS=1", "250 GFLOP/s, not 200"]),
    ],
    ids=["not chosen", "forbidden", "threads", "one thread"],
)  # fmt: skip
def test_advice_is_what_was_faster_when_tried(here, variable, value, figures, words):
    (advice,) = advise(here, faster(variable, value, **figures))
    assert all(word in str(advice) for word in words)
    assert advice.environment == {variable: value}
    assert (advice.before, advice.after) == (SLOW, replace(SLOW, **figures))
    assert advise(here, lambda change: SLOW) == []
    little = {name: 1.1 * getattr(SLOW, name) for name in figures}
    assert advise(here, faster(variable, value, **little)) == []
    assert advise(here, lambda change: None) == []


def test_where_all_is_well_nothing_is_tried():
    tried = []
    assert advise(HERE, tried.append) == []
    assert not tried


def test_as_many_threads_as_cores_are_not_too_many():
    tried = []
    advise(THREADED, tried.append)
    assert {"OPENBLAS_NUM_THREADS": "8"} not in tried
    assert {"OPENBLAS_NUM_THREADS": "1"} in tried


def test_settings_take_turns_and_their_best_counts():
    """One disturbed trial, of either kind, makes no advice and hides none."""
    tried = []

    def disturbed(change):
        tried.append(dict(change))
        first = len(tried) <= 2
        return replace(SLOW, float32=2.0) if first and not change else SLOW

    assert advise(HASWELL, disturbed) == []
    assert tried == [{}, {CORETYPE: "SkylakeX"}] * 2


@pytest.mark.parametrize("library", ["", "none"])
def test_numpy_without_blas(library):
    (advice,) = advise(replace(HERE, library=library, blas=None), lambda change: SLOW)
    assert "pip install" in str(advice)
    assert advise(replace(HERE, library="accelerate", blas=None), lambda change: SLOW) == []


# --- the report ----------------------------------------------------------------------------------


@pytest.fixture
def simulated(monkeypatch):
    """Simulate OpenBLAS with AVX2 kernels on a processor with AVX-512."""
    monkeypatch.delenv(CORETYPE, raising=False)
    monkeypatch.setattr(openblas, "loaded", lambda: blas("Haswell", threads=1))
    monkeypatch.setattr(report, "cpuinfo", lambda: info(AVX512))
    monkeypatch.setattr(trial, "measured_under", faster(CORETYPE, "SkylakeX", float32=400.0))


def test_the_report_on_this_machine():
    found = tg.doctor(trials=False)
    assert found.numpy == np.__version__
    assert found.advice == [] or not found.library
    assert found.rates.float32 > 0
    assert repr(found) == str(found)
    for part in (np.__version__, "BLAS", "kernels", "threads", "processor", "GFLOP/s", "advice"):
        assert part in str(found)
    assert max(map(len, str(found).splitlines())) <= 98


def test_a_simulated_shortfall_is_reported(simulated):
    found = tg.doctor()
    assert [a.environment for a in found.advice] == [{CORETYPE: "SkylakeX"}]
    text = " ".join(str(found).split())
    assert "kernels for Haswell, in OpenBLAS 0.3.31.188.0" in text
    assert "advice OpenBLAS chose its Haswell kernels on a processor with AVX-512." in text


def test_environment_variables_that_matter(simulated, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.setenv("MKL_NUM_THREADS", "4")
    monkeypatch.setenv("OTHER", "5")
    found = tg.doctor(trials=False)
    assert found.environment["OPENBLAS_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS=4" in str(found)
    assert "OTHER" not in found.environment


def test_what_is_not_known_is_said(monkeypatch):
    monkeypatch.setattr(openblas, "loaded", lambda: None)
    monkeypatch.setattr(np, "show_config", lambda mode: {})
    monkeypatch.setattr(processor, "_CPUINFO", Path("/no/such/file"))
    found = tg.doctor(trials=False)
    assert found.blas is None
    assert str(found).count("not known") == 5
    assert json.loads(json.dumps(found.to_dict()))["blas"] is None


def test_the_report_as_json(simulated):
    facts = json.loads(json.dumps(tg.doctor().to_dict()))
    assert facts["blas"]["core"] == "Haswell"
    assert facts["advice"][0]["environment"] == {CORETYPE: "SkylakeX"}
    assert facts["advice"][0]["after"]["float32"] == 400.0


def test_the_command(simulated):
    plain = CliRunner().invoke(program, ["doctor"])
    assert plain.exit_code == 0
    assert "OPENBLAS_CORETYPE=SkylakeX" in plain.output
    parsed = json.loads(CliRunner().invoke(program, ["doctor", "--json"]).output)
    assert parsed["numpy"] == np.__version__
    assert parsed["advice"][0]["environment"] == {CORETYPE: "SkylakeX"}


# --- starting anew -------------------------------------------------------------------------------

TRAIN = ["train", "data.csv", "--target", "y"]


@pytest.mark.parametrize(
    ("command", "arguments", "allowed"),
    [
        (["python", "/usr/bin/tinygrad-nn", *TRAIN], TRAIN, True),
        (["python", "-m", "tinygrad_nn", *TRAIN], TRAIN, True),
        (["python", "-X", "dev", "-m", "tinygrad_nn", *TRAIN], TRAIN, True),
        (["python", "tinygrad-nn", "train", "--no-reexec"], ["train", "--no-reexec"], True),
        (["python", "tinygrad-nn", "--no-reexec", *TRAIN], ["--no-reexec", *TRAIN], False),
        (["python", "tinygrad-nn", "doctor", "--json"], ["doctor", "--json"], False),
        (["python", "tinygrad-nn", "--help"], ["--help"], False),
        (["python", "tinygrad-nn"], [], False),
        # a process that has more to do, whose command line is another
        (["python", "-c", "..."], TRAIN, False),
        (["python", "-m", "pytest", *TRAIN], TRAIN, False),
        (["python", "-"], TRAIN, False),
        (["tinygrad-nn", *TRAIN], TRAIN, False),
        (TRAIN[1:], TRAIN, False),
        ([], TRAIN, False),
    ],
)
def test_which_processes_may_be_replaced(command, arguments, allowed):
    assert restart.permitted("linux", command, arguments, {}) is allowed
    assert not restart.permitted("darwin", command, arguments, {})
    assert not restart.permitted("win32", command, arguments, {})
    assert not restart.permitted("linux", command, arguments, {restart.OPT_OUT: "1"})


linux = pytest.mark.skipif(sys.platform != "linux", reason="nothing is restarted elsewhere")

#: The program where OpenBLAS has chosen AVX2 kernels on a processor with AVX-512.
SHORT = f"""
import os, sys
told = os.environ.pop("{CORETYPE}", None)  # this processor may lack what the kernels need
from tinygrad_nn.doctor import openblas, restart

if told:
    os.environ["{CORETYPE}"] = told
openblas.loaded = lambda: openblas.OpenBLAS.of("OpenBLAS 0.3.21 DYNAMIC_ARCH", "Zen", 2, 1)
restart.cpuinfo = lambda: {info(AVX512)!r}
print("start", os.environ.get("{CORETYPE}"), os.getpid(), sys.argv[1:], flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that runs a script as the program, and returns its starts and the rest."""
    script = tmp_path / "tinygrad-nn"

    def run(body, *arguments, options=(), **environment):
        script.write_text(SHORT + body)
        clean = {n: v for n, v in os.environ.items() if n not in {CORETYPE, restart.OPT_OUT}}
        process = subprocess.Popen(
            [sys.executable, *options, script, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
            env=clean | environment,
        )  # fmt: skip
        output, _ = process.communicate("first\nsecond\n", timeout=60)
        lines = output.splitlines()
        starts = [line.split(" ", 3)[1:] for line in lines if line.startswith("start ")]
        assert {int(pid) for _, pid, _ in starts} == {process.pid}
        assert {args for _, _, args in starts} == {str(list(arguments))}
        rest = [line for line in lines if not line.startswith("start ")]
        return [core for core, _, _ in starts], rest, process.returncode

    return run


ECHO = """
restart.restart(sys.argv[1:])
print(sys.stdin.read())
sys.exit(7)
"""


@linux
def test_the_process_starts_anew_once_and_keeps_arguments_input_and_status(start):
    starts, rest, status = start(ECHO, "train", "a b", "--x=*", "ä")
    assert starts == ["None", "SkylakeX"]
    assert rest[:2] == ["first", "second"]
    assert status == 7


@linux
def test_options_of_the_interpreter_are_kept(start):
    starts, rest, _ = start(
        "print(sys.flags.optimize, flush=True)\n" + ECHO, "train", options=["-OO"]
    )
    assert starts == ["None", "SkylakeX"]
    assert rest[:2] == ["2", "2"]


@linux
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--no-reexec", "train"], {}),
        (["train"], {restart.OPT_OUT: "1"}),
        (["doctor"], {}),
        (["train"], {CORETYPE: "Haswell"}),
    ],
)
def test_the_process_goes_on_where_somebody_wants_that(start, arguments, environment):
    starts, rest, status = start(ECHO, *arguments, **environment)
    assert starts == [environment.get(CORETYPE, "None")]
    assert rest[:2] == ["first", "second"]
    assert status == 7


@linux
def test_the_process_goes_on_where_it_cannot_be_replaced(start):
    starts, rest, status = start("sys.executable = '/no/such/python'" + ECHO, "train")
    assert starts == ["None"]
    assert rest[:2] == ["first", "second"]
    assert status == 7


@linux
@pytest.mark.parametrize(
    ("arguments", "starts"), [(["check", "--help"], 2), (["--no-reexec", "check", "--help"], 1)]
)
def test_the_program_starts_anew(start, arguments, starts):
    found, rest, status = start("from tinygrad_nn.cli import main; main()", *arguments)
    assert len(found) == starts
    assert "--shapes" in " ".join(rest)
    assert status == 0


@linux
def test_a_program_with_the_right_kernels_goes_on(start):
    right = "openblas.loaded = lambda: openblas.OpenBLAS.of('OpenBLAS 1.0', 'SkylakeX', 2, 1)"
    starts, _, status = start(right + ECHO, "train")
    assert starts == ["None"]
    assert status == 7


def test_falling_short_does_not_depend_on_the_environment():
    assert fall_short(info(AVX512), blas("Haswell"))
    assert not fall_short(info(AVX512), blas("SkylakeX"))
