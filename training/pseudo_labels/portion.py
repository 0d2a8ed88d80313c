"""The self-paced schedule: how large a portion of the pixels is selected in each round (CBST, section 4)."""

from training.errors import UserError


def portion_at(round: int, start: float, step: float, maximum: float) -> float:
    """Portion of the most confident pixels to select in `round` (0 = first): start + round * step, at most `maximum`.

    The published programs add the step once per round in floating point (0.2, 0.25, 0.3, 0.35, 0.39999999999999997,
    ...): ranks, floors of count * portion, may then differ by one.
    The same schedule serves the share of source images. Published: start 0.20 (0.15 for GTA5), step 0.05, maximum 0.50.
    """
    check_portion(start, "first portion")
    check_portion(maximum, "largest portion")
    if round < 0 or step < 0:
        raise UserError(
            f"round {round} with portion step {step}: expected both to be at least 0; correct the schedule."
        )
    if start > maximum:
        raise UserError(
            f"The first portion {start} exceeds the largest portion {maximum}: raise the largest (portion_max)."
        )
    return min(start + round * step, maximum)


def check_portion(portion: float, name: str = "portion") -> None:
    """Raise UserError unless 0 < portion <= 1."""
    if not 0.0 < portion <= 1.0:
        raise UserError(f"The {name} is {portion}: expected a share of the pixels above 0 and at most 1, such as 0.2.")
