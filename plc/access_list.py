"""Least privilege at the broker: `python -m plc.access_list --line 3 --plc-user plc-3` prints an
access list for mosquitto, in which only those who are named for it may command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.command_line import line_parser, load_arguments_line, run_command
from pipeline.config import ExternalBroker, LineConfig, Sparkplug
from pipeline.errors import ConfigError
from plc.sparkplug.edge_node import READ_BY_NODE, WRITTEN_BY_NODE, NodeTopics
from plc.topics import WRITTEN_BY_LINE, WRITTEN_BY_PLC


@dataclass(frozen=True)
class _Scope:
    """The topics of a line: who writes which, and the pattern of all of them."""

    of_line: tuple[str, ...]
    of_plc: tuple[str, ...]
    of_mes: tuple[str, ...]
    and_what: str
    """What else than commands a MES can say there."""
    all: str


def access_list(
    line: int,
    root: str,
    line_user: str,
    plc_users: Iterable[str],
    viewers: Iterable[str],
    mes_users: Iterable[str] = (),
    sparkplug: Sparkplug | None = None,
) -> str:
    """The file for mosquitto's `acl_file`: for JSON below `root`, or for Sparkplug B.

    Raises ConfigError for user names it would misread.
    """
    plc_users, mes_users, viewers = list(plc_users), list(mes_users), list(viewers)
    _check([line_user, *plc_users, *mes_users, *viewers])
    scope = _json_scope(root) if sparkplug is None else _sparkplug_scope(sparkplug)
    blocks = [
        f"# Line {line}: who may do what below {scope.all.removesuffix('/#')}",
        "# The line: verdicts and its state out, commands and acknowledgements in.\n"
        + _rights(line_user, writes=scope.of_line, reads=scope.of_plc),
    ]
    blocks += [
        "# The PLC: commands, and acknowledges rejects.\n"
        + _rights(user, writes=scope.of_plc, reads=scope.of_line)
        for user in plc_users
    ]
    blocks += [
        f"# The MES: commands{scope.and_what}.\n"
        + _rights(user, writes=scope.of_mes, reads=scope.of_line)
        for user in mes_users
    ]
    blocks += [
        "# A viewer: hears the line, says nothing.\n"
        + _rights(user, writes=(), reads=scope.of_line)
        for user in viewers
    ]
    return "\n\n".join(blocks) + "\n"


def _json_scope(root: str) -> _Scope:
    line, plc = (
        tuple(f"{root}/{name}" for name in names) for names in (WRITTEN_BY_LINE, WRITTEN_BY_PLC)
    )
    return _Scope(line, plc, (f"{root}/command",), ", and acknowledges nothing", f"{root}/#")


def _sparkplug_scope(names: Sparkplug) -> _Scope:
    topics = NodeTopics(names)
    line, plc = (
        tuple(topics.of(message) for message in messages)
        for messages in (WRITTEN_BY_NODE, READ_BY_NODE)
    )
    return _Scope(line, plc, plc, " and, on the same topic, acknowledges", topics.pattern)


def _rights(user: str, writes: Iterable[str], reads: Iterable[str]) -> str:
    lines = [f"user {user}"]
    lines += [f"topic write {topic}" for topic in writes]
    lines += [f"topic read {topic}" for topic in reads]
    return "\n".join(lines)


def _check(users: Sequence[str]) -> None:
    for user in users:
        if not user or user != user.strip() or not user.isprintable() or user.startswith("#"):
            raise ConfigError(f"user {user!r}: a name that mosquitto's access list cannot hold")
    twice = sorted({user for user in users if users.count(user) > 1})
    if twice:
        raise ConfigError(
            f"user {', '.join(twice)}: given twice; each side needs a user of its own"
        )


def _users_line(config: LineConfig, given: str | None) -> str:
    """The line's own user: as given, or as it is configured."""
    broker = config.mqtt.broker
    configured = broker.user if isinstance(broker, ExternalBroker) else None
    user = given or configured
    if user is None:
        raise ConfigError("--line-user: the configuration has no mqtt.broker.user; give it here")
    return user


def main(arguments: Sequence[str] | None = None) -> int:
    """The command that prints the list."""
    parser = line_parser(
        "access_list",
        "Print an access list for mosquitto (acl_file): the line, its PLC, MES and viewers get "
        "what they need and nothing else. Join the lists of several lines to one file.",
    )
    parser.add_argument("--line-user", metavar="USER", help="the line's user (as configured)")
    for option, required, what in (
        ("--plc-user", True, "commands and acknowledges"),
        ("--mes-user", False, "commands"),
        ("--viewer", False, "only hears the line"),
    ):
        parser.add_argument(
            option,
            action="append",
            default=[],
            required=required,
            metavar="USER",
            help=f"{what}; may be repeated",
        )
    options = parser.parse_args(arguments)

    def show() -> int:
        config = load_arguments_line(options)
        user = _users_line(config, options.line_user)
        mqtt = config.mqtt
        sides = options.plc_user, options.viewer, options.mes_user, mqtt.sparkplug
        print(access_list(config.line, mqtt.topic_root, user, *sides), end="")
        return 0

    return run_command(show)


if __name__ == "__main__":
    sys.exit(main())
