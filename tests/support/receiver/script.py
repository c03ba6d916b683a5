"""Which behaviour answers which request of a path. Pure; sockets do not live here.

A script is a sequence of steps: each answers one request, `Times` and `FailTimes` several, and the last one all that
follow. After a `Times` that stands last comes `Ok()`. Written as text, a step is its Python form: `FailTimes(2)`.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.receiver import answers, hostile

Behaviour = answers.Answer | hostile.Performance


@dataclass(frozen=True, slots=True)
class Times:
    """Repeats a behaviour for `count` requests."""

    count: int
    behaviour: Behaviour


@dataclass(frozen=True, slots=True)
class FailTimes:
    """`count` failures with one status code."""

    count: int
    code: int = 500

    @property
    def behaviour(self) -> Behaviour:
        return answers.Status(self.code)


Step = Behaviour | Times | FailTimes

STEPS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(answers.Ok, answers.Status, answers.Redirect, answers.Gone, answers.TooMany),
        *(hostile.Slow, hostile.Hang, hostile.Drip, hostile.Reset, hostile.CloseUnanswered, hostile.HalfClose),
        *(hostile.LieAboutLength, hostile.EndlessBody, hostile.BadChunking, hostile.HugeHeaders, hostile.GzipBomb),
        *(hostile.InformationalFlood, hostile.Garbage, Times, FailTimes),
    )
}


class Script:
    """One path's steps, and how far they have been played."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self._played_of_first = 0

    def take(self) -> Behaviour:
        """The behaviour for the next request."""
        while self._steps:
            step = self._steps[0]
            if isinstance(step, Times | FailTimes):
                if self._played_of_first < step.count:
                    self._played_of_first += 1
                    return step.behaviour
                self._played_of_first = 0
                self._steps.pop(0)
            else:
                if len(self._steps) > 1:
                    self._steps.pop(0)
                return step
        return answers.Ok()


class Scripts:
    """All paths' scripts. A path that ends in `*` gives each path that starts like it a script of its own."""

    def __init__(self, default: Step) -> None:
        self._scripts: dict[str, Script] = {}
        self._patterns: dict[str, tuple[Step, ...]] = {"*": (default,)}

    def set(self, path: str, steps: Sequence[Step]) -> None:
        """Replace what was said for `path`; a pattern also replaces the scripts of the paths it stands for."""
        if not path.endswith("*"):
            self._scripts[path] = Script(steps)
            return
        self._patterns[path] = tuple(steps)
        self._scripts = {known: script for known, script in self._scripts.items() if not _fits(known, path)}

    def take(self, path: str) -> Behaviour:
        """The behaviour for the next request of `path`: by its own script, else by the longest pattern."""
        if path not in self._scripts:
            pattern = max((pattern for pattern in self._patterns if _fits(path, pattern)), key=len)
            self._scripts[path] = Script(self._patterns[pattern])
        return self._scripts[path].take()


def parse_step(text: str) -> Step:
    """`Status(503)` → that step; the opposite of `repr`. Raises ValueError for anything else."""
    try:
        step = _evaluate(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} is not a step: {error}") from None
    if not isinstance(step, tuple(STEPS.values())):
        raise ValueError(f"{text!r} is not a step: write one of {', '.join(STEPS)} with its arguments")
    return step  # type: ignore[return-value]  # one of the classes of STEPS, which are those of Step


def _evaluate(expression: ast.expr) -> object:
    if not isinstance(expression, ast.Call):
        return ast.literal_eval(expression)
    name = ast.unparse(expression.func)
    if name not in STEPS:
        raise ValueError(f"{name} is none of {', '.join(STEPS)}")
    arguments = [_evaluate(argument) for argument in expression.args]
    named = {str(keyword.arg): _evaluate(keyword.value) for keyword in expression.keywords}
    return STEPS[name](*arguments, **named)


def _fits(path: str, pattern: str) -> bool:
    return path.startswith(pattern[:-1])
