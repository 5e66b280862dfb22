"""What takes the place of the image in a synthetic defect: A of (12), in the box of its region."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from training import textures
from training.shapes import Box

TINT_SHARES = (0.6, 0.25, 0.15)
"""How often something lighter or darker has the colour of its place, is grey, or is tinted."""

BANK_SHARE = 0.7
"""How often a texture comes from the bank, where there is one."""


@dataclass(frozen=True)
class Place:
    """Where a defect is painted: the whole `image` N (H, W, C), its `foreground` (H, W) in [0, 1],
    a `box` of both, and in this box the `region` M (h, w) in [0, 1], in `weights` (h, w, C) the
    same for every channel.
    """

    image: np.ndarray
    foreground: np.ndarray
    box: Box
    region: np.ndarray
    weights: np.ndarray

    @property
    def piece(self) -> np.ndarray:
        """The box of the image, (h, w, C), a view."""
        return self.box.cut(self.image)


Appearance = Callable[[Place, np.random.Generator], np.ndarray]
"""(place, rng) -> A in the box of the place, (h, w, C); what leaves [0, 255] is cut off."""


def shifted(place: Place, rng: np.random.Generator) -> np.ndarray:
    """Lighter or darker by half the range; (12) then draws it back to the wanted contrast.

    Mostly in the colour of the place, as light, scratches and grooves change it, which leaves
    the hue as it is; the rest in grey or with a tint.
    """
    channels = place.image.shape[2]
    weighted = textures.mean_colour(place.piece * place.weights)
    colour: np.ndarray = weighted / max(float(place.region.mean()), 1e-6)
    level = float(colour.mean())
    own: np.ndarray = (colour + 1.0) / (level + 1.0)
    tints = (own, np.ones(channels), rng.uniform(0.3, 1.0, (channels,)))
    shift = 128.0 * textures.direction(level, rng) * tints[int(rng.choice(3, p=TINT_SHARES))]
    return np.asarray(place.piece + textures.in_colour(shift, place.box.width))


def flat(place: Place, rng: np.random.Generator) -> np.ndarray:
    """One colour without texture, anything from grey to vivid."""
    grey, vivid = rng.uniform(0.0, 255.0), rng.uniform(0.0, 255.0, place.image.shape[2])
    colour = np.asarray(grey + rng.random() * (vivid - grey))
    return np.broadcast_to(textures.in_colour(colour, place.box.width), place.piece.shape)


def shaded(place: Place, rng: np.random.Generator) -> np.ndarray:
    """The light and the dark flank of a dent, a bump or a groove, lit from a random side."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    soft = cv2.GaussianBlur(place.region, (0, 0), rng.uniform(0.7, 2.5))
    across, down = (np.asarray(cv2.Sobel(soft, cv2.CV_32F, *way)) for way in ((1, 0), (0, 1)))
    slope = math.cos(angle) * across + math.sin(angle) * down
    shading = slope * (160.0 / max(float(np.abs(slope).max()), 1e-6))
    return np.asarray(place.piece + textures.in_channels(shading, place.image.shape[2]))


def turned(place: Place, rng: np.random.Generator) -> np.ndarray:
    """The whole image turned."""
    return textures.turned(place.image, place.box, rng)


def shuffled(place: Place, rng: np.random.Generator) -> np.ndarray:
    """The whole image in pieces, laid anew."""
    return textures.shuffled(place.image, place.box, rng)


def displaced(place: Place, rng: np.random.Generator) -> np.ndarray:
    """The image moved a little."""
    return textures.displaced(place.image, place.box, rng)


def worn(place: Place, rng: np.random.Generator) -> np.ndarray:
    """Smoother or rougher than it was."""
    return textures.worn(place.piece, rng)


def grainy(place: Place, rng: np.random.Generator) -> np.ndarray:
    """The ground of a fracture."""
    return textures.grainy(place.piece, rng)


def of_bank(bank: np.ndarray | None) -> Appearance:
    """A texture: mostly one of `bank` (N, H, W, C) uint8 where there is one, else procedural."""

    def texture(place: Place, rng: np.random.Generator) -> np.ndarray:
        if bank is not None and rng.random() < BANK_SHARE:
            return _piece_of(bank[int(rng.integers(len(bank)))], place, rng)
        return textures.procedural_texture(place.piece.shape, min(place.image.shape[:2]), rng)

    return texture


def _piece_of(texture: np.ndarray, place: Place, rng: np.random.Generator) -> np.ndarray:
    """A random piece of a texture, of the size of the box."""
    height, width = place.box.height, place.box.width
    y = int(rng.integers(max(1, texture.shape[0] - height + 1)))
    x = int(rng.integers(max(1, texture.shape[1] - width + 1)))
    piece = texture[y : y + height, x : x + width].astype(np.float32)
    sized = cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(sized).reshape(place.piece.shape)
