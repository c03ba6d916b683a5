"""Numbers of options: finite ones. Python's own reading takes `nan` and `inf`, which no bound refuses."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number within bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See the parent's method."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number
