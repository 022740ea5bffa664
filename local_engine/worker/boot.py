"""From a command line to a loaded model: choose the library, then import it, then load. Runs on the engine thread."""

from __future__ import annotations

import hashlib
import logging
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from local_engine import huge_pages, library, memory
from local_engine.adapter_file import mark, read_adapters
from local_engine.confine import limit_memory
from local_engine.gguf import BadModelFile, Header, read_model
from local_engine.hardware.detect import detect, free_bytes, usable_cores
from local_engine.hardware.offload import Machine as OffloadTo
from local_engine.hardware.offload import offload
from local_engine.jobs import Loaded
from local_engine.launch import EngineSpec
from local_engine.library import Choice
from local_engine.model_file import fingerprint, joined, parts_of
from local_engine.pictures.projector_file import read_projector
from local_engine.pictures.prompt import Eye
from local_engine.scheduling.step import Limits
from local_engine.text.template import ChatTemplate, TemplateRefusal
from local_engine.text.trial import try_template
from local_engine.worker.ranking import RankLoop
from local_engine.worker.thread import Loop, Post

if TYPE_CHECKING:
    from local_engine.native.model import Model
    from local_engine.worker.keeping import Keeper

log = logging.getLogger("local_engine")


class NotEnoughMemory(Exception):
    """The model does not fit; the sentence holds the arithmetic."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to load: the file of `spec.model`; `most_memory` in bytes, 0 as computed; `key` seals what `spec.keep`s."""

    spec: EngineSpec
    path: Path
    state_dir: Path | None = None
    most_memory: int = 0
    key: bytes = b""
    projector: Path | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What memory allows: `swap` tokens kept outside the cache, and weights `copied` instead of mapped."""

    swap: int
    copied: bool


def boot(order: Order, post: Post) -> tuple[Loaded, Loop]:
    """Raises BadModelFile, NotEnoughMemory, NoLibrary or ModelError with a sentence for the operator."""
    spec, path = order.spec, order.path
    header = read_model(parts_of(path))
    eyes = read_projector(order.projector) if order.projector else None
    if eyes and header.ranks:
        raise BadModelFile(f"{path.name} ranks texts: it has no use for a projector")
    need = memory.need(header, spec.context, read_adapters(spec.lora, header), eyes)
    free = free_bytes()
    if short := memory.refusal(need, free):
        raise NotEnoughMemory(short)
    choice = library.choose(library.candidates(), path, order.state_dir, library.run_probe)
    library.select(choice)
    limit_memory(need, order.most_memory)  # after the probe, which has a process of its own
    # The thread that receives a step's tokens must get the interpreter at once, not after the default 5 ms.
    sys.setswitchinterval(0.0005)
    if header.ranks:
        return _load_ranker(spec, path, header, choice, post)
    swap, copied = memory.swap_tokens(need, free, order.most_memory), memory.copies(need, free) and huge_pages.work()
    return _load_writer(order, header, choice, post, Room(swap, copied))


# What is native is imported only within these two: the import itself loads the library that was chosen.


def _load_writer(order: Order, header: Header, choice: Choice, post: Post, room: Room) -> tuple[Loaded, Loop]:
    from local_engine.native.grammar import grammar_for  # noqa: PLC0415 - native: see above
    from local_engine.native.model import offloads  # noqa: PLC0415 - native: see above
    from local_engine.worker.loop import LoopOptions, StepLoop  # noqa: PLC0415 - native: see above
    from local_engine.worker.machine import Machine, Plan, load  # noqa: PLC0415 - native: see above

    spec, path = order.spec, order.path
    limits = Limits(slots=spec.parallel, cells=spec.context, queue=spec.queue, swap=room.swap)
    layers = _layers(order.spec, header, able=offloads())
    machine: Machine = load(
        Plan(
            path,
            limits,
            spec.threads or usable_cores(),
            spec.lora,
            layers,
            copied=room.copied and not layers,
            projector=order.projector,
        ),
        log.info,
    )
    facts, source = _facts(machine.model, spec, path, choice), _source(spec, machine.model)
    if order.projector:
        facts = replace(facts, fingerprint=joined(facts.fingerprint, fingerprint(order.projector)))
    loop = StepLoop(machine, post, LoopOptions(spec.lookup, _keeper(order, facts, source)))
    return replace(
        facts,
        embed_limit=machine.embed_limit,
        template=_template(source, machine.model),
        grammar=grammar_for,
        occupancy=loop.occupancy,
        eye=Eye(machine.projector.layout, secrets.token_bytes(32)) if machine.projector else None,
    ), loop


def _load_ranker(spec: EngineSpec, path: Path, header: Header, choice: Choice, post: Post) -> tuple[Loaded, Loop]:
    from local_engine.native.adapters import Adapters  # noqa: PLC0415 - native: see above
    from local_engine.native.diagnostics import forward_logs  # noqa: PLC0415 - native: see above
    from local_engine.native.model import Model  # noqa: PLC0415 - native: see above
    from local_engine.native.pair import pairing  # noqa: PLC0415 - native: see above
    from local_engine.native.ranker import Ranker  # noqa: PLC0415 - native: see above

    forward_logs()
    threads = spec.threads or usable_cores()
    model = Model(path)
    ranker = Ranker(model, Adapters(model, spec.lora), spec.context, threads, causal=header.causal)
    log.info("%s: ranks texts of up to %d tokens", model.describe(), ranker.limit)
    loop = RankLoop(ranker, threads, post)
    facts = _facts(model, spec, path, choice)
    limit, pair = ranker.limit, pairing(model)
    return replace(facts, context=limit, rank_limit=limit, pair=pair, occupancy=loop.occupancy), loop


def _layers(spec: EngineSpec, header: Header, *, able: bool) -> int:
    """Cards are looked for only when layers may go to one: the tools that tell of them are programs."""
    asked = spec.gpu_layers
    if asked == 0:
        return 0
    gpus = detect().gpus if able and asked is None else ()
    found = offload(asked, OffloadTo(able, gpus), header, spec.context)
    log.info("%d layers go to the graphics card: %s", found.layers, found.reason)
    return found.layers


def _keeper(order: Order, facts: Loaded, template: str | None) -> Keeper | None:
    """A state fits the very model, adapters, template and build that it was made with, and nothing else."""
    if order.spec.keep is None or order.state_dir is None:
        return None
    # Only who keeps prefixes pays for loading the cipher: a start, and a restart, should be quick.
    from importlib.metadata import version  # noqa: PLC0415 - see above

    from local_engine.worker.keeping import Keeper  # noqa: PLC0415 - see above

    parts = (facts.fingerprint, order.spec.sha256, facts.choice.name, version("llama-cpp-python"), template or "")
    identity = hashlib.sha256("\0".join(parts).encode()).digest()
    path = order.state_dir / f"{order.spec.name}.prefixes"
    return Keeper(path, order.key, identity, order.spec.keep.size)


def _facts(model: Model, spec: EngineSpec, path: Path, choice: Choice) -> Loaded:
    """What every model has to tell."""
    return Loaded(
        description=model.describe(),
        fingerprint=mark(fingerprint(path), spec.lora),
        context=min(spec.context, model.trained_context),
        width=model.width,
        vocabulary_size=model.vocabulary_size,
        beginning=(model.bos(),) if model.adds_bos else (),
        choice=choice,
        tokenise=lambda text, special: model.tokenise(text, special=special),
        piece=model.piece,
    )


def _source(spec: EngineSpec, model: Model) -> str | None:
    return Path(spec.chat_template).read_text("utf-8") if spec.chat_template else model.chat_template()


def _template(source: str | None, model: Model) -> ChatTemplate | None:
    """None when the model has no usable template: chat is then refused, completions still work."""
    if source is None:
        log.warning("the model has no chat template: only /v1/completions will answer")
        return None
    try:
        try_template(source)
        bos, eos = model.token_text(model.bos()), model.token_text(model.eos())
        return ChatTemplate(source, model.special_texts(), bos=bos, eos=eos)
    except TemplateRefusal as error:
        log.warning("%s: only /v1/completions will answer", error)
        return None
