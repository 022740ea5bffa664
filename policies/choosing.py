"""Which model a client's name means: itself, an alias, or what the rules of an `auto` model choose by facts.

Only names that the operator wrote are known. A chosen model is then decided on like one that was asked for by name, so
nothing here can widen what a caller may use or how far a prompt may travel.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from policies.decision import Decision
from policies.facts import Caller, RequestFacts
from policies.policy import AutoRule, Condition, Policy
from policies.prompt import PromptFacts
from policies.request import decide_request

ANY_PROVIDER = ":*"  # an alias that ends so stands for every `org/name:provider`


class Weighed(Struct, frozen=True):
    """One rule of an `auto` model, tried."""

    use: str
    matched: bool
    why: str  # what matched, or the first thing that did not
    decision: Decision | None = None  # of a rule that matched: may its model be served?


class Choice(Struct, frozen=True):
    """`model`: what to serve; `rules`: those of an `auto` model in order, up to the one that chose."""

    model: str
    rules: tuple[Weighed, ...] = ()


def plain_name(name: str, policy: Policy) -> str:
    """The policy's own name for what a client asked for: `name` itself where it is one, or nobody's."""
    name = name or policy.default_model
    if name in policy.models or name in policy.autos or not policy.aliases:
        return name
    any_provider = name.rpartition(":")[0] + ANY_PROVIDER
    return policy.aliases.get(name) or policy.aliases.get(any_provider) or name


def may_ask_for(name: str, caller: Caller, policy: Policy) -> bool:
    """Is it a model, or an alias of one, that this caller may use; or an auto model with one among its choices?"""
    own = plain_name(name, policy)
    auto = policy.autos.get(own)
    uses = {rule.use for rule in auto.rules} if auto is not None else {own} & policy.models.keys()
    return bool(uses if caller.models is None else uses & caller.models)


def choose_model(facts: RequestFacts, prompt: Callable[[], PromptFacts], caller: Caller, policy: Policy) -> Choice:
    """The model for this request. `prompt` is only called for an `auto` model.

    Its first rule counts that matches and whose model this caller may use within this ceiling; if none of those that
    match does, the first of them, which is then refused with its own reason.
    """
    name = plain_name(facts.model, policy)
    auto = policy.autos.get(name)
    if auto is None:
        return Choice(name)
    rules: list[Weighed] = []
    known = prompt()
    for rule in auto.rules:
        weighed = _weigh(rule, facts, known, caller, policy)
        rules.append(weighed)
        if weighed.decision is not None and weighed.decision.allowed:
            return Choice(rule.use, tuple(rules))
    first = next((rule.use for rule in rules if rule.matched), auto.rules[-1].use)
    return Choice(first, tuple(rules))


def _weigh(rule: AutoRule, facts: RequestFacts, prompt: PromptFacts, caller: Caller, policy: Policy) -> Weighed:
    unmet, met = matches(rule.when, prompt)
    if unmet:
        return Weighed(rule.use, matched=False, why=unmet)
    decision = decide_request(replace(facts, model=rule.use), caller, policy)
    return Weighed(rule.use, matched=True, why=met, decision=decision)


def matches(when: Condition, prompt: PromptFacts) -> tuple[str, str]:
    """The first condition that is not met, in words ("" if all are), and all those that are."""
    met: list[str] = []
    for holds, words in _conditions(when, prompt):
        if not holds:
            return f"not: {words}", ""
        met.append(words)
    return "", "; ".join(met) or "no condition"


def _conditions(when: Condition, prompt: PromptFacts) -> list[tuple[bool, str]]:
    """Each condition that is written: does it hold, and how that reads with the figure found."""
    answer = prompt.answer_tokens
    size, said = prompt.characters, "not said" if answer is None else f"{answer} tokens"
    found: list[tuple[bool, str]] = []
    if when.images is not None:
        found.append(((prompt.images > 0) == when.images, f"images: {_word(when.images)} ({prompt.images})"))
    if when.tools is not None:
        found.append(((prompt.tools > 0) == when.tools, f"tools: {_word(when.tools)} ({prompt.tools})"))
    if when.prompt_over is not None:
        found.append((size > when.prompt_over, f"prompt over {when.prompt_over} ({size} characters)"))
    if when.messages_over is not None:
        found.append((prompt.messages > when.messages_over, f"over {when.messages_over} messages ({prompt.messages})"))
    if when.answer_over is not None:
        found.append(((answer or 0) > when.answer_over, f"answer over {when.answer_over} ({said})"))
    if when.code_over is not None:
        share = prompt.code_share
        found.append((share > when.code_over, f"code over {when.code_over:g} ({share:.2f} of the lines)"))
    if when.languages:
        found.append((prompt.language in when.languages, f"language {'/'.join(when.languages)} ({prompt.language})"))
    return found


def _word(value: bool) -> str:  # noqa: FBT001 - it is what is written
    return "true" if value else "false"
