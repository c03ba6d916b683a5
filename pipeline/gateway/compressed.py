"""Answers in the encoding that a client asks for by `Accept-Encoding`, whole ones and streams."""

import zlib
from typing import Protocol

import zstandard
from aiohttp import web

from pipeline.pauses import Pauses

# By preference: zstd takes a third of gzip's time for less.
ENCODINGS = ("zstd", "gzip")
ZSTD_LEVEL = 3
GZIP_LEVEL = 5
ENCODE_MIN_BYTES = 1024  # less fits into one packet as it is
PIECE_BYTES = 128 * 1024
GZIP_WINDOW_BITS = 31  # a gzip header and trailer around it


class Encoder(Protocol):
    """Takes bytes, and returns the encoded bytes that are ready."""

    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


def choose_encoding(accepted: str | None) -> str | None:
    """`zstd`, `gzip`, or None: as it is. `accepted`: the header's value."""
    weights: dict[str, float] = {}
    for part in (accepted or "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if name:
            weights[name] = _read_weight(parameters)
    any_other = weights.get("*", 0.0)
    found = [(weights.get(name, any_other), name) for name in ENCODINGS]
    best = max(weight for weight, _ in found)
    return next(name for weight, name in found if weight == best) if best > 0 else None


def start_encoding(encoding: str) -> Encoder:
    """An encoder for one answer."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW_BITS)


async def encode_answer(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Encode a whole answer of some size as its client accepts it."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return
    if len(response.body) < ENCODE_MIN_BYTES or "Content-Encoding" in response.headers:
        return
    if "Content-Range" in response.headers:
        return  # a part of a body that is not encoded
    response.headers.add("Vary", "Accept-Encoding")
    encoding = choose_encoding(request.headers.get("Accept-Encoding"))
    if encoding is not None:
        response.body = await _encode(encoding, response.body)
        response.headers["Content-Encoding"] = encoding


async def _encode(encoding: str, content: bytes) -> bytes:
    """Encode in pieces: a large list takes gzip a second."""
    encoder, pauses = start_encoding(encoding), Pauses()
    pieces = []
    for begin in range(0, len(content), PIECE_BYTES):
        pieces.append(encoder.compress(content[begin : begin + PIECE_BYTES]))
        await pauses.take()
    return b"".join(pieces) + encoder.flush()


def _read_weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
