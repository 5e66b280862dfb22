from __future__ import annotations

from html.parser import HTMLParser

from evaluation.page import KindCases, Shown, page

VOID = {"meta", "img", "br"}
CASES = [
    KindCases(
        "<uneven>",
        [Shown("case_00_hardest_1.png", "test/<uneven>/1.jpg", 0.0123, wrong=True)],
        [Shown("case_00_easiest_1.png", "test/<uneven>/2.jpg", 0.9, wrong=False)],
    ),
    KindCases("good", [Shown("case_01_hardest_1.png", "test/good/1.jpg", 0.03, False)], []),
]


class Reader(HTMLParser):
    """Checks that tags close in order; gathers the text and what is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_says_all_and_loads_only_pictures_beside_it(make_evaluation) -> None:
    found = read(page(make_evaluation(), {"Scores of the parts": "scores.png"}, CASES))
    assert found.loaded == [
        "scores.png",
        "case_00_hardest_1.png",
        "case_00_easiest_1.png",
        "case_01_hardest_1.png",
    ]
    for wanted in (
        "Evaluation of line 1",
        "2026-11-22 12:30 UTC",
        "folder /tiles [small] <b>",
        "abc0",
        "a processor, 2 threads",
        "evaluate_line --line 1 --dataset '/tiles [small]'",
        "0.9123",
        "190 + 103",
        "7 of 103",
        "12 images that could not be used:",
        "No image of kind dent can be used",
        "test/<uneven>/1.jpg · score 0.0123 · wrong verdict",
        "test/<uneven>/2.jpg · score 0.9",
    ):
        assert wanted in found.text
    assert "Paradigms" not in found.text
    assert "wrong verdict" not in found.text.split("test/<uneven>/2.jpg")[1]


def test_paradigms_and_bundles_have_their_tables(make_evaluation) -> None:
    evaluation = make_evaluation(bundles=2, paradigms=("one_step", "norm_guided"))
    found = read(page(evaluation, {}, []))
    assert "Paradigms" in found.text
    assert "Kinds of defects, norm_guided" in found.text
    assert "Mean ± standard deviation of 2 bundles." in found.text
    assert "abc1" in found.text
    assert "0.922 ± 0.014" in found.text
    assert "Hardest" not in found.text
