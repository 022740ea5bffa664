"""What each order does. The answer goes to the terminal that it came from."""

from __future__ import annotations

from policies import Reach
from policies.narrowing import Narrowing
from router.supervisor.orders import Order, Told
from router.supervisor.reload import Reloaded, Reloader

REACHES = {reach.word: reach for reach in Reach}


class Commander:
    """Takes orders for one service."""

    def __init__(self, reloader: Reloader) -> None:
        self._reloader = reloader

    async def obey(self, order: Order) -> Told:
        match order.do:
            case "reload" | "lift":
                return _told(await self._reloader.reload("ringfence reload", lift=order.do == "lift"))
            case "narrow":
                return await self.narrow(order, "ringfence narrow")
        return Told(good=False, text=f"'{order.do[:32]}' is no order that this version knows")

    async def narrow(self, order: Order, actor: str) -> Told:
        """Less of what is in force; a name or word that there is none of is refused, not ignored."""
        unknown = [name for name in order.without if not self._reloader.lists(name)]
        if unknown:
            return Told(good=False, text=f"no upstream is called '{unknown[0][:64]}'")
        if order.reach and order.reach not in REACHES:
            return Told(good=False, text=f"the reach must be one of {', '.join(REACHES)}")
        reach = REACHES[order.reach] if order.reach else Reach.RENTED
        return _told(await self._reloader.narrow(Narrowing(frozenset(order.without), reach), actor))


def _told(reloaded: Reloaded) -> Told:
    return Told(reloaded.taken, reloaded.text)
