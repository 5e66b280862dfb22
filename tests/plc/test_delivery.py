"""The account of publishes, without a network."""

from __future__ import annotations

from pipeline.messages import Part
from plc.delivery import Acknowledged, Delivery, Gap, Sent


def sent(mid, sequence=None, link=1):
    part = None if sequence is None else Part(3, "s", sequence)
    return Sent(link, mid, "verdict" if part else "status", part, at_s=float(mid))


def test_answer_settles_a_publish():
    delivery = Delivery()
    delivery.sent(sent(1, 10))
    delivery.sent(sent(2, 11))
    assert delivery.oldest_s() == 1.0
    delivery.acknowledged(Acknowledged(1, 1, ""))
    assert (delivery.in_flight, delivery.oldest_s()) == (1, 2.0)
    assert delivery.take_gap() is None


def test_answer_may_be_noted_first():
    delivery = Delivery()
    delivery.acknowledged(Acknowledged(1, 1, "not authorized"))
    delivery.sent(sent(1, 10))
    assert (delivery.in_flight, delivery.undelivered) == (0, 1)
    assert delivery.denied == {"verdict": "not authorized"}


def test_accepted_publish_lifts_the_denial():
    delivery = Delivery()
    for mid, problem in ((1, "not authorized"), (2, "")):
        delivery.sent(sent(mid, mid))
        delivery.acknowledged(Acknowledged(1, mid, problem))
    assert delivery.denied == {}


def test_a_denial_is_forgotten_by_its_age():
    delivery = Delivery()
    delivery.sent(sent(7, 7))
    delivery.acknowledged(Acknowledged(1, 7, "not authorized"))
    delivery.forget_denial("verdict", 6.9)
    delivery.forget_denial("status", 9.0)
    assert delivery.denied
    delivery.forget_denial("verdict", 7.0)
    assert not delivery.denied


def test_lost_link_takes_only_its_own_messages():
    delivery = Delivery()
    delivery.sent(sent(1, 10, link=1))
    delivery.sent(sent(2, link=1))
    delivery.sent(sent(1, 11, link=2))
    delivery.lost(1)
    assert (delivery.in_flight, delivery.unacknowledged, delivery.undelivered) == (1, 1, 0)


def test_gap_tells_counts_and_sequences_once():
    delivery = Delivery()
    delivery.sent(sent(1, 10))
    delivery.lost(1)
    for sequence in (11, 12):
        delivery.absent(Part(3, "s", sequence))
    gap = delivery.take_gap()
    assert str(gap) == (
        "2 verdicts undelivered, 1 sent without acknowledgement (between sequences 10 and 12)"
    )
    assert delivery.take_gap() is None
    assert delivery.undelivered == 2


def test_a_gap_lists_what_was_not_sent_and_what_may_have_arrived():
    delivery = Delivery()
    for mid in (1, 2):
        delivery.sent(sent(mid, mid))
    delivery.lost(1)
    for sequence in (5, 4, 9):
        delivery.absent(Part(3, "s", sequence))
    gap = delivery.take_gap()
    assert (gap.unconfirmed.ranges, gap.undelivered.ranges) == (((1, 2),), ((4, 5), (9, 9)))


def test_a_summary_that_did_not_arrive_is_told_again():
    delivery = Delivery()
    for problem in ("lost", "not authorized"):
        delivery.absent(Part(3, "s", 7))
        gap = delivery.take_gap()
        delivery.sent(Sent(1, 1, "undelivered", None, 0.0, gap))
        if problem == "lost":
            delivery.lost(1)
        else:
            delivery.acknowledged(Acknowledged(1, 1, problem))
        assert delivery.take_published() is None
        assert delivery.take_gap().undelivered.ranges == ((7, 7),)


def test_what_the_broker_has_confirmed_is_said_once():
    delivery = Delivery()
    gap = Gap()
    gap.unconfirmed.add(3)
    delivery.sent(sent(1, 10))
    delivery.sent(sent(2, 11))
    delivery.sent(sent(3))
    delivery.sent(Sent(1, 4, "undelivered", None, 0.0, gap))
    for mid in (1, 3, 4):
        delivery.acknowledged(Acknowledged(1, mid, ""))
    delivery.acknowledged(Acknowledged(1, 2, "not authorized"))
    note = delivery.take_published()
    assert (note.delivered, note.undelivered) == (((10, 10),), ((3, 3),))
    assert delivery.take_published() is None
