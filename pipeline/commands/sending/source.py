"""The `hookline up` from which `hookline send` takes what its options leave open."""

import os

from pipeline.commands.installation.finding import KAFKA_VARIABLE, Choice, Found, find_by_itself, find_chosen
from pipeline.commands.installation.options import find_cwd, load_found, say_found
from pipeline.commands.up.report import Report
from pipeline.config import Settings, load_settings


class Source:
    """A `hookline up`, looked for once, when the first question comes.

    `is_kafka`: events go straight to Kafka, and if the environment names one, a demo must be of that one. Over HTTP
    only --api names another installation.
    """

    def __init__(self, choice: Choice, *, is_kafka: bool) -> None:
        self._choice = choice
        self._is_kafka = is_kafka
        self._found: Found | None = None
        self._is_looked_for = False

    def find_report(self) -> Report | None:
        """The report of the one that runs. Raises `StartError`."""
        found = self._find()
        return None if found is None else found.running.report

    def load_settings(self) -> Settings:
        """The settings to write to Kafka with. Raises `StartError`, `ConfigError`."""
        if KAFKA_VARIABLE in os.environ and not self._is_looked_for:
            return load_settings(os.environ)
        return load_found(self._find())

    def _find(self) -> Found | None:
        if not self._is_looked_for:
            self._is_looked_for = True
            if self._choice.is_made:
                self._found = find_chosen(self._choice, os.environ)
            else:
                named = (KAFKA_VARIABLE,) if self._is_kafka else ()
                given = {name: os.environ[name] for name in named if name in os.environ}
                bases = {name: value for name, value in os.environ.items() if name.startswith("XDG_")}
                self._found = find_by_itself(given | bases, find_cwd())
            if self._found is not None:
                say_found(self._found)
        return self._found
