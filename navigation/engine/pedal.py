"""A foot pedal that sends OpenIGTLink: a press, a count, a mark, from clients that the case lists and no others (H40).

It is a client of the engine's own port and sends, as device `Pedal`, a STRING whose text, or a COMMAND whose name and
text, are `press`, words of the console that count, or `removed`. Nothing else is taken from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from navigation.engine.timedwords import count_command
from tracking.errors import InputError
from tracking.igtl.codec import Message
from tracking.igtl.content import StringContent
from tracking.igtl.control import CommandContent

if TYPE_CHECKING:
    from navigation.engine.settings import Settings

logger = logging.getLogger(__name__)

DEVICE, PRESS = "Pedal", "count target"
KEYS = ("clients", "device", "press")
PRESSED = "press"
ORDERS = ("count", "cancel_count")
# A switch bounces, and a foot trembles: no second press so soon is meant.
BOUNCE_S = 0.5
# Nobody says more with a foot.
LONGEST_TEXT = 200

Order = Callable[..., object]
Command = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PedalRole:
    """Which addresses may press, as which device, and what a press does."""

    clients: frozenset[str]
    device: str
    press: str


def pedal_settings(table: object, where: str) -> dict[str, Any] | None:
    """The table as a record keeps it; None without one. Raises InputError beginning with `where`."""
    if table is None:
        return None
    if not isinstance(table, dict):
        raise InputError(f"{where}: is no table")
    unknown = sorted(set(table) - set(KEYS))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}")
    clients = table.get("clients")
    if not isinstance(clients, list) or not clients:
        raise InputError(f"{where}.clients: a list of addresses is missing: who may press?")
    role: dict[str, Any] = {"clients": [_address(c, where) for c in clients]}
    for key, default in (("device", DEVICE), ("press", PRESS)):
        value = table.get(key, default)
        if not isinstance(value, str) or not value:
            raise InputError(f"{where}.{key}: {value!r} is no text")
        role[key] = value
    try:
        pedal_order(role["press"], role["press"], 1.0)
    except InputError as error:
        raise InputError(f"{where}.press: {error}") from None
    return role


def _address(value: object, where: str) -> str:
    try:
        return str(ip_address(str(value)))
    except ValueError:
        raise InputError(f"{where}.clients: {value!r} is no address") from None


def count_order(rest: Sequence[str], seconds: float) -> Command:
    """A count or its end. Raises InputError for what somebody who sees the table has to say."""
    command, content = count_command(rest, seconds)
    if command not in ORDERS:
        raise InputError(
            "a pedal counts and cancels a count; anything else about counts is said at the console"
        )
    return command, content


def removed_order(rest: Sequence[str], _seconds: float) -> Command:
    """A mark where the probe is. Raises InputError for anything more."""
    if rest:
        raise InputError("a pedal says `removed` and nothing more: where is where the probe is")
    return "removed_here", {}


# First word of what a pedal says, and what makes the engine's command of the rest.
WORDS: dict[str, Callable[[Sequence[str], float], Command]] = {
    "count": count_order,
    "removed": removed_order,
}


def pedal_order(text: str, press: str, seconds: float) -> Command:
    """The engine's command for what a pedal says; `press` is what a press does. Raises InputError for anything else."""
    words = (press if text.strip().lower() == PRESSED else text).split()
    if not words or words[0] not in WORDS:
        known = ", ".join(f"`{word} ...`" for word in WORDS)
        raise InputError(f"a pedal says `{PRESSED}` or {known}, not {text[:40]!r}")
    return WORDS[words[0]](words[1:], seconds)


class PedalPort:
    """Turns messages of clients into commands; called on the server's thread. `tell` shows what is refused."""

    def __init__(
        self,
        settings: Settings,
        order: Order,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._role = None if settings.pedal is None else _role(settings.pedal)
        self._seconds = settings.count_s
        self._order = order
        self._tell = tell
        self._clock = clock
        self._last_s = float("-inf")
        self._last_refusal: str | None = None

    def take(self, peer: str, message: Message) -> Message | None:
        """One message of a client; what is not a listed pedal's is left. The answer to a COMMAND, None to others.

        That it was taken does not say that it could be done: what was counted is told to every viewer.
        """
        role, text = self._role, text_of(message)
        if role is None or text is None:
            return None
        if message.device != role.device or peer.rsplit(":", 1)[0] not in role.clients:
            self._refuse(f"{peer} may not send {message.type} {message.device}")
            return answer_to(message, "not allowed")
        now_s = self._clock()
        if now_s - self._last_s < BOUNCE_S:
            return answer_to(message, "too soon after the last one")
        self._last_s = now_s
        try:
            command, content = pedal_order(text[:LONGEST_TEXT], role.press, self._seconds)
        except InputError as error:
            self._refuse(str(error))
            return answer_to(message, "not understood")
        self._order(command, **content, via=role.device)
        return answer_to(message)

    def _refuse(self, words: str) -> None:
        """Told once as long as it repeats itself."""
        if words != self._last_refusal:
            self._last_refusal = words
            logger.warning("refused: %s", words)
            self._tell(words)


def _role(table: Mapping[str, Any]) -> PedalRole:
    return PedalRole(frozenset(table["clients"]), str(table["device"]), str(table["press"]))


def text_of(message: Message) -> str | None:
    """What a STRING says, or name and text of a COMMAND; None of any other message."""
    if isinstance(message.body, StringContent):
        return message.body.text
    if isinstance(message.body, CommandContent):
        return f"{message.body.name} {message.body.text}".strip()
    return None


def answer_to(message: Message, error: str = "") -> Message | None:
    """RTS_COMMAND for a COMMAND, with what was wrong where its name would be; nothing for other types."""
    if not isinstance(message.body, CommandContent):
        return None
    body = CommandContent(message.body.command_id, error, "" if error else "taken")
    return Message("RTS_COMMAND", message.device, message.t_s, message.version, {}, body)
