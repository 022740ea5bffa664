"""New settings for a running service: load, narrow as it was told, swap in whole; or keep the old ones and say why."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policies import Policy
from policies.narrowing import (
    Narrowing,
    NotNarrower,
    Unfit,
    asked_narrowing,
    beside,
    followed,
    located,
    narrow,
    unlisted,
)
from router.logs import Log
from router.settings.compiling import digest
from router.settings.findings import SettingsError
from router.settings.snapshot import Snapshot, TlsMaterial
from router.supervisor.handing import CannotReload
from router.supervisor.tree import Tree
from router.unforeseen import described

IN_FORCE_S: Final = 20.0
NOT_WATCHED_S: Final = 1.0
Say = Callable[[str], None]
Load = Callable[[], Snapshot]
Signature = tuple[tuple[int, int, int] | None, ...]


class Reloaded(Struct, frozen=True):
    """How one reload ended; `text` is for the operator's terminal."""

    taken: bool
    text: str
    unfit: Unfit | None = None  # of what was to be narrowed, and is no narrowing


class Reloader:
    """One reload at a time, whoever asks: SIGHUP, `ringfence reload`, a changed file, `ringfence narrow`."""

    def __init__(self, snapshot: Snapshot, tree: Tree, load: Load, say: Say) -> None:
        self._loaded = snapshot  # as the file has it, before anything is taken away
        self._tree = tree
        self._load = load
        self._say = say
        self._narrowing = Narrowing()
        self._unlisted: dict[str, tuple[str, ...]] = {}  # what it names in vain, and who is in that place now
        self._log = Log("supervisor")
        self._seen = signature(snapshot.files)
        self._reading = asyncio.Lock()  # taken before `_turn`
        self._turn = asyncio.Lock()  # of what changes the settings in force; a narrowing waits for no file
        self._signalled = False  # a SIGHUP waits for its turn

    async def reload(self, actor: str, *, lift: bool = False) -> Reloaded:
        """Read the settings again. What the service was narrowed by stays, unless it is lifted."""
        async with self._reading:
            return await self._reload(actor, lift=lift)

    async def signalled(self) -> None:
        """SIGHUP. One that waits for its turn reads what is there then: further ones need not wait beside it."""
        if self._signalled:
            return
        self._signalled = True
        async with self._reading:
            self._signalled = False
            await self._reload("SIGHUP", lift=False)

    async def _reload(self, actor: str, *, lift: bool) -> Reloaded:
        """What is taken away while the file is read stays away; nothing is while a lift is under way."""
        async with self._turn if lift else contextlib.nullcontext():
            loaded = await self._read(actor)
            if isinstance(loaded, Reloaded):
                return loaded
            if lift:
                return await self._swap(loaded, Narrowing(), actor)
        async with self._turn:
            return await self._swap(loaded, self._narrowing, actor)

    async def _read(self, actor: str) -> Snapshot | Reloaded:
        """The file's settings, or how they were refused."""
        self._seen = signature(self._loaded.files)
        try:
            return await _aside(self._load)
        except SettingsError as error:
            return self._refused(str(error), in_public(error), actor)
        except CannotReload as error:
            return self._refused(str(error), str(error), actor)
        except OSError as error:  # the working directory is gone: what is asked for by a path needs one
            reason = f"the settings cannot be read: {error.strerror}: is the working directory still there?"
            return self._refused(reason, reason, actor)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is refused and recorded as any other mistake
            reason = f"the settings cannot be read, by a mistake of ours: {described(error)}"
            return self._refused(reason, reason, actor)

    async def narrow(self, without: Sequence[str], reach: str, actor: str) -> Reloaded:
        """Take something away from the settings in force; what would not take away is refused. Both are recorded."""
        async with self._turn:
            asked = asked_narrowing(without, reach, self._narrowing, self._loaded.policy.upstreams)
            if isinstance(asked, NotNarrower):
                reloaded = Reloaded(taken=False, text=asked.text, unfit=asked.reason)
            else:
                both = self._narrowing.and_also(located(asked, self._loaded.policy))
                reloaded = await self._swap(self._loaded, both, actor)
            self._record(asked, reloaded, actor)
            return reloaded

    def _record(self, asked: Narrowing | NotNarrower, reloaded: Reloaded, actor: str) -> None:
        """As an `admin` record: who asked for what, and what came of it. What was refused is not repeated."""
        target = asked.words if isinstance(asked, Narrowing) else ""
        result = "taken" if reloaded.taken else f"refused: {reloaded.unfit or 'see the reload record'}"
        if reloaded.taken and (others := self._beside()):
            result += f"; {others}"
        self._tree.ordered({"action": "narrow", "actor": actor, "target": target, "result": result})

    def _beside(self) -> str:
        """Who is away though nobody named it, in words."""
        known = {name for there in self._unlisted.values() for name in there}
        others = [name for name in beside(self._narrowing, self._loaded.policy) if name not in known]
        return f"at an address that is left out, so away too: {', '.join(others)}" if others else ""

    @property
    def front(self) -> TlsMaterial:
        """What the listener shows."""
        return self._loaded.front

    @property
    def policy(self) -> Policy:
        """As the file has it."""
        return self._loaded.policy

    async def watch(self) -> None:
        """Reload when one of the files has changed, and then not again for one look: it is written whole."""
        before = self._seen
        while True:
            await asyncio.sleep(self._loaded.watch_s or NOT_WATCHED_S)
            now = signature(self._loaded.files)
            if self._loaded.watch_s and now != self._seen and now == before:
                await self.reload("watch")
            before = now

    async def _swap(self, loaded: Snapshot, narrowing: Narrowing, actor: str) -> Reloaded:
        narrowing = followed(narrowing, self._loaded.policy, loaded.policy)
        snapshot = narrowed(loaded, narrowing)
        try:
            self._tree.reload(snapshot, actor)
        except CannotReload as error:
            return self._refused(str(error), str(error), actor)
        self._loaded, self._narrowing = loaded, narrowing
        warning = self._look_for_names(actor)
        text = f"Settings taken: policy {snapshot.policy.digest[:16]} from {snapshot.source}"
        if not await self._tree.in_force(IN_FORCE_S):
            text += "; not every process serves by them yet: see /health"
        if others := self._beside():
            text += f"\n{others}"
        text += warning
        self._tell("taken", actor)
        self._say(text)
        return Reloaded(taken=True, text=text)

    def _refused(self, reason: str, public: str, actor: str) -> Reloaded:
        text = f"{reason}\nThe new settings were not taken: the old ones stay in force."
        self._say(text)
        self._tree.refused(reason, actor)
        self._tell("refused", actor, public)
        return Reloaded(taken=False, text=text)

    def _look_for_names(self, actor: str) -> str:
        """A narrowing that the file's new names would end in silence is told of: in the log, the ledger and here."""
        before, self._unlisted = self._unlisted, unlisted(self._narrowing, self._loaded.policy)
        said = {name: _in_vain(name, there) for name, there in self._unlisted.items()}
        for name, text in said.items():
            if before.get(name) != self._unlisted[name]:
                self._log("narrowing_names_nothing", upstream=name, reason=text)
                result = f"not listed any more; at its place: {', '.join(self._unlisted[name]) or 'nothing'}"
                self._tree.ordered({"action": "narrow", "actor": actor, "target": f"without {name}", "result": result})
        return "".join(f"\nWarning: {text}" for text in said.values())

    def _tell(self, result: str, actor: str, reason: str = "") -> None:
        """As /health shows it, and `GET /admin/narrow` in part."""
        narrowing = self._narrowing
        told = {
            "result": result,
            "at": round(time.time(), 3),
            "by": actor,
            "reason": reason,
            "narrowed": narrowing.words,
            "without": sorted(narrowing.without),
            "reach": narrowing.reach.word,
            "unlisted": self._unlisted,
        }
        self._tree.notice(msgspec.json.encode(told).decode())


