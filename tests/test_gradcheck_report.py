"""The report of a gradient check: as text, in colour, as data, as HTML."""

from __future__ import annotations

import json
import math
import re
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import tinygrad_nn as tg
from tinygrad_nn.colour import shows_colour
from tinygrad_nn.gradcheck import Finding, GradcheckReport, gradcheck
from tinygrad_nn.gradcheck.render import BADGES, ROWS, SGR, WIDTH
from tinygrad_nn.gradcheck.report import KINK, RIGHT, WEAK, WRONG, Diagnosis

X = np.array([0.7, -1.3, 2.1, 0.2])


def _finding(name: str, verdict: str, error: float = 0.0, **others: Any) -> Finding:
    given = {"analytic": 1.0, "numeric": 1.0 + error, "tolerance": 1e-10, **others}
    return Finding(name=name, verdict=verdict, error=error, **given)


def _report(*findings: Finding) -> GradcheckReport:
    report = GradcheckReport(inputs={"x": len(findings)}, evaluations=7)
    report.add(findings)
    return report


ALL = _report(
    _finding("x[0]", RIGHT),
    _finding("x[1]", WEAK, 1e-3, tolerance=3.0),
    _finding("x[2]", KINK, kink=True, note="slopes from 0 to 1"),
    _finding("x[3]", WRONG, 1.0),
    _finding("x[4]", WRONG, math.inf, analytic=math.inf),
)


# --- resolution ----------------------------------------------------------------------------------


def test_the_resolution_is_the_error_that_would_have_shown() -> None:
    """An error somewhat above it is found, and one somewhat below is not."""
    for c in (1.1, 0.9):
        for f in (lambda x: np.sum(np.exp(x)), lambda x: np.sum(np.exp(abs(x)))):
            x = np.array([0.5])
            resolution = gradcheck(f, x, gradient=np.exp).resolution
            assert resolution is not None
            relative = c * resolution.median
            report = gradcheck(f, x, gradient=lambda x, r=relative: np.exp(x) * (1.0 + r),
                               raise_exception=False)  # fmt: skip
            if resolution.median > 1e-12:  # else the gradient's own rounding is as large
                verdicts = {finding.name: finding.verdict for finding in report.findings}
                assert (verdicts["x[0]"] == "wrong") is (c > 1.0)


def test_median_and_worst_of_the_resolution() -> None:
    findings = [_finding(f"x[{i}]", RIGHT, tolerance=t) for i, t in enumerate([1e-12, 2e-9, 3e-12])]
    report = _report(*findings)
    r = report.resolution
    assert r is not None
    assert (r.median, r.worst, r.where) == (3e-12, 2e-9, "x[1]")
    text = "relative errors above 3e-12 would have shown (median), above 2e-09 at x[1] (worst)"
    assert text in str(report)
    assert report.to_dict()["resolution"] == {"median": 3e-12, "worst": 2e-9, "where": "x[1]"}


def test_kinks_and_zeros_have_no_resolution() -> None:
    kink = _finding("x[0]", KINK, tolerance=1e3)
    zero = _finding("x[1]", RIGHT, analytic=0.0, numeric=0.0, tolerance=1e-3)
    assert _report(kink, zero).resolution is None
    assert "would have shown" not in str(_report(kink, zero))
    with_one = _report(kink, zero, _finding("x[2]", RIGHT)).resolution
    assert with_one is not None
    assert with_one.worst == 1e-10


def test_weak_derivatives_have_a_resolution_that_says_so() -> None:
    text = str(_report(_finding("x[0]", RIGHT), _finding("x[1]", RIGHT),
                       _finding("x[2]", WEAK, tolerance=5.0)))  # fmt: skip
    assert "relative errors above 1e-10 would have shown (median), none at x[2] (worst)" in text
    alone = str(_report(_finding("x[2]", WEAK, tolerance=5.0)))
    assert "no error would have shown" in alone


def test_a_derivative_that_is_infinite_is_measured_by_the_other() -> None:
    finding = _finding("x", WRONG, math.inf, analytic=math.inf, numeric=2.0, tolerance=1e-8)
    assert finding.resolution == 5e-9


# --- text ----------------------------------------------------------------------------------------


def test_the_worst_come_first_and_errors_that_are_no_numbers_before_all() -> None:
    assert [f.name for f in ALL.findings] == ["x[4]", "x[3]", "x[1]", "x[2]", "x[0]"]
    odd = _report(_finding("a", RIGHT), _finding("b", RIGHT, math.nan), _finding("c", RIGHT))
    assert odd.findings[0].name == "b"


def test_every_verdict_is_a_word() -> None:
    lines = str(ALL).splitlines()
    assert lines[0] == "gradcheck: WRONG: 2 of 5 derivatives"
    words = ["wrong", "wrong", "weak", "not differentiable here: slopes from 0 to 1", "right"]
    assert [line.endswith(word) for line, word in zip(lines[2:7], words, strict=True)] == [True] * 5


