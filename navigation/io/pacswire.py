"""One association with a PACS: C-ECHO, C-FIND, C-GET and C-STORE, for a process with bounded memory and time.

It opens no port, and gets instances over its own association (DICOM PS3.4 C.4.3).
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.dimse_primitives import C_STORE

from navigation.io import pacscontexts
from navigation.io.dicom_headers import PARSER_FAULTS
from navigation.io.pacssettings import Peer
from navigation.io.pacsstore import OUT_OF_RESOURCES, Intake
from navigation.io.pacswatch import CANCEL_S, LEAVE_S, LastFault, Watch, cause

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pynetdicom.association import Association

LONGEST_TEXT = 256
# We announce 16 KiB. Some peers send a little more than they may; this much no one does.
_MOST_AT_ONCE = 4 << 20
# A peer that breaks off sooner than this is asked once more.
AGAIN_WITHIN_S = 2.0
_PENDING = (0xFF00, 0xFF01)
_MESSAGE_ID = 1


class Refusal(Exception):
    """The peer does not do what is asked; the words name it."""


class Conversation:
    """One association with the peer."""

    def __init__(self, peer: Peer, watch: Watch) -> None:
        self.peer, self.watch = peer, watch
        self.faults = LastFault()
        self.association: Association | None = None
        self.asked: str | None = None
        self.intake: Intake | None = None
        logger = logging.getLogger("pynetdicom")
        logger.handlers, logger.propagate = [self.faults], False
        logger.setLevel(logging.ERROR)
        watch.leave = self._leave

    def open(
        self,
        services: Sequence[str],
        storage: Sequence[tuple[str, tuple[str, ...]]] = (),
        sent: Sequence[str] = (),
    ) -> None:
        """Associate; instances of classes in `storage` may come, those of `sent` go. Raises Refusal."""
        entity = AE(ae_title=self.peer.calling_aet)
        entity.connection_timeout = entity.acse_timeout = self.peer.timeout_s
        entity.dimse_timeout = entity.network_timeout = None  # the watch knows whether data still come
        both = [pacscontexts.EXPLICIT, pacscontexts.IMPLICIT]
        contexts = [build_context(uid, both) for uid in services]
        # One syntax to a context: what goes out travels as it was written wherever the peer takes that.
        contexts += [build_context(uid, syntax) for uid in sent for syntax in both]
        contexts += [build_context(uid, list(syntaxes)) for uid, syntaxes in storage]
        roles = [
            build_role(uid, scp_role=True, scu_role=True) for uid in dict.fromkeys(u for u, _ in storage)
        ]
        began_s = time.monotonic()
        association = self._associate(entity, contexts, roles)
        # A peer that rejects and closes at once may take its own words back with a reset of the connection.
        broken_off = association.is_aborted and self.watch.connected and self.faults.fault is None
        if broken_off and time.monotonic() - began_s < AGAIN_WITHIN_S:
            association = self._associate(entity, contexts, roles)
        if not association.is_established:
            raise Refusal(self._why_not(association))
        self.association = association

    def _associate(self, entity: AE, contexts: list[Any], roles: list[Any]) -> Association:
        try:
            return entity.associate(
                self.peer.host,
                self.peer.port,
                contexts=contexts,
                ae_title=self.peer.called_aet,
                ext_neg=list(roles),
                tls_args=self._tls(),
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, _prepare, [self.watch]),
                    (evt.EVT_C_STORE, self._store),
                ],
            )
        except OSError as fault:
            raise Refusal(f"cannot be reached: {cause(fault)}") from None

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        tls = self.peer.tls
        if tls is None:
            return None
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
        return context, self.peer.host

    def _why_not(self, association: Association) -> str:
        if association.is_rejected:
            said = association.acceptor.primitive
            reason = "" if said is None else said.reason_str
            return (
                f"refuses the association of {self.peer.calling_aet} ({reason.lower() or 'no reason given'})"
            )
        if isinstance(self.faults.fault, ssl.SSLError):
            return f"cannot be reached: no secure connection ({self.faults.fault.reason.lower()})"
        if isinstance(self.faults.fault, OSError):
            words = "answers as no PACS does" if self.watch.connected else "cannot be reached"
            return f"{words}: {cause(self.faults.fault)}"
        if association.rejected_contexts:
            return "offers none of the services asked for"
        return "answers as no PACS does"

    def _opened(self) -> Association:
        if self.association is None:
            raise RuntimeError("no association yet")
        return self.association

    def offers(self, service: str) -> bool:
        """Whether the peer has accepted this class."""
        return any(c.abstract_syntax == service for c in self._opened().accepted_contexts)

    def stores(self) -> set[str]:
        """Storage classes that the peer may send to us."""
        return {str(c.abstract_syntax) for c in self._opened().accepted_contexts if c.as_scp}

    def echo(self) -> int | None:
        """Status of a C-ECHO, None if there was no answer."""
        self.watch.hear()
        return status_of(self._opened().send_c_echo())

    def find(self, keys: Mapping[str, str], most: int) -> tuple[list[dict[str, Any]], bool]:
        """At most `most` answers, and whether they are all. Raises Refusal."""
        if not self.offers(pacscontexts.FIND):
            raise Refusal("offers no C-FIND in the study root model")
        found: list[dict[str, Any]] = []
        self.asked = pacscontexts.FIND
        self.watch.hear()
        responses = self._opened().send_c_find(_identifier(keys), pacscontexts.FIND, msg_id=_MESSAGE_ID)
        for status, answer in responses:
            code = status_of(status)
            if code in _PENDING:
                if len(found) == most:
                    return found, False
                found.append(facts_of(answer, keys))
            elif code != 0:
                raise self._broken("C-FIND", code)
        self.asked = None
        return found, True

    def get(self, study: str, series: str) -> Dataset:
        """All instances of a series into the intake; the last status. Raises Refusal when there is none."""
        self.asked = pacscontexts.GET
        self.watch.hear()
        keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study, "SeriesInstanceUID": series}
        last = Dataset()
        responses = self._opened().send_c_get(_identifier(keys), pacscontexts.GET, msg_id=_MESSAGE_ID)
        for status, _ in responses:
            last = status
            self.watch.hear()
        code = status_of(last)
        if code is None or code in _PENDING:
            raise self._broken("C-GET", None)
        self.asked = None
        return last

    def send(self, instance: Dataset) -> int:
        """C-STORE of one instance; its status. Raises Refusal when there is none, or its class is not taken."""
        self.watch.hear()
        try:
            code = status_of(self._opened().send_c_store(instance, msg_id=_MESSAGE_ID))
        except ValueError:
            raise Refusal(f"does not take {instance.SOPClassUID.name}") from None
        if code is None:
            raise self._broken("C-STORE", None)
        return code

    def _broken(self, what: str, code: int | None) -> Refusal:
        if code is not None:
            return Refusal(f"refuses {what} (status {code:04X})")
        fault = self.faults.fault
        return Refusal(
            f"{'ended the connection' if fault is None else cause(fault)} in the middle of a {what}"
        )

    def _store(self, event: evt.Event) -> int:
        request = event.request
        if self.intake is None or not isinstance(request, C_STORE):
            return OUT_OF_RESOURCES
        try:
            sop_class, instance = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
            return self.intake.take(event.dataset_path, sop_class, instance)
        except OSError as fault:
            self.watch.fault(fault)

    def _leave(self) -> None:
        """C-CANCEL of what is asked, then A-ABORT (PS3.7 9.3.2.3), without waiting for a peer that hangs."""
        association = self.association
        if association is None or not association.is_established:
            return
        with suppress(ValueError, RuntimeError, OSError):
            if self.asked is not None:
                association.send_c_cancel(_MESSAGE_ID, query_model=self.asked)
                self._await_end_of_question()
        association.abort(block=False)
        end = time.monotonic() + LEAVE_S
        while association.is_alive() and time.monotonic() < end:
            time.sleep(0.01)

    def _await_end_of_question(self) -> None:
        """Give the peer a moment to end on its own, where another thread would hear of it."""
        end = time.monotonic() + CANCEL_S
        elsewhere = threading.current_thread() is not threading.main_thread()
        while elsewhere and self.asked is not None and time.monotonic() < end:
            time.sleep(0.01)

    def close(self) -> None:
        """Release; of an association with a question still open, abort; one that never was has no end."""
        association = self.association
        if association is None:
            return
        association.acse_timeout = LEAVE_S
        if self.asked is None:
            association.release()
        else:
            self._leave()


def _prepare(event: evt.Event, watch: Watch) -> None:
    """Make a new connection send each piece at once, and take no more at a time than was announced.

    Command and data go as two pieces, for which Nagle's wait would cost 40 ms an image. The library would
    take 4 GiB into memory because a header says so.
    """
    outer = event.assoc.dul.socket
    if outer is None or outer.socket is None:
        return
    connection: socket.socket = outer.socket
    watch.connected = True
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def bounded(count: int) -> bytearray:
        if count > _MOST_AT_ONCE:
            raise OSError(errno.EMSGSIZE, "sends more at once than was announced")
        data = bytearray(count)
        view, at = memoryview(data), 0
        while at < count and (got := connection.recv_into(view[at:])):
            watch.hear(got)
            at += got
        return data[:at]

    outer.recv = bounded  # type: ignore[assignment,method-assign]


def status_of(ds: Dataset) -> int | None:
    """The status of a response, None where there was none."""
    code = ds.get("Status")
    return None if code is None else int(code)


def _identifier(keys: Mapping[str, str]) -> Dataset:
    ds = Dataset()
    if not all(value.isascii() for value in keys.values()):
        ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def facts_of(answer: Dataset | None, keys: Mapping[str, str]) -> dict[str, Any]:
    """The keys asked for, as text without control characters; '' where the answer lacks one."""
    facts = {}
    for keyword in keys:
        try:
            element = None if answer is None else answer.get(_tag(keyword))
            facts[keyword] = "" if element is None else _text(element)
        except PARSER_FAULTS:
            facts[keyword] = ""
    return facts


def _tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no DICOM keyword")
    return tag


def _text(element: DataElement) -> str:
    if element.VR == "SQ" or element.value is None:
        return ""
    values = element.value if element.VM > 1 else [element.value]
    joined = "\\".join(str(v) for v in values)[:LONGEST_TEXT]
    return "".join(c if c.isprintable() else " " for c in joined).strip()
