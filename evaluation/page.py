"""The page of an evaluation: plain HTML with its style inside, pictures beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from evaluation.datasets import GOOD
from evaluation.report import ABLATION, COLUMNS, TITLES, counts_text, speed_text, verdicts_text
from evaluation.results import Evaluation, Fault, Summary, cell

LISTED_FAULTS = 200

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
       color: #1f2933; background: #f4f6f8; margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 27px; margin: 0 0 2px; }
h2 { font-size: 19px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 20px 0 8px; }
p { margin: 6px 0; max-width: 82ch; }
.quiet { color: #616e7c; }
.small { font-size: 13px; }
section { background: #fff; border: 1px solid #e1e6eb; border-radius: 8px; padding: 4px 22px 20px;
          margin-top: 18px; }
section h2 { margin-top: 16px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px;
         margin-top: 18px; }
.tile { background: #fff; border: 1px solid #e1e6eb; border-radius: 8px; padding: 10px 16px 12px; }
.tile b { display: block; font-size: 23px; font-weight: 600; white-space: nowrap; }
.tile span { color: #616e7c; font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.figures { width: 100%; }
.figures th, .figures td { text-align: right; padding: 6px 10px; border-bottom: 1px solid #edf0f3;
                           white-space: nowrap; }
.figures th:first-child, .figures td:first-child { text-align: left; }
.figures thead th { color: #616e7c; font-weight: 500; font-size: 13px; vertical-align: bottom; }
.figures tr.sum td { font-weight: 600; border-top: 2px solid #cbd2d9; border-bottom: 0; }
.facts th { text-align: left; font-weight: 500; color: #616e7c; padding: 3px 20px 3px 0;
            vertical-align: top; white-space: nowrap; }
.facts td { padding: 3px 0; overflow-wrap: anywhere; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.fault { border-left: 4px solid #e0a100; }
.fault ul { margin: 4px 0 10px; padding-left: 22px; columns: 2; column-gap: 28px; font-size: 13px; }
.fault li { break-inside: avoid; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; display: block; }
.cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)); gap: 16px; }
figure { margin: 0; }
figcaption { font-size: 13px; margin-top: 4px; overflow-wrap: anywhere; }
.panels { display: grid; grid-template-columns: repeat(4, 1fr); color: #616e7c; font-size: 12px; }
.scale { display: inline-block; width: 150px; height: 10px; border-radius: 2px; margin: 0 6px;
         background: linear-gradient(90deg, #000004, #420a68, #932667, #dd513a, #fca50a, #fcffa4); }
.wrong { color: #b3261e; font-weight: 600; }
dl { margin: 6px 0; } dt { font-weight: 600; margin-top: 8px; } dd { margin: 0; max-width: 82ch; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
@media (max-width: 560px) { .cases { grid-template-columns: 1fr; } }
"""

GLOSSARY = (
    (
        "image AUROC, image AP",
        "Do defective parts score higher than good ones? AUROC: 1 is perfect, 0.5 is guessing. AP "
        "weighs how many of the rejects are due, and depends on how many parts are defective.",
    ),
    (
        "pixel AUROC, pixel AP",
        "The same question for pixels: does the map light up on the defect, and there alone? "
        "Defects are small, so the pixel AUROC is high even for a coarse map; the AP is strict.",
    ),
    (
        "PRO 30 %, PRO 5 %",
        "The share of each defect region that is marked, every region of the same weight, "
        "averaged up to a share of 30 % or 5 % of the good pixels marked by mistake.",
    ),
    (
        "escape, overkill",
        "A defective part that passes; a good part that is rejected, at the line's threshold.",
    ),
    ("score", "As the line computes it: the mean of the highest map values, never rescaled."),
)


@dataclass(frozen=True)
class Shown:
    """A picture beside the page, with a caption; `wrong` where the verdict is a wrong one."""

    file: str
    caption: str
    score: float
    wrong: bool


