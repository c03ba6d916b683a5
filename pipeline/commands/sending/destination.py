"""Where events are sent: what the options say, and otherwise the demo of a `hookline up` that runs."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.commands.up.demo import EVENT_TYPES, LABELS
from pipeline.commands.up.report import Report
from pipeline.start_error import StartError


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """`secret` is empty and `api` unused when events go straight to Kafka."""

    api: str
    application_id: str
    secret: str
    event_type: str
    labels: dict[str, str]


def find_destination(
    find_report: Callable[[], Report | None],
    *,
    api: str | None,
    application_id: str | None,
    secret: str | None,
    event_type: str | None,
    labels: dict[str, str],
    needs_api: bool,
) -> Destination:
    """Fill in what the options leave open. Raises `StartError` naming the missing ones.

    `find_report`: of the `hookline up` that runs; called when something is missing.
    """
    api = None if api is None else api.rstrip("/")
    needed = (application_id, event_type, labels, *((api, secret) if needs_api else ()))
    report = None if all(needed) else find_report()
    if report is not None and api not in (None, report.api):
        report = None  # of another installation: its secret is not for that one
    # the demo's own application, not merely its address: its type and labels fit no other
    is_demo = report is not None and bool(report.application_id) and application_id in (None, report.application_id)
    if report is not None:
        api = report.api
        if is_demo:
            application_id = report.application_id
            secret = secret or report.application_secret
    if is_demo:
        event_type = event_type or EVENT_TYPES[0]
        labels = labels or LABELS
    missing = [
        name
        for name, is_missing in (
            ("--api", needs_api and not api),
            ("--application-id", not application_id),
            ("--secret", needs_api and not secret),
            ("--type", not event_type),
            ("--label", not labels),
        )
        if is_missing
    ]
    if missing:
        raise StartError(
            f"{', '.join(missing)} must be given: no `hookline up` with a demo was found to take it from"
            if not is_demo
            else f"{', '.join(missing)} must be given"
        )
    return Destination(
        api=api or "",
        application_id=application_id or "",
        secret=secret or "",
        event_type=event_type or "",
        labels=labels,
    )
