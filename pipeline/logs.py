"""The log of a process: one form for its own lines and for those of libraries."""

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from pipeline.log_output import LogOutput


def configure_logs(level: str, form: str, *, has_traces: bool = False) -> None:
    """Logs go to stderr: one line each, an action word first, then key=value; or JSON. `has_traces`: is tracing on?

    What a library logs, and what Python warns of, are lines with the action word `library_says`.
    """
    extra: list[Processor] = []
    with contextlib.suppress(ImportError):  # which ends the start, with a sentence
        if has_traces:
            from pipeline.tracing import add_trace_ids

            extra.append(add_trace_ids)
    output = cast(TextIO, LogOutput())
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        *extra,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # plain tracebacks: the default shows every frame's variables, payloads and secrets among them
        else [
            structlog.dev.set_exc_info,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    structlog.configure(
        processors=[*common, structlog.processors.StackInfoRenderer(), *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, _name_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(capture=True)


def configure_command_logs() -> None:
    """Logs of a sub-command, which says in its own words what is wrong: errors alone, on stderr."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, LogOutput())),
    )


def _name_library(_: object, __: str, line: EventDict) -> EventDict:
    """The text of a library is no action word."""
    record: logging.LogRecord = line["_record"]
    return {**line, "library": record.name, "said": line["event"], "event": "library_says"}