@dataclass(frozen=True)
class KindCases:
    """Cases of one kind: nearest to a wrong verdict, worst first, and farthest, best first."""

    kind: str
    hardest: Sequence[Shown]
    easiest: Sequence[Shown]


def page(found: Evaluation, plots: Mapping[str, str], cases: Sequence[KindCases]) -> str:
    """The page as HTML; `plots` are titles with the name of a file beside the page."""
    many = len(found.paradigms) > 1
    title = f"Evaluation of line {found.line}"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="quiet">{found.created:%Y-%m-%d %H:%M} {escape(str(found.created.tzname()))} · '
        f"{escape(found.source)}</p>",
        _tiles(found),
        *(_fault_section(found.faults) if found.faults else ()),
        _section("What was evaluated", _facts(found)),
        *([_section("Paradigms", _ablation(found))] if many else ()),
        *([_section("Bundles", _bundles(found))] if len(found.bundles) > 1 else ()),
        *(
            _section(f"Kinds of defects{f', {name}' if many else ''}", _kinds(found, name))
            for name in _main_first(found)
        ),
        *(_section(name, f'<img src="{file}" alt="{name}">') for name, file in plots.items()),
        *([_section("Hardest and easiest parts", _cases(found, cases))] if cases else ()),
        _section("How to read this", _glossary()),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


def _main_first(found: Evaluation) -> list[str]:
    rest = [name for name in found.paradigms if name != found.main_paradigm]
    return [found.main_paradigm, *rest]


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _tiles(found: Evaluation) -> str:
    overall = found.overall(found.main_paradigm)
    tiles = [
        (cell(overall, "image_auroc"), "image AUROC"),
        (cell(overall, "pixel_ap"), "pixel AP"),
        (cell(overall, "pro_30"), "PRO 30 %"),
        (cell(overall, "images_per_second"), f"images/s, {found.device}"),
    ]
    counts = found.bundles[0].verdicts
    if counts is not None and len(found.bundles) == 1:
        tiles.append((f"{counts.escapes} of {counts.defective}", "defective parts escape"))
        tiles.append((f"{counts.overkill} of {counts.good}", "good parts are overkill"))
    shown = "".join(
        f'<div class="tile"><b>{value}</b><span>{escape(name)}</span></div>'
        for value, name in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _fault_section(faults: Iterable[Fault]) -> list[str]:
    return [
        '<section class="fault">\n<h2>What the data set lacks</h2>',
        *(_fault(fault) for fault in faults),
        "</section>",
    ]


def _fault(fault: Fault) -> str:
    if not fault.parts:
        return f"<p>{escape(fault.text[:1].upper() + fault.text[1:])}.</p>"
    named = [
        f"<li>{escape(part.name)}: {escape(part.why)}</li>" for part in fault.parts[:LISTED_FAULTS]
    ]
    more = len(fault.parts) - len(named)
    rest = f"<li>and {more} more, all of them in evaluation.json</li>" if more else ""
    return f"<p>{len(fault.parts)} {escape(fault.text)}:</p>\n<ul>{''.join(named)}{rest}</ul>"


def _facts(found: Evaluation) -> str:
    overall = found.overall(found.main_paradigm).mean
    bundles = "<br>".join(
        f"<code>{bundle.id}</code>, profile {escape(bundle.profile)}, "
        f"<code>{escape(str(bundle.folder))}</code>"
        for bundle in found.bundles
    )
    verdicts = "<br>".join(escape(verdicts_text(bundle)) for bundle in found.bundles)
    facts = [
        ("Bundle" if len(found.bundles) == 1 else "Bundles", bundles),
        ("Data", escape(found.source)),
        (
            "Parts",
            f"{overall.good} good, {overall.defective} defective of {len(found.kinds)} kinds; "
            f"{overall.with_mask} with known pixels",
        ),
        ("Speed", "<br>".join(escape(speed_text(found, name)) for name in found.paradigms)),
        ("Verdicts", verdicts),
        ("Command", f"<code>{escape(found.command)}</code>"),
    ]
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts)
    return f'<table class="facts">{rows}</table>'


