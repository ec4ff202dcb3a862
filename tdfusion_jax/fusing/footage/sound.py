"""The sound of a video, copied into another."""

from typing import Any

from tdfusion_jax.fusing.footage.sources import Footage


class Sound:
  """Sound packets of the first source that has any, copied as they are."""

  def __init__(self, av: Any, out: Any, sources: list[Footage], notes: list[str]):
    self._av, self._out, self._packets = av, out, iter(())
    self._waiting: Any = None
    for source in sources:
      if source._container is None or not source._container.streams.audio:
        continue
      # Opened once more: the packets of one container cannot be read at two places.
      self._file = av.open(source.name)
      stream = self._file.streams.audio[0]
      try:
        self._stream = out.add_stream_from_template(stream)
      except (av.error.FFmpegError, ValueError) as error:
        notes.append(f"no sound: {stream.codec_context.name} does not fit the file ({error})")
        return
      self._packets = self._file.demux(stream)
      return

  def until(self, seconds: float) -> None:
    """Copies what is heard before this time."""
    while True:
      packet = next(self._packets, None) if self._waiting is None else self._waiting
      self._waiting = None
      if packet is None:
        return
      if packet.dts is None:
        continue
      if float(packet.dts * packet.time_base) >= seconds:
        self._waiting = packet
        return
      packet.stream = self._stream
      self._out.mux(packet)
