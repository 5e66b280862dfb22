"""The settings of a training as a person gives them: options of a command, and `KEY=VALUE`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config_file import parse_override
from pipeline.errors import ConfigError
from training.settings import OF_PROFILE, TrainingSettings

OPTIONS_OF_THEIR_OWN = ("profile", "minutes", "steps", "seed", "device")


def settings_of(
    profile: str, given: Mapping[str, object], changes: Mapping[str, object]
) -> TrainingSettings:
    """The defaults, what comes with the profile, what is `given`, and the changes: the later wins.

    Raises ConfigError that names every wrong value, and what was expected.
    """
    wanted = {**OF_PROFILE.get(profile, {}), "profile": profile, **given, **changes}
    try:
        return TrainingSettings.model_validate_json(json.dumps(wanted, default=str), strict=True)
    except ValidationError as error:
        faults = "; ".join(_explained(fault) for fault in error.errors())
        raise ConfigError(f"the training cannot be set up so: {faults}") from error


def parse_settings(texts: Sequence[str], option: str) -> dict[str, object]:
    """Each `KEY=VALUE`, the value read as YAML, or as a number as in `1e-4`, which YAML takes for
    text. Raises ConfigError, naming the `option` that they came with.
    """
    changes = dict(parse_override(text, option, "KEY=VALUE", "batch_size=8") for text in texts)
    for key in OPTIONS_OF_THEIR_OWN:
        if key in changes:
            raise ConfigError(f"{option} {key}: {key} has an option of its own; give that")
    return {key: _number(value) for key, value in changes.items()}


def _number(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _explained(fault: ErrorDetails) -> str:
    place = ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(sorted(TrainingSettings.model_fields))
        return f"{place}: there is no such setting; there are {known}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}, not {fault['input']!r}" if place else message