def _ablation(found: Evaluation) -> str:
    heads = ["paradigm", *(TITLES[key] for key in ABLATION)]
    rows = [
        [name, *(cell(found.overall(name), key) for key in ABLATION)] for name in found.paradigms
    ]
    return _spread_note(found) + _table(heads, rows)


def _bundles(found: Evaluation) -> str:
    name = found.main_paradigm
    rows = []
    for bundle in found.bundles:
        alone = Summary(bundle.paradigms[name].overall, None)
        rows.append([bundle.id, *(cell(alone, key) for key in TITLES)])
    rows.append(["mean", *(cell(found.overall(name), key) for key in TITLES)])
    return _table(["bundle", *TITLES.values()], rows, sums=True)


def _kinds(found: Evaluation, paradigm: str) -> str:
    def row(title: str, summary: Summary) -> list[str]:
        return [title, counts_text(summary.mean), *(cell(summary, key) for key in COLUMNS)]

    rows = [row(kind, found.of_kind(paradigm, kind)) for kind in found.kinds]
    rows.append(row("all", found.overall(paradigm)))
    note = '<p class="quiet small">Each kind against all good parts (images: good + defective).</p>'
    heads = ["kind", "images", *COLUMNS.values()]
    return note + _spread_note(found) + _table(heads, rows, sums=True)


def _spread_note(found: Evaluation) -> str:
    count = len(found.bundles)
    if count == 1:
        return ""
    return f'<p class="quiet small">Mean ± standard deviation of {count} bundles.</p>'


def _table(heads: Iterable[str], rows: Sequence[Sequence[str]], sums: bool = False) -> str:
    head = "".join(f"<th>{escape(text).replace(chr(10), '<br>')}</th>" for text in heads)
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(f"<td>{escape(text)}</td>" for text in row)
        is_sum = sums and index == len(rows) - 1
        lines.append(f'<tr class="sum">{cells}</tr>' if is_sum else f"<tr>{cells}</tr>")
    return (
        f'<div class="scroll"><table class="figures"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cases(found: Evaluation, cases: Sequence[KindCases]) -> str:
    bundle = found.bundles[0]
    note = (
        f"<p>With {escape(found.main_paradigm)}, bundle <code>{bundle.id}</code>. The map is the "
        'probability of a defect, 0 <span class="scale"></span> 1, by its square root; the same '
        "scale everywhere. A grey mask: not known.</p>"
    )
    return note + "".join(_kind_cases(kind) for kind in cases)


def _kind_cases(cases: KindCases) -> str:
    good = cases.kind == GOOD
    hardest = "highest scores" if good else "lowest scores"
    easiest = "lowest scores" if good else "highest scores"
    name = escape("good parts" if good else cases.kind)
    content = f"<h3>{name}: hardest, of the {hardest}</h3>{_gallery(cases.hardest)}"
    if cases.easiest:
        content += f"<h3>{name}: easiest, of the {easiest}</h3>{_gallery(cases.easiest)}"
    return content


def _gallery(shown: Sequence[Shown]) -> str:
    return f'<div class="cases">{"".join(_figure(case) for case in shown)}</div>'


def _figure(case: Shown) -> str:
    wrong = ' · <span class="wrong">wrong verdict</span>' if case.wrong else ""
    return (
        '<figure><div class="panels"><span>input</span><span>reconstruction</span>'
        f'<span>map</span><span>mask</span></div><img src="{case.file}" loading="lazy" '
        f'alt="{escape(case.caption)}"><figcaption>{escape(case.caption)} · score '
        f"{case.score:.4g}{wrong}</figcaption></figure>"
    )


def _glossary() -> str:
    entries = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in GLOSSARY)
    return f"<dl>{entries}</dl>"
