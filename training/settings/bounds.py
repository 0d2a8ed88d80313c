"""Types of numbers with their bounds, which are checked where an experiment comes from outside."""

from typing import Annotated

from annotated_types import Interval

Count = Annotated[int, Interval(ge=1, le=10**9)]
AnyCount = Annotated[int, Interval(ge=0, le=10**9)]
Images = Annotated[int, Interval(ge=1, le=4096)]  # that are in memory together
Side = Annotated[int, Interval(ge=32, le=16384)]  # pixels
Seed = Annotated[int, Interval(ge=0, le=2**31 - 1)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Portion = Annotated[float, Interval(gt=0, le=1)]
Weight = Annotated[float, Interval(ge=0, le=1e6)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
TeacherScale = Annotated[float, Interval(ge=0.25, le=4)]  # of images at which a teacher predicts
Scale = Annotated[float, Interval(ge=0.05, le=20)]
RoundCount = Annotated[int, Interval(ge=1, le=1000)]
