"""What a stage with the second head (DRSL) has to show of its modes."""

from training.methods.method import Method
from training.methods.mixture import MixtureHead, mixture_head
from training.stages.modes import begin_modes, mode_usage
from training.stages.stage import Run, Stage


class ModesReport:
    """Made before a stage is trained, of head and network as they are then."""

    def __init__(self, run: Run, stage: Stage, head: MixtureHead, moved: dict[str, int]):
        self.run, self.stage, self.head, self.moved = run, stage, head, moved

    @classmethod
    def begun(cls, run: Run, stage: Stage, method: Method, first: bool = True) -> "ModesReport | None":
        """Give the head of a method its modes; None where it has no head.

        first: False of a later part of a training, whose variables come with all others of the part before.
        """
        head = mixture_head(method.terms)
        if head is None:
            return None
        return cls(run, stage, head, begin_modes(run, stage, head) if first else {})

    def figures(self) -> dict:
        """{"modes": {"after": see `modes.mode_usage`, "moved": {class: modes that were dead}}}, after the stage."""
        return {"modes": {"after": mode_usage(self.run, self.head), "moved": self.moved}}
