"""A typed client of the HTTP API, for programs and for `hookline`'s own commands.

`Client` has a method for every operation; its types are those of the API's document (`models`).
"""

from pipeline.client.answers import Answer
from pipeline.client.client import Client
from pipeline.client.errors import AddressError, ApiError, ProblemError, UnreachableError

__all__ = ["AddressError", "Answer", "ApiError", "Client", "ProblemError", "UnreachableError"]
