"""The head of an answer, before the parser sees it.

llhttp takes other protocols of the same form for HTTP (`RTSP/1.1 200`), and refuses folded header lines. An answer
begins with `HTTP/`, and a client puts a space where a line was folded (RFC 9112, sections 2.3 and 5.2).
"""

import re

START = b"HTTP/"
END = re.compile(rb"\r?\n\r?\n")
FOLD = re.compile(rb"\r?\n[ \t]+")


class NotHttpError(ValueError):
    """These bytes are not the start of an HTTP answer."""


class HeadReader:
    """Gathers bytes until a head is whole; one object for each answer, interim ones included."""

    __slots__ = ("_gathered",)

    def __init__(self) -> None:
        self._gathered = b""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """(the head, as the parser may have it; what follows it). No head: it is not whole yet.

        Raises `NotHttpError`.
        """
        gathered = self._gathered + data if self._gathered else data
        start = gathered[: len(START)]
        if not START.startswith(start):
            raise NotHttpError("the answer is not HTTP")
        end = END.search(gathered, max(0, len(self._gathered) - 3))
        if end is None:
            self._gathered = gathered
            return b"", b""
        self._gathered = b""
        lines_from = gathered.find(b"\n") + 1
        if gathered[lines_from : lines_from + 1] in (b" ", b"\t"):
            raise NotHttpError("the answer is not HTTP: there is nothing that its first line continues")
        if lines_from > end.start():  # no headers
            return gathered[: end.end()], gathered[end.end() :]
        lines = gathered[lines_from : end.start()]
        if b"\n " not in lines and b"\n\t" not in lines:  # folded lines are obsolete (RFC 9112)
            return gathered[: end.end()], gathered[end.end() :]
        lines = FOLD.sub(b" ", lines)
        return gathered[:lines_from] + lines + gathered[end.start() : end.end()], gathered[end.end() :]
