"""Batch-norm statistics of the target in place of the source's (AdaBN, Li et al. 2016); nothing is trained.

The plan has it where a later stage trains batch-norm; networks whose statistics stay frozen do without.
"""

from dataclasses import dataclass

from training.progress import console
from training.stages.stage import Run, Stage


@dataclass(frozen=True, kw_only=True)
class StatisticsStage(Stage):
    """The network takes the statistics of up to `data.statistics_images` target images."""

    name: str = "statistics"
    title: str = "Statistics"
    phrase: str = "before adaptation, with the target's batch-norm statistics"
    way: str = "by the target's batch-norm statistics"
    reference: bool = True
    own_reference: bool = True
    takes_target_statistics: bool = True

    def run(self, run: Run) -> dict:
        console.print("Statistics: batch-norm takes those of the target", style="bold")
        run.take_statistics(run.domains.target)
        return {}
