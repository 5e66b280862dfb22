"""Runs a function block in structured text (IEC 61131-3), as docs/plc.md shows them.

Only what those need is known: declarations, assignments, calls, IF, FOR and WHILE. Each statement
becomes one of Python by its text; what is not known does not compile.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

COMMENT = re.compile(r"\(\*.*?\*\)", re.DOTALL)
HEAD = re.compile(r"FUNCTION_BLOCK \w+\n|VAR[A-Z_]*(?: \w+)?\n.*?END_VAR\n", re.DOTALL)
SECTION = re.compile(r"VAR[A-Z_]*(?: \w+)?\n(.*?)END_VAR\n", re.DOTALL)
ARRAY = re.compile(r"(\w+)\s*: ARRAY\[0\.\.(\d+)\] OF STRUCT\n(.*?)END_STRUCT;", re.DOTALL)
DECLARED = re.compile(r"(\w+)\s*:\s*(\w+)(?:\(\d+\))?(?:\s*:=\s*([^;]+))?;")
STATEMENT = re.compile(r"('[^']*')|(;|\bTHEN\b|\bDO\b|\bELSE\b)")
TOKEN = re.compile(r"'[^']*'|T#\d+M?S|:=|<>|<=|>=|=|\b[A-Z]+\b")
WORDS = {
    ":=": "=", "<>": "!=", "=": "==", "AND": " and ", "OR": " or ", "NOT": " not ", "MOD": "%",
    "TRUE": "True", "FALSE": "False",
}  # fmt: skip
BLANK: dict[str, Any] = {
    "BOOL": False, "UDINT": 0, "LREAL": 0.0, "STRING": "", "TIME": 0.0,
}  # fmt: skip


@dataclass
class Controller:
    """What stands around blocks: a clock in seconds, what came from the line, what goes there."""

    now_s: float = 0.0
    arrived: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    published: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def hear(self, topic: str, **payload: Any) -> None:
        """A message for the next cycle."""
        self.arrived.append((topic, payload))


class Block:
    """One instance of a function block; its variables are attributes."""

    def __init__(self, text: str, controller: Controller) -> None:
        self._controller = controller
        body = HEAD.sub("", COMMENT.sub("", text))
        self._code = compile(python(body), "structured text", "exec")
        self._names: dict[str, Any] = {
            "TIME": lambda: controller.now_s,
            "CONCAT": lambda first, second: first + second,
            "UDINT_TO_STRING": str,
            "JsonString": lambda payload, key: payload.get(key, ""),
            "JsonUdint": lambda payload, key: payload.get(key, 0),
            "JsonBool": lambda payload, key: payload.get(key, False),
            "FromLine": self._from_line,
            "MqttPublish": lambda topic, text: controller.published.append(
                (topic, json.loads(text))
            ),
        }
        for section in SECTION.findall(COMMENT.sub("", text)):
            self._declare(section)

    def __getattr__(self, name: str) -> Any:
        return self._names[name]

    def cycle(self, **inputs: Any) -> None:
        """One call of the block, with these inputs changed."""
        assert inputs.keys() <= self._names.keys(), inputs
        self._names.update(inputs)
        exec(self._code, self._names)  # the page's own text, translated

    def _declare(self, section: str) -> None:
        for name, last, fields in ARRAY.findall(section):
            blank = {field_: self._blank(kind) for field_, kind, _ in DECLARED.findall(fields)}
            self._names[name] = [SimpleNamespace(**blank) for _ in range(int(last) + 1)]
        for name, kind, initial in DECLARED.findall(ARRAY.sub("", section)):
            self._names[name] = eval(expression(initial)) if initial else self._blank(kind)

    def _blank(self, kind: str) -> Any:
        match kind:
            case "R_TRIG":
                return RisingEdge()
            case "TON":
                return OnDelay(self._controller)
        return BLANK[kind]

    def _from_line(self, _topic: str, _payload: Any) -> bool:
        """The parameters are in and out, in structured text."""
        if not self._controller.arrived:
            return False
        self._names["sTopic"], self._names["sPayload"] = self._controller.arrived.pop(0)
        return True


@dataclass
class RisingEdge:
    """R_TRIG."""

    Q: bool = False
    _before: bool = False

    def __call__(self, CLK: bool) -> None:  # noqa: N803 - its name in the standard
        self.Q, self._before = CLK and not self._before, CLK


@dataclass
class OnDelay:
    """TON: `Q` once `IN` has been true for `PT`, looked at when it is called."""

    controller: Controller
    Q: bool = False
    _since_s: float | None = None

    def __call__(self, IN: bool, PT: float = 0.0) -> None:  # noqa: N803 - as above
        now_s = self.controller.now_s
        self._since_s = (now_s if self._since_s is None else self._since_s) if IN else None
        self.Q = self._since_s is not None and now_s - self._since_s >= PT


def expression(text: str) -> str:
    """An expression of structured text in Python."""
    return TOKEN.sub(lambda found: _word(found[0]), text)


def _word(word: str) -> str:
    if word.startswith("T#"):
        number = int(re.findall(r"\d+", word)[0])
        return str(number / 1000 if word.endswith("MS") else number)
    return WORDS.get(word, word)


def python(body: str) -> str:
    """The statements of a block's body in Python."""
    lines: list[str] = []
    depth = 0
    for text in STATEMENT.sub(lambda found: found[1] or f"{found[2]}\n", body).splitlines():
        statement = " ".join(text.split())
        pending = lines.pop().removesuffix("\\") if lines and lines[-1].endswith("\\") else ""
        statement = f"{pending} {statement}".strip()
        if not statement:
            continue
        if not statement.endswith((";", "THEN", "DO", "ELSE")):
            lines.append(f"{statement}\\")
            continue
        depth -= statement.startswith(("END_", "ELSE", "ELSIF"))
        if not statement.startswith("END_"):
            lines.append("    " * depth + _statement(statement))
        depth += statement.endswith(("THEN", "DO", "ELSE"))
    assert depth == 0, "what is opened is closed"
    return "\n".join(lines)


def _statement(text: str) -> str:
    if loop := re.fullmatch(r"FOR (\w+) := (.+) TO (.+) DO", text):
        name, first, last = loop.groups()
        return f"for {name} in range({expression(first)}, {expression(last)} + 1):"
    for opening, word in (("IF", "if"), ("ELSIF", "elif"), ("WHILE", "while")):
        if begun := re.fullmatch(rf"{opening} (.+) (?:THEN|DO)", text):
            return f"{word} {expression(begun[1]).strip()}:"
    if text == "ELSE":
        return "else:"
    return expression(text.removesuffix(";"))
