"""Output: what one end of a connection sends (RFC 6455, sections 5.5, 6.1, and 7.1)."""

from __future__ import annotations

from geventws.core.closing import Closing
from geventws.core.exceptions import InvalidState, ProtocolError
from geventws.core.frames import Close, CloseCode, Frame, Opcode
from geventws.core.journal import Journal
from geventws.core.messages import MessageEncoder
from geventws.core.states import Side, State

__all__ = ["SEND_EOF", "Output"]

# In the output, stands for the end of the stream: half-close the TCP connection.
SEND_EOF = b""


class Output:
    """One end of a connection, as far as it sends.

    Args:
        side: which end this is. 5.1: a client masks its frames, a server does not.
        debug: whether to note in the `journal` what happens.
    """

    __slots__ = (
        "_closing",
        "encoder",
        "eof_sent",
        "journal",
        "output",
        "pongs",
        "side",
        "state",
    )

    def __init__(self, side: Side, debug: bool) -> None:
        self.side = side
        self.state = State.CONNECTING
        # What an idle connection does not need is not there yet.
        self._closing: Closing | None = None
        self.eof_sent = False
        # What happened, for the log; the caller empties it once bytes are handed over.
        self.journal = Journal(debug)
        # From messages to bytes.
        self.encoder = MessageEncoder(side is Side.CLIENT, self.journal)
        # Frames and SEND_EOF that wait to be taken by `data_to_send`.
        self.output: list[bytes] | None = None
        # Answers to pings, until they are taken. 5.5.3: "the endpoint MAY elect to send a Pong
        # frame for only the most recently processed Ping frame"; whoever cannot write now
        # should.
        self.pongs: list[bytes] | None = None
        self.journal.debug_line("= connection is %s", State.CONNECTING.name)

    @property
    def closing(self) -> Closing:
        """The close frames received and sent."""
        if self._closing is None:
            self._closing = Closing()
        return self._closing

    def _put(self, data: bytes) -> None:
        """Add to the output."""
        if self.output is None:
            self.output = []
        self.output.append(data)

    def _set_state(self, state: State) -> None:
        self.state = state
        self.journal.debug_line("= connection is %s", state.name)

    def data_to_send(self) -> list[bytes]:
        """Take what must be written to the network; `SEND_EOF` means to half-close it."""
        output = [*(self.pongs or ()), *(self.output or ())]
        self.pongs = self.output = None
        return output

    def send_data(
        self, opcode: Opcode, data: bytes, fin: bool = True, compress: bool | None = None
    ) -> None:
        """Send a message or a fragment; arguments as for `MessageEncoder.encode_data`.

        Raises:
            InvalidState: the connection is not open.
            ProtocolError: the frame may not follow the one before.
        """
        self._require_open()
        self._put(self.encoder.encode_data(opcode, data, fin, compress))

    def send_ping(self, data: bytes) -> None:
        """Send a ping of up to 125 bytes (RFC 6455, section 5.5.2)."""
        self._require_open()
        self._put(self.encoder.encode_control(Opcode.PING, data))

    def send_pong(self, data: bytes) -> None:
        """Send a pong of up to 125 bytes that answers no ping (RFC 6455, section 5.5.3)."""
        self._require_open()
        self._put(self.encoder.encode_control(Opcode.PONG, data))

    def _answer_ping(self, ping: Frame) -> None:
        # 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in
        # response, unless it already received a Close frame."
        if self.pongs is None:
            self.pongs = []
        self.pongs.append(self.encoder.encode_control(Opcode.PONG, ping.data))

    def _require_open(self) -> None:
        if self.state is not State.OPEN:
            raise InvalidState(f"connection is {self.state.name.lower()}")

    def send_close(self, code: int | None = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin the closing handshake (RFC 6455, section 7.1.2).

        Args:
            code: the close code; None sends a close frame without one.
            reason: at most 123 bytes of UTF-8.

        Raises:
            InvalidState: the connection is not open.
            ProtocolError: the code may not be sent, or the reason is too long.
        """
        self._require_open()
        if code is not None:
            close = Close(code, reason)
            self._send_close_frame(close, close.serialize())
        elif reason:
            raise ProtocolError("cannot send a reason without a code")
        else:
            self._send_close_frame(Close(CloseCode.NO_STATUS_RCVD, ""), b"")

    def _send_close_frame(self, close: Close, data: bytes) -> None:
        self._put(self.encoder.encode_control(Opcode.CLOSE, data))
        self.closing.send(close)
        self._set_state(State.CLOSING)

    def send_eof(self) -> None:
        """Half-close the TCP connection, once what stands before in the output is written."""
        if not self.eof_sent:
            self.eof_sent = True
            self._put(SEND_EOF)
            self.journal.debug_line("> EOF")
