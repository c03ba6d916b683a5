"""An event's payload: from the command line, a file or standard input, as its content type asks."""

import base64
from pathlib import Path
from typing import BinaryIO

import msgspec

from pipeline.core.events.content_types import BINARY_TYPE, CONTENT_TYPES, JSON_TYPE
from pipeline.start_error import StartError

STANDARD_INPUT = "-"
FILE_PREFIX = "@"


def read_payload(argument: str, stdin: BinaryIO) -> bytes:
    """The bytes of `TEXT`, `@file` or `-`, which is `stdin`. Raises `StartError`."""
    if argument == STANDARD_INPUT:
        return stdin.read()
    if argument.startswith(FILE_PREFIX):
        file = Path(argument.removeprefix(FILE_PREFIX))
        try:
            return file.read_bytes()
        except OSError as error:
            raise StartError(f"cannot read the payload from {file}: {error.strerror}") from error
    return argument.encode(errors="surrogateescape")


def format_payload(payload: bytes, content_type: str) -> str:
    """The payload as the API takes it: text, or base64 of any bytes. Raises `StartError` when it does not fit."""
    if content_type not in CONTENT_TYPES:
        raise StartError(f"--content-type must be one of {', '.join(CONTENT_TYPES)}")
    if content_type == BINARY_TYPE:
        return base64.b64encode(payload).decode()
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise StartError(f"the payload is no text: send it with --content-type {BINARY_TYPE}") from error
    if content_type == JSON_TYPE:
        try:
            msgspec.json.decode(payload, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise StartError(
                f"the payload is not JSON ({error}): mend it, or send it with --content-type text/plain"
            ) from error
    return text
