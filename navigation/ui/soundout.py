"""The sound device: samples are pulled in small blocks, so that a count is heard within a tenth of a second."""

from __future__ import annotations

import logging
import time

import numpy as np
from PyQt5.QtCore import QIODevice
from PyQt5.QtMultimedia import QAudio, QAudioDeviceInfo, QAudioFormat, QAudioOutput

from navigation.ui.sound import RATE_HZ, Voice

logger = logging.getLogger(__name__)

# What lies between a sample and the loudspeaker here; the device adds its own.
BUFFER_S = 0.04
BYTES = 2


class _Source(QIODevice):
    """16 bit samples of a voice, as many as are asked for."""

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self._voice = voice

    def readData(self, most: int) -> bytes:
        """At most one buffer at a time: what is rendered later knows more."""
        count = min(most // BYTES, int(BUFFER_S * RATE_HZ))
        samples = self._voice.samples(count, time.monotonic())
        return np.asarray(np.clip(samples, -1.0, 1.0) * 32767.0, dtype="<i2").tobytes()

    def bytesAvailable(self) -> int:
        """It never ends."""
        return int(BUFFER_S * RATE_HZ) * BYTES + super().bytesAvailable()


class SoundOut:
    """Plays a voice on the default device. `fault` says why it cannot; None while it plays."""

    def __init__(self, voice: Voice) -> None:
        self.fault: str | None = None
        self._source = _Source(voice)
        self._output: QAudioOutput | None = None
        self._open()

    def _open(self) -> None:
        device = QAudioDeviceInfo.defaultOutputDevice()
        if device.isNull():
            self.fault = "no sound device"
            return
        wanted = _format()
        if not device.isFormatSupported(wanted):
            self.fault = f"{device.deviceName()} does not play 48 kHz"
            return
        self._output = QAudioOutput(device, wanted)
        self._output.setBufferSize(int(BUFFER_S * RATE_HZ) * BYTES)
        self._source.open(QIODevice.OpenModeFlag.ReadOnly)
        self._output.start(self._source)

    def look(self) -> str | None:
        """What is wrong with the sound now; a device that went away is told."""
        output = self._output
        if output is not None and self.fault is None and output.error() not in _HARMLESS:
            self.fault = "the sound device has gone"
            logger.warning(self.fault)
        return self.fault

    def close(self) -> None:
        """Be quiet."""
        if self._output is not None:
            self._output.stop()
        self._source.close()


# A buffer that ran dry is filled again.
_HARMLESS = (QAudio.Error.NoError, QAudio.Error.UnderrunError)


def _format() -> QAudioFormat:
    found = QAudioFormat()
    found.setSampleRate(RATE_HZ)
    found.setChannelCount(1)
    found.setSampleSize(8 * BYTES)
    found.setCodec("audio/pcm")
    found.setByteOrder(QAudioFormat.Endian.LittleEndian)
    found.setSampleType(QAudioFormat.SampleType.SignedInt)
    return found
