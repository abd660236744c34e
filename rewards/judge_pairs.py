"""Reference answers with a right paraphrase and a wrong answer, to try judges on. Own writing."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAIRS", "Pair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One reference; `right` says the same in other words, `wrong` something else."""

    reference: str
    right: str
    wrong: str


PAIRS = tuple(
    Pair(reference=reference, right=right, wrong=wrong)
    for reference, right, wrong in (
        ("Paris", "It is the city of Paris.", "It is Lyon."),
        ("1969", "That was in the year 1969.", "That was in 1968."),
        ("42 euro", "You owe 42 euro.", "You owe 24 euro."),
        ("The order was cancelled.", "That order has been cancelled.", "The order was shipped."),
        ("No", "No, it is not.", "Yes, it is."),
        ("Marie Curie", "The physicist Marie Curie.", "The physicist Lise Meitner."),
        ("On Thursday at 9:00", "Thursday, nine in the morning.", "Friday at 9:00."),
        ("Gate B12", "It leaves from gate B12.", "It leaves from gate B21."),
        ("Water boils at 100 degrees Celsius.", "At 100 °C.", "At 90 degrees Celsius."),
        ("Three", "There are three of them.", "There are thirteen of them."),
        ("The Danube", "It is the river Danube.", "It is the river Rhine."),
        ("Refund to the gift card", "The gift card gets the refund.", "A refund to the bank."),
        ("Blue", "The colour is blue.", "The colour is green."),
        ("Twelve months", "One year.", "Two years."),
        ("Not allowed", "That is forbidden.", "That is allowed."),
        ("Room 204", "You are in room 204.", "You are in room 402."),
        ("Mount Everest", "Everest is the highest one.", "K2 is the highest one."),
        ("About 3.14", "Roughly 3.14.", "Roughly 2.72."),
        ("The second attempt worked.", "It worked the second time.", "Both attempts failed."),
        ("Oxygen", "The gas is oxygen.", "The gas is nitrogen."),
        ("Card K17 is blocked.", "K17 has been blocked.", "Card K71 is blocked."),
        ("In Lisbon", "It took place in Lisbon.", "It took place in Porto."),
        ("Seven of ten", "70 percent.", "17 percent."),
        ("Beethoven", "Ludwig van Beethoven wrote it.", "Johannes Brahms wrote it."),
    )
)
