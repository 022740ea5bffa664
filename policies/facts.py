"""What a policy may look at: facts about a request and its caller, never the prompt, never a secret."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct


class Reach(IntEnum):
    """How far a prompt may travel, in order: each step takes it to a machine less in the operator's hands."""

    PROCESS = 0
    HOST = 1
    NETWORK = 2
    RENTED = 3

    @property
    def word(self) -> str:
        """The word used in policy files, headers and the ledger."""
        return self.name.lower()


class Backend(StrEnum):
    """The software that an upstream runs."""

    LLAMA_CPP = "llama_cpp"
    VLLM = "vllm"
    OLLAMA = "ollama"
    TGI = "tgi"
    OTHER = "other"


class Endpoint(StrEnum):
    """The only upstream paths that exist, below an upstream's base path; a client never names one."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"

    @property
    def writes(self) -> bool:
        """Does a model write a text there, and could it be streamed? Vectors and scores come all at once."""
        return self in (Endpoint.CHAT, Endpoint.COMPLETIONS)


class Caller(Struct, frozen=True):
    """Who asks, as far as a policy cares."""

    name: str
    reach: Reach = Reach.RENTED
    models: frozenset[str] | None = None  # None: every model


ANONYMOUS = Caller("anonymous")


class RequestFacts(Struct, frozen=True):
    """All that a decision knows of a request."""

    endpoint: Endpoint
    model: str  # as the client wrote it; "" asks for the default model
    stream: bool = False
    body_bytes: int = 0
    reach: Reach | None = None  # the client's own, narrower ceiling
