"""Passwords as argon2id hashes. Every check costs the same, whether there is such a user or not."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pipeline.gateway.problems import Problem

WAITING_MAX = 100  # more are refused: they would wait for seconds
T = TypeVar("T")


class Passwords:
    """Hashes and checks, in threads, `at_once` at most: each takes 64 MiB (RFC 9106's second recommendation)."""

    def __init__(self, *, at_once: int) -> None:
        self._hasher = PasswordHasher()
        self._places = asyncio.Semaphore(at_once)
        self._waiting = 0
        # of no password: checked for a user that does not exist, so that both take the same time
        self._no_password = self._hasher.hash("")

    async def hash(self, password: str) -> str:
        """Hash a password, in PHC form. Raises `Problem`."""
        return await self._run(self._hasher.hash, password)

    async def check(self, password_hash: str | None, password: str) -> bool:
        """Is the password right? `password_hash` None: the user has none, and no password fits. Raises `Problem`."""
        is_right = await self._run(self._verify, password_hash or self._no_password, password)
        return is_right and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Was the password hashed at other costs than today's?"""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *args: str) -> T:
        if self._waiting >= WAITING_MAX:
            raise Problem("ServiceUnavailable", detail="Too many passwords are being checked at this moment.")
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work, *args)
        finally:
            self._waiting -= 1
