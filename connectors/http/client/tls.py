"""TLS contexts, remembered: making one takes milliseconds."""

import ssl
from collections import OrderedDict
from collections.abc import Callable

from pipeline.endpoint_tls import TlsIdentity, build_context

CONTEXTS_MAX = 1000

# Raises `TlsIdentityError`, and OSError for what this process lacks.
Build = Callable[[TlsIdentity | None], ssl.SSLContext]


class TlsContexts:
    """One context for all, and one for each identity, remembered by content."""

    def __init__(self, *, contexts_max: int = CONTEXTS_MAX, build: Build = build_context) -> None:
        self._contexts_max = contexts_max
        self._build = build
        self._default: ssl.SSLContext | None = None  # reading the system's authorities takes a moment
        self._own: OrderedDict[TlsIdentity, ssl.SSLContext] = OrderedDict()

    def find(self, identity: TlsIdentity | None) -> ssl.SSLContext:
        """Raises `TlsIdentityError`, and OSError for what this process lacks."""
        if identity is None:
            if self._default is None:
                self._default = self._build(None)
            return self._default
        context = self._own.get(identity)
        if context is None:
            context = self._own[identity] = self._build(identity)
            if len(self._own) > self._contexts_max:
                self._own.popitem(last=False)
        self._own.move_to_end(identity)
        return context
