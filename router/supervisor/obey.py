"""What each order does. The answer goes to the terminal that it came from."""

from __future__ import annotations

from policies.choosing import plain_name
from router.channel.control import Message
from router.channel.steering import NarrowTold, asked, told
from router.supervisor.anchoring import Anchoring
from router.supervisor.managed import Managed
from router.supervisor.orders import Order, Told, mistake
from router.supervisor.reload import Reloaded, Reloader

SWITCHED_WITHIN_S = 600.0


class Commander:
    """Takes orders for one service."""

    def __init__(self, reloader: Reloader, managed: Managed, anchoring: Anchoring) -> None:
        self._reloader = reloader
        self._anchoring = anchoring
        self._managed = managed

    async def obey(self, order: Order) -> Told:
        match order.do:
            case "reload" | "lift":
                return _told(await self._reloader.reload("ringfence reload", lift=order.do == "lift"))
            case "narrow":
                return _told(await self._reloader.narrow(order.without, order.reach, "ringfence narrow"))
            case "anchor":
                return await self._anchoring.ask(order.name)
            case "switch":
                return await self._switch(order.name)
            case "stop":
                return await self._stop(order.name)
        return Told(good=False, text=f"'{order.do[:32]}' is no order that this version knows")

    async def asked(self, message: Message) -> Message:
        """The same for an operator who asks over HTTP: a worker knows the key, and can ask for nothing but less."""
        try:
            ask = asked(message)
            reloaded = await self._reloader.narrow(ask.without, ask.reach, f"admin API: {ask.caller}")
        except Exception as error:  # noqa: BLE001 - the worker that asked waits for an answer
            return told(message.name, NarrowTold(good=False, text=mistake(error)))
        return told(message.name, NarrowTold(reloaded.taken, reloaded.text, reloaded.unfit))

    async def _switch(self, name: str) -> Told:
        """Load a managed upstream, or the first one that serves a model, and say when it answers."""
        upstream = self._upstream_of(name)
        if not upstream:
            return self._not_managed(name)
        self._managed.order(upstream)
        row = await self._managed.until_ready(upstream, SWITCHED_WITHIN_S)
        good = row.state == "ready"
        return Told(good, f"{upstream}: {row.state}" + (f" ({row.reason})" if row.reason and not good else ""))

    async def _stop(self, name: str) -> Told:
        """Stop one, or all: what runs is finished first; the next request for it starts it again."""
        names = [name] if name else self._managed.names()
        if not names:
            return Told(good=False, text="the settings name no program that this service runs")
        if not self._managed.managed(names[0]):
            return self._not_managed(name)
        stopping = [one for one in names if self._managed.dismiss(one)]
        gone = {one: await self._managed.until_gone(one, SWITCHED_WITHIN_S) for one in stopping}
        lines = [f"{one}: {'stopped' if done else 'still finishes what runs'}" for one, done in gone.items()]
        return Told(good=all(gone.values()), text="\n".join(lines) or "nothing was running")

    def _upstream_of(self, name: str) -> str:
        """The managed upstream of this name, or the first one of the model's; "" if there is none."""
        if self._managed.managed(name):
            return name
        policy = self._reloader.policy
        model = policy.models.get(plain_name(name, policy))
        tiers = model.tiers if model is not None else ()
        upstreams = [one for tier in tiers for one in policy.tiers[tier].upstreams]
        return next((one for one in upstreams if self._managed.managed(one)), "")

    def _not_managed(self, name: str) -> Told:
        known = ", ".join(self._managed.names()) or "none"
        return Told(
            good=False, text=f"'{name[:64]}' is no program that this service runs, nor a model of one ({known})"
        )


def _told(reloaded: Reloaded) -> Told:
    return Told(reloaded.taken, reloaded.text)
