"""Whether each PASS rests on its own part's picture: the same part scored once more, by itself."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np

from chaos.ledger import Account
from chaos.spans import Spans
from chaos.violation import Violation
from pipeline.config import LineConfig, SimulatedCamera
from pipeline.messages import Verdict, VerdictRecord
from stages.acquisition.simulation import PartRenderer
from stages.bundle import load_bundle
from stages.inspector import Inspector
from stages.preprocessing.prepare import prepare

MOST_PARTS = 400
TOLERANCE = 2e-4
"""Scores of this line's parts differ by some thousandths; one score moves by rounding alone."""


def wrong_scores(
    config: LineConfig,
    accounts: dict[str, Account],
    unusual: Spans,
    drawn: Random,
) -> tuple[int, list[Violation]]:
    """How many parts were scored again, and those whose score was another one. `unusual`: times in
    which the camera showed other parts than their numbers say.
    """
    usual = [
        record
        for account in accounts.values()
        for record in _passed(account)
        if account.captured_s(record.part.sequence) not in unusual
    ]
    chosen = drawn.sample(usual, min(MOST_PARTS, len(usual)))
    found = [
        Violation(
            2,
            f"PASS with score {record.score}, but the part's own is {score:.6f}",
            (record.part.session, record.part.sequence),
        )
        for record, score in zip(chosen, _scores(config, chosen), strict=True)
        if record.score is None or abs(record.score - score) > TOLERANCE
    ]
    return len(chosen), found


def _passed(account: Account) -> Iterator[VerdictRecord]:
    for records in account.records.values():
        yield from (record for record in records if record.verdict is Verdict.PASS)


def _scores(config: LineConfig, records: list[VerdictRecord]) -> Iterator[float]:
    camera = config.camera
    assert isinstance(camera, SimulatedCamera)
    renderer = PartRenderer(camera.product, camera.size_px, camera.seed, camera.defect_share)
    inspector = Inspector(load_bundle(config.model.bundle), config.model.device)
    for record in records:
        image = renderer.render(record.part.sequence).image
        prepared = prepare(image, config.frame, config.reject_log.view_px).image
        yield float(inspector.inspect(np.stack([prepared])).scores[0])