def test_colours_are_over_words_and_nothing_else() -> None:
    plain, colour = str(ALL), ALL.to_text(color=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", colour) == plain == ALL.to_text(color=False)
    for verdict in (WRONG, WEAK, KINK, RIGHT):
        assert f"\x1b[{SGR[verdict.split()[0]]}m{verdict}\x1b[0m" in colour
    assert len(set(SGR.values())) == len(SGR)


def test_colour_by_default_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert ALL.to_text() == str(ALL)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert shows_colour()
    assert ALL.to_text() == ALL.to_text(color=True)
    assert str(ALL) == ALL.to_text(color=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not shows_colour()
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert not shows_colour()


def test_rich_prints_it_in_colour() -> None:
    console = pytest.importorskip("rich.console").Console(
        force_terminal=True, color_system="standard", width=120, no_color=False
    )
    with console.capture() as captured:
        console.print(ALL)
    assert "\x1b[" in captured.get()
    assert "WRONG" in captured.get()


def test_long_names_lose_their_middle() -> None:
    name = "model.encoder.layers.11.attention.projection.weight[3, 2]"
    text = str(_report(_finding(name, WRONG, 1.0), _finding("x", RIGHT)))
    row = text.splitlines()[2]
    assert "model.encoder....on.projection.weight[3, 2]" in row or "weight[3, 2]" in row
    assert name not in row
    assert len(row) <= WIDTH
    assert name in _report(_finding(name, WRONG, 1.0))._repr_html_()
    second = str(_report(_finding(name, WRONG, 1.0, order=2)))
    assert "weight[3, 2] (second order)" in second


def test_columns_line_up_whatever_the_name_is_written_in() -> None:
    lines = str(_report(_finding("重み[0]", RIGHT), _finding("x[0]", RIGHT))).splitlines()[2:4]
    wide, narrow = (line.index("  right") for line in lines)
    assert wide == narrow - 2  # of two characters, each takes two columns; x takes one


def test_a_name_over_two_lines_does_not_break_the_table() -> None:
    text = str(_report(_finding("a\nb", RIGHT)))
    assert "a\\nb " in text
    assert len(text.splitlines()) == 5


def test_many_wrong_ones_are_cut_with_a_count() -> None:
    report = _report(*(_finding(f"x[{i}]", WRONG, 1.0 + i) for i in range(ROWS + 5)))
    report.add([_finding("y", RIGHT)])
    assert "... and 6 more, 5 of them wrong, none of them worse" in str(report)
    assert "... and 6 more, 5 of them wrong" in report._repr_html_()


def test_sentences_are_wrapped_and_headed() -> None:
    report = _report(_finding("x[0]", WRONG, 1.0))
    report.broke("linear", "not linear " + "word " * 40)
    report.diagnoses.append(Diagnosis("sign", "x", "the sign is wrong"))
    lines = str(report).splitlines()
    assert lines[1].startswith("  broken: not linear word")
    assert lines[2].startswith("    word")
    assert "  pattern: x: the sign is wrong" in lines
    assert max(map(len, lines)) <= WIDTH


def test_a_problem_in_the_headline_is_not_repeated() -> None:
    report = GradcheckReport(inputs={"x": 1})
    report.broke("pure", "the function modifies its input: x")
    assert str(report).count("modifies its input") == 1


def test_the_error_is_the_plain_text() -> None:
    f = tg.primitive(elementwise=True, rules=[lambda g, y, x: -g * np.cos(x)])(np.sin)
    with pytest.raises(tg.GradcheckError) as caught:
        gradcheck(f, X)
    assert str(caught.value) == caught.value.report.to_text(color=False)
    assert "  pattern: x: the sign is wrong" in str(caught.value)


# --- data ----------------------------------------------------------------------------------------


def test_data_is_complete_and_json() -> None:
    report = _report(*ALL.findings)
    report.diagnoses.append(Diagnosis("factor", "x", "m", {"factor": np.inf, "n": (1,)}))
    report.broke("linear", "not linear")
    report.notes.append("a note")
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["findings"][0]["analytic"] == "inf"
    assert float(data["findings"][0]["relative_error"]) == math.inf
    assert data["findings"][1]["relative_error"] == 0.5
    assert data["diagnoses"] == [
        {"pattern": "factor", "where": "x", "message": "m", "details": {"factor": "inf", "n": [1]}}
    ]
    assert data["problems"] == [{"contract": "linear", "message": "not linear"}]
    assert data["notes"] == ["a note"]
    assert data["right"] is False
    assert {"resolution", "worst_relative_error", "evaluations", "inputs"} <= set(data)
    assert json.loads(json.dumps(GradcheckReport().to_dict()))["resolution"] is None


# --- HTML ----------------------------------------------------------------------------------------


class _Balanced(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_a_table_that_a_screen_reader_can_read() -> None:
    page = _Balanced(ALL._repr_html_())
    assert page.open == []
    tags = [tag for tag, _ in page.seen]
    assert tags.count("caption") == 1
    scopes = [attrs.get("scope") for tag, attrs in page.seen if tag == "th"]
    assert scopes == ["col"] * 6 + ["row"] * 5
    assert not {"script", "style", "link", "img"} & set(tags)
    assert "class" not in {name for _, attrs in page.seen for name in attrs}


def test_html_escapes_everything_that_a_user_may_write() -> None:
    evil = "<b>&\x1b"
    report = _report(_finding(evil, WRONG, 1.0, note=evil))
    report.broke("linear", evil)
    report.diagnoses.append(Diagnosis("sign", evil, evil))
    report.notes.append(evil)
    page = report._repr_html_()
    assert "<b>&\x1b" not in page
    assert "\x1b" not in page
    assert page.count("&lt;b&gt;&amp;\\x1b") == 6
    assert "\x1b" not in str(report)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("kind", BADGES)
def test_verdicts_have_contrast(kind: str) -> None:
    """WCAG asks for 4.5; a badge brings its background along, for light and dark pages."""
    dark, light = sorted(map(_luminance, BADGES[kind]))
    assert (light + 0.05) / (dark + 0.05) > 7.0
    assert BADGES[kind][1] in ALL._repr_html_()


def test_wrong_is_red_and_a_kink_is_amber() -> None:
    red, amber = (
        [int(BADGES[kind][1][i : i + 2], 16) for i in (1, 3, 5)] for kind in ("wrong", "not")
    )
    assert red[0] > 3 * max(red[1:])
    assert amber[0] > amber[1] > amber[2]