async def _aside(load: Load) -> Snapshot:
    """In a thread of its own: a large file takes long to read, and a file system may not answer at all.

    No executor's: its threads are waited for when the loop ends, and a service that is told to stop must not wait.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Snapshot] = loop.create_future()

    def tell(snapshot: Snapshot | None, error: Exception | None) -> None:
        if done.done():  # nobody waits any more
            return
        if snapshot is not None:
            done.set_result(snapshot)
        elif error is not None:
            done.set_exception(error)

    def work() -> None:
        snapshot, failed = None, None
        try:
            snapshot = load()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, snapshot, failed)

    try:
        threading.Thread(target=work, name="settings", daemon=True).start()
    except RuntimeError as error:
        raise CannotReload(f"the settings cannot be read now: {error}: try again") from None
    return await done


def narrowed(snapshot: Snapshot, narrowing: Narrowing) -> Snapshot:
    """The settings with less, under the digest of what is left."""
    if not narrowing.words:
        return snapshot
    policy = narrow(snapshot.policy, narrowing)
    managed = {name: one for name, one in snapshot.managed.items() if name in policy.upstreams}
    left = replace(snapshot, policy=policy, managed=managed)
    source = f"{snapshot.source} ({narrowing.words})"
    return replace(left, policy=replace(left.policy, digest=digest(left)), source=source)


def in_public(error: SettingsError) -> str:
    """Where the first mistake stands and of what kind it is, without what is written there: for /health."""
    first = error.findings[0]
    message = re.sub(r"'[^']*'", "'…'", first.message)
    place = f"{Path(first.file).name}:{first.line}" if first.line else Path(first.file).name
    more = f" (and {len(error.findings) - 1} more)" if len(error.findings) > 1 else ""
    return f"{place}: {first.key}: {message}{more}"


def signature(files: tuple[str, ...]) -> Signature:
    """What changes when a file does; None for one that is not there."""
    return tuple(_one(file) for file in files)


def _one(file: str) -> tuple[int, int, int] | None:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _in_vain(name: str, there: tuple[str, ...]) -> str:
    """What an operator should know of a narrowing by a name that the file has no more."""
    gone = f"the service is narrowed by '{name}', which the settings do not list any more"
    if there:
        return f"{gone}: at its place is {', '.join(there)} now, and stays away too"
    return f"{gone}: if that server is listed by another address now, it is used: 'ringfence narrow' it by its new name"
