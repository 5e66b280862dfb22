"""What a training is: a checkpoint belongs to one, and all processes of a training agree on it."""

from __future__ import annotations

from collections.abc import Mapping

from training.settings import TrainingSettings

Identity = Mapping[str, str]
"""Values in words, by name."""

BUDGET = frozenset({"minutes", "steps"})
PERIODS = frozenset({"validation_minutes", "checkpoint_minutes"})
FREE = BUDGET | PERIODS | {"device"}
"""Settings that a resumed training may be given anew."""


def identity_of(
    settings: TrainingSettings, profile: str, images: str, textures: str | None
) -> Identity:
    """What decides, budget apart, which weights come out: images, textures, profile and settings.

    Images and textures are known by their digest, wherever they lie.
    """
    kept = settings.model_dump(mode="json", exclude=set(FREE))
    kept |= {"profile": profile, "images": images, "textures": textures}
    return {name: str(value) for name, value in kept.items()}


def together(identity: Identity, settings: TrainingSettings, resume: bool) -> Identity:
    """What the processes of one training must also have in common, or some would wait for ever for
    the others: when they validate, save and end, and from where they begin.
    """
    shared = settings.model_dump(mode="json", include=set(BUDGET | PERIODS))
    return {
        **identity,
        **{name: str(value) for name, value in shared.items()},
        "resume": str(resume),
    }


def differences(one: Identity, other: Identity) -> list[str]:
    """The names that have another value in `other`, or stand in only one of them."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def in_words(identity: Identity, names: list[str]) -> str:
    """These values of it, as in `seed 3, exposure auto`."""
    return ", ".join(f"{name} {identity.get(name, 'not given')}" for name in names)
