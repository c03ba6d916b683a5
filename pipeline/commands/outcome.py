"""How a command ends: its exit code, and one sentence when it could not do its work.

With `--json` that sentence is an object on standard output as well: a program finds JSON there however a command ends.
`up` and `listen`, which go on, write what happens there, and nothing about their own end.
"""

import json
import sys
from collections.abc import Sequence

import click

REFUSED = 2  # it cannot be done as things are; a wrong option, as click has it, too
INTERRUPTED = 130  # as a shell says it
JSON_OPTION = "--json"
GOING_ON = ("up", "listen")


def run_command(command: click.Command, arguments: Sequence[str]) -> int:
    """Run a command line to its end; the exit code. Raises what is a fault of ours, and `SystemExit`."""
    try:
        code = command.main(list(arguments), prog_name="hookline", standalone_mode=False)
    except click.Abort:  # Ctrl-C; click has ended the line that it is in
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        _answer(arguments, error.format_message())
        return error.exit_code
    except Exception as error:
        sentence = describe(error)
        _answer(arguments, sentence or f"{type(error).__name__}: {error}")
        if sentence is None:
            raise
        click.echo(f"hookline: {sentence}", err=True)
        return REFUSED
    return code if isinstance(code, int) else 0


def describe(error: Exception) -> str | None:
    """Say what is wrong and what to do; None: it is a fault of ours, whose traceback is wanted."""
    # imported here: they cost more than all of `--help`
    from pipeline.client.errors import ApiError
    from pipeline.config import ConfigError
    from pipeline.core.signing.sealing import SealingError
    from pipeline.embedded.errors import EmbeddedError
    from pipeline.start_error import StartError

    if isinstance(error, ApiError | ConfigError | EmbeddedError | SealingError | StartError):
        return str(error)
    if isinstance(error, OSError) and error.strerror and not isinstance(error, TimeoutError | ConnectionError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}. See that there is room and that this user may do it, then run it again"
    return _describe_service(error)


def _describe_service(error: Exception) -> str | None:
    from pipeline.kafka.failures import KafkaUnavailableError
    from pipeline.postgres.pool import DatabaseFailed, describe_failure

    if isinstance(error, DatabaseFailed):
        return describe_failure(error)
    if isinstance(error, KafkaUnavailableError | TimeoutError):
        return (
            f"no answer in time: {error}. Do Kafka (HOOKLINE_KAFKA_BOOTSTRAP_SERVERS) and PostgreSQL "
            "(HOOKLINE_DATABASE_WRITE_URL) run? What was done stays; run it again once they answer"
        )
    return _describe_publishing(error)


def _describe_publishing(error: Exception) -> str | None:
    from pipeline.gateway.publishing import LeaseLostError

    return f"{error}; running gateways go on with it, or run it again" if isinstance(error, LeaseLostError) else None


def _answer(arguments: Sequence[str], sentence: str) -> None:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if JSON_OPTION in options and options[0] not in GOING_ON:
        sys.stdout.write(json.dumps({"error": sentence}) + "\n")
        sys.stdout.flush()
