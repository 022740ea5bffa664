"""What a file says of models: tiers, other names, and rules that choose one by facts about the request."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from router.settings.strict import Strict

ReachWord = Literal["process", "host", "network", "rented"]
Language = Literal[
    "ar", "de", "el", "en", "es", "fr", "he", "hi", "it", "ja", "ko", "nl", "pt", "ru", "th", "zh", "other"
]


class ConditionEntry(Strict, frozen=True):
    images: Annotated[bool | None, Meta(description="Whether the request holds images.")] = None
    tools: Annotated[bool | None, Meta(description="Whether the request offers tools.")] = None
    prompt_over: Annotated[
        int | None, Meta(ge=0, description="More characters of text than this, all messages together.")
    ] = None
    messages_over: Annotated[int | None, Meta(ge=0, description="More messages than this.")] = None
    answer_over: Annotated[
        int | None, Meta(ge=0, description="More tokens asked for (`max_completion_tokens`, `max_tokens`) than this.")
    ] = None
    code_over: Annotated[
        float | None,
        Meta(ge=0, lt=1, description="A larger share of the last message's lines is code than this (0 to 1)."),
    ] = None
    languages: Annotated[
        tuple[Language, ...], Meta(description="The language of the user's last message, by script and common words.")
    ] = ()


class AutoEntry(Strict, frozen=True):
    use: Annotated[str, Meta(description="The model, one that has `tiers`.")]
    when: Annotated[
        ConditionEntry, Meta(description="All of it must hold; the last rule has none, and takes the rest.")
    ] = ConditionEntry()


class ModelEntry(Strict, frozen=True):
    tiers: Annotated[tuple[str, ...], Meta(description="Tiers in the order they are tried, by name.")] = ()
    auto: Annotated[
        tuple[AutoEntry, ...],
        Meta(
            description="Instead of `tiers`: rules that choose one of the other models by facts about the request; the "
            "first that matches, and whose model the caller may use, counts."
        ),
    ] = ()
    aliases: Annotated[
        tuple[str, ...],
        Meta(
            description="Other names that clients may ask for it by; `org/name:*` stands for every `org/name:provider`."
        ),
    ] = ()
    served: Annotated[dict[str, str], Meta(description="Tier name: what that tier's upstreams call the model.")] = (
        field(default_factory=dict)
    )
    reach: Annotated[ReachWord, Meta(description="How far prompts for this model may travel at most.")] = "rented"
