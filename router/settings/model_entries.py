"""What a file says of models: tiers, other names, and rules that choose one by facts about the request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from router.settings.strict import Strict

ReachWord = Literal["process", "host", "network", "rented"]
Language = Literal[
    "ar", "de", "el", "en", "es", "fr", "he", "hi", "it", "ja", "ko", "nl", "pt", "ru", "th", "zh", "other"
]


class ConditionEntry(Strict):
    images: bool | None = Field(default=None, description="Whether the request holds images.")
    tools: bool | None = Field(default=None, description="Whether the request offers tools.")
    prompt_over: int | None = Field(
        default=None, ge=0, description="More characters of text than this, all messages together."
    )
    messages_over: int | None = Field(default=None, ge=0, description="More messages than this.")
    answer_over: int | None = Field(
        default=None, ge=0, description="More tokens asked for (`max_completion_tokens`, `max_tokens`) than this."
    )
    code_over: float | None = Field(
        default=None, ge=0, lt=1, description="A larger share of the last message's lines is code than this (0 to 1)."
    )
    languages: tuple[Language, ...] = Field(
        default=(), description="The language of the user's last message, by script and common words."
    )


class AutoEntry(Strict):
    use: str = Field(description="The model, one that has `tiers`.")
    when: ConditionEntry = Field(
        default=ConditionEntry(), description="All of it must hold; the last rule has none, and takes the rest."
    )


class ModelEntry(Strict):
    tiers: tuple[str, ...] = Field(default=(), description="Tiers in the order they are tried, by name.")
    auto: tuple[AutoEntry, ...] = Field(
        default=(),
        description="Instead of `tiers`: rules that choose one of the other models by facts about the request; the "
        "first that matches, and whose model the caller may use, counts.",
    )
    aliases: tuple[str, ...] = Field(
        default=(),
        description="Other names that clients may ask for it by; `org/name:*` stands for every `org/name:provider`.",
    )
    served: dict[str, str] = Field(default={}, description="Tier name: what that tier's upstreams call the model.")
    reach: ReachWord = Field(default="rented", description="How far prompts for this model may travel at most.")
