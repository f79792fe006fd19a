"""What every device owes its listener, whatever it reads from."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

import pytest

from tracking.device import Device, DeviceState, OnRaw, OnState
from tracking.igtl.codec import decode

# Far longer than any device needs; reached only when something is broken.
PATIENCE_S = 60.0


class Listener:
    """Keeps what a device says, and tells when enough of it has come."""

    def __init__(self) -> None:
        self.raw: list[tuple[str, float, bytes]] = []
        self.states: list[tuple[str, DeviceState, str]] = []
        self.threads: set[int] = set()
        self.changed = threading.Condition()

    def on_raw(self, source: str, arrival_s: float, raw: bytes) -> None:
        with self.changed:
            self.raw.append((source, arrival_s, raw))
            self.threads.add(threading.get_ident())
            self.changed.notify_all()

    def on_state(self, name: str, state: DeviceState, detail: str) -> None:
        with self.changed:
            self.states.append((name, state, detail))
            self.changed.notify_all()

    def wait_for_messages(self, n: int) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.raw) >= n, PATIENCE_S):
                pytest.fail(f"{len(self.raw)} of {n} messages within {PATIENCE_S} s")


class DeviceContract(ABC):
    """Subclassed for each device; `connected` sources have at least `ENOUGH` messages to give."""

    ENOUGH = 20

    @abstractmethod
    def make(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        """A device with a source that works."""

    @abstractmethod
    def make_broken(self, on_raw: OnRaw, on_state: OnState | None) -> Device:
        """A device whose source is not there."""

    @pytest.fixture
    def listener(self) -> Listener:
        return Listener()

    def test_messages_are_whole_and_in_order(self, listener: Listener) -> None:
        with self.make(listener.on_raw, listener.on_state) as device:
            listener.wait_for_messages(self.ENOUGH)
        arrivals = [arrival for _, arrival, _ in listener.raw]
        assert arrivals == sorted(arrivals)
        stamps: dict[str, list[float]] = {}
        for message in (decode(raw) for _, _, raw in listener.raw):
            stamps.setdefault(message.device, []).append(message.t_s)
        assert stamps == {name: sorted(t_s) for name, t_s in stamps.items()}
        assert {source for source, _, _ in listener.raw} == {device.name}
        assert device.messages == len(listener.raw)

    def test_one_thread_speaks_and_it_is_not_the_callers(self, listener: Listener) -> None:
        with self.make(listener.on_raw, listener.on_state):
            listener.wait_for_messages(self.ENOUGH)
        assert len(listener.threads) == 1
        assert threading.get_ident() not in listener.threads

    def test_nothing_comes_after_stop(self, listener: Listener) -> None:
        device = self.make(listener.on_raw, listener.on_state)
        device.start()
        listener.wait_for_messages(1)
        device.stop()
        heard, told = len(listener.raw), len(listener.states)
        assert [t for t in threading.enumerate() if t.ident in listener.threads] == []
        assert (len(listener.raw), len(listener.states)) == (heard, told)

    def test_states_are_told_in_order(self, listener: Listener) -> None:
        device = self.make(listener.on_raw, listener.on_state)
        assert device.state is DeviceState.IDLE
        device.start()
        listener.wait_for_messages(self.ENOUGH)
        device.stop()
        states = [state for _, state, _ in listener.states]
        assert states[0] is DeviceState.CONNECTING
        assert DeviceState.CONNECTED in states
        assert states[-1] is device.state
        assert device.state in (DeviceState.STOPPED, DeviceState.FINISHED)
        assert {name for name, _, _ in listener.states} == {device.name}

    def test_it_may_be_stopped_by_its_listener(self, listener: Listener) -> None:
        made: list[Device] = []

        def hear(source: str, arrival_s: float, raw: bytes) -> None:
            listener.on_raw(source, arrival_s, raw)
            made[0].stop()

        made.append(self.make(hear, listener.on_state))
        made[0].start()
        listener.wait_for_messages(1)
        made[0].stop()  # from here it waits for the end of the device's thread
        assert made[0].state is DeviceState.STOPPED
        assert [state for _, state, _ in listener.states][-1] is DeviceState.STOPPED
        assert len(listener.raw) == made[0].messages == 1

    def test_stop_may_be_repeated_and_come_first(self, listener: Listener) -> None:
        device = self.make(listener.on_raw, listener.on_state)
        device.stop()
        device.stop()
        assert device.state is DeviceState.STOPPED
        with pytest.raises(RuntimeError, match="was started before"):
            device.start()
        assert listener.raw == []

    def test_a_device_starts_once(self, listener: Listener) -> None:
        with (
            self.make(listener.on_raw, listener.on_state) as device,
            pytest.raises(RuntimeError, match="was started before"),
        ):
            device.start()

    def test_nobody_needs_to_follow_the_states(self, listener: Listener) -> None:
        with self.make(listener.on_raw, None) as device:
            listener.wait_for_messages(1)
            assert device.wait_for(DeviceState.CONNECTED, DeviceState.FINISHED, timeout_s=PATIENCE_S)

    def test_waiting_for_a_state_ends(self, listener: Listener) -> None:
        device = self.make(listener.on_raw, listener.on_state)
        assert not device.wait_for(DeviceState.CONNECTED, timeout_s=0.0)

    def test_a_missing_source_is_told_and_never_connected(self, listener: Listener) -> None:
        device = self.make_broken(listener.on_raw, listener.on_state)
        device.start()
        with listener.changed:
            told = listener.changed.wait_for(lambda: any(d for _, _, d in listener.states), PATIENCE_S)
        device.stop()
        assert told
        assert DeviceState.CONNECTED not in [state for _, state, _ in listener.states]
        assert listener.raw == []
