"""permessage-deflate: the payload of messages compressed with DEFLATE (RFC 7692, section 7.2)."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Hashable
from typing import Any

from geventws.core.exceptions import PayloadTooBig, ProtocolError
from geventws.core.extensions import Extension
from geventws.core.frames import Frame, Opcode

__all__ = ["PerMessageDeflate"]

CONT, CLOSE = Opcode.CONT, Opcode.CLOSE
SYNC_FLUSH = zlib.Z_SYNC_FLUSH

# zlib takes no higher limit.
MAX_ROOM = sys.maxsize

# What Z_SYNC_FLUSH ends with: an empty block without compression, minus its header.
TAIL = b"\x00\x00\xff\xff"

# 7.1.2: a window has 2 ** 8 to 2 ** 15 bytes, and 2 ** 15 where nothing is agreed.
MIN_WINDOW_BITS, MAX_WINDOW_BITS = 8, 15

# zlib has no correct raw compressor with a window of 2 ** 8 bytes (madler/zlib#171).
MIN_OWN_WINDOW_BITS = 9

# Blocks with BFINAL in one frame. Each makes a new decompressor, so a frame full of them is
# an attack; a compressor that flushes with BFINAL needs one for each piece it was given.
MAX_FINAL_BLOCKS = 100


class PerMessageDeflate(Extension):
    """permessage-deflate on one connection; the factories make it from what was negotiated.

    "Local" is what this side compresses, "remote" what the peer compresses.

    Args:
        remote_no_context_takeover: whether the peer begins each message without a history.
        local_no_context_takeover: whether this side does.
        remote_max_window_bits: the peer's window has at most ``2 ** bits`` bytes: 8 to 15.
        local_max_window_bits: this side's window has ``2 ** bits`` bytes: 9 to 15.
        compress_settings: more keyword arguments for `zlib.compressobj`, all but ``wbits``.
        threshold: a message whose first frame has fewer bytes is sent uncompressed; 0
            compresses all.

    Raises:
        ValueError: a window size is out of its range.
    """

    __slots__ = (
        "_compressor",
        "_decompressor",
        "_is_rcvd_compressed",
        "_is_sent_compressed",
        "compress_settings",
        "local_max_window_bits",
        "local_no_context_takeover",
        "remote_max_window_bits",
        "remote_no_context_takeover",
        "threshold",
    )

    name = "permessage-deflate"

    # 6: RSV1 of a message's first frame tells "whether a message is compressed or not".
    rsv1 = True

    def __init__(
        self,
        remote_no_context_takeover: bool,
        local_no_context_takeover: bool,
        remote_max_window_bits: int,
        local_max_window_bits: int,
        compress_settings: dict[str, Any] | None = None,
        threshold: int = 0,
    ) -> None:
        check_window_bits("remote_max_window_bits", remote_max_window_bits, MIN_WINDOW_BITS)
        check_window_bits("local_max_window_bits", local_max_window_bits, MIN_OWN_WINDOW_BITS)
        self.remote_no_context_takeover = remote_no_context_takeover
        self.local_no_context_takeover = local_no_context_takeover
        self.remote_max_window_bits = remote_max_window_bits
        self.local_max_window_bits = local_max_window_bits
        self.compress_settings = compress_settings
        self.threshold = threshold
        # The contexts, made when first used: many connections are idle, or one-way.
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None
        # Whether the message whose fragments are arriving, or being sent, is compressed.
        self._is_rcvd_compressed = False
        self._is_sent_compressed = False

    def __repr__(self) -> str:
        return (
            f"PerMessageDeflate(remote_no_context_takeover={self.remote_no_context_takeover}, "
            f"local_no_context_takeover={self.local_no_context_takeover}, "
            f"remote_max_window_bits={self.remote_max_window_bits}, "
            f"local_max_window_bits={self.local_max_window_bits}, "
            f"compress_settings={self.compress_settings}, threshold={self.threshold})"
        )

    def __eq__(self, other: object) -> bool:
        """Tell whether both are configured alike, whatever they have compressed."""
        if not isinstance(other, PerMessageDeflate):
            return NotImplemented
        return repr(self) == repr(other)

    # Receiving

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decompress a frame that arrived.

        Args:
            frame: any frame; control frames and uncompressed messages come back as they are.
            max_size: how many bytes may come out; None for any number. At most one byte
                beyond them is ever decompressed.

        Returns:
            The frame with its payload decompressed and RSV1 cleared.

        Raises:
            ProtocolError: the payload is not DEFLATE, or RSV1 is where it may not be.
            PayloadTooBig: more than ``max_size`` bytes would come out.
        """
        opcode, data, fin, rsv1, rsv2, rsv3 = frame
        if opcode >= CLOSE:
            return frame
        if opcode is not CONT:
            self._is_rcvd_compressed = rsv1
        # 6: "An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and
        # non-first fragments of a data message. An endpoint receiving such a frame MUST _Fail
        # the WebSocket Connection_." The codec refuses reserved bits of control frames.
        elif rsv1:
            raise ProtocolError("RSV1 bit set in continuation frame")
        if not self._is_rcvd_compressed:
            return frame
        # 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the
        # message."
        try:
            data = self._decompress(data, TAIL if fin else b"", max_size)
        except zlib.error as exc:
            raise ProtocolError("decompression failed") from exc
        if fin and self.remote_no_context_takeover:
            self._decompressor = None
        return Frame(opcode, data, fin, False, rsv2, rsv3)

    def _decompress(self, data: bytes, tail: bytes, max_size: int | None) -> bytes:
        """Decompress the next bytes of the peer's stream, and the tail that it leaves out."""
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = self._decompressor = self._make_decompressor()
        # A byte of room more than allowed tells what fits from what does not.
        room = MAX_ROOM if max_size is None or max_size >= MAX_ROOM else max_size + 1
        result = decompressor.decompress(data + tail, room)
        if decompressor.eof:
            result = self._decompress_further(result, decompressor.unused_data, tail, room)
        if max_size is not None and len(result) > max_size:
            raise PayloadTooBig(None, max_size)
        return result

    def _decompress_further(self, result: bytes, rest: bytes, tail: bytes, room: int) -> bytes:
        """Decompress what follows a block with BFINAL, where zlib takes its stream to end.

        7.2.1: "An endpoint MAY use both DEFLATE blocks with the "BFINAL" bit set to 0 and
        DEFLATE blocks with the "BFINAL" bit set to 1." A compressor has no history after it.
        """
        results = [result]
        for _ in range(MAX_FINAL_BLOCKS):
            self._decompressor = None
            room -= len(results[-1])
            # A tail alone completes nothing: some leave out the empty block after a final one.
            if rest == tail or not room:
                return b"".join(results)
            decompressor = self._decompressor = self._make_decompressor()
            results.append(decompressor.decompress(rest, room))
            if not decompressor.eof:
                return b"".join(results)
            rest = decompressor.unused_data
        raise ProtocolError("too many final blocks in a compressed frame")

    def _make_decompressor(self) -> zlib._Decompress:
        # A peer that agreed to 8 may use 9: zlib did so silently before it refused 8.
        return zlib.decompressobj(wbits=-max(self.remote_max_window_bits, MIN_OWN_WINDOW_BITS))

    # Sending

    def encode(self, frame: Frame, *, compress: bool | None = None) -> Frame:
        """Compress a frame that is to be sent.

        Args:
            frame: any frame; control frames come back as they are.
            compress: whether to compress the message whose first frame this is; None
                compresses it if the frame has ``threshold`` bytes or more. The other frames
                of a message follow the first.

        Returns:
            The frame with its payload compressed, and RSV1 set if it is a message's first;
            the frame as it is if its message is left uncompressed.
        """
        opcode, data, fin, _, rsv2, rsv3 = frame
        if opcode >= CLOSE:
            return frame
        is_first = opcode is not CONT
        if is_first:
            self._is_sent_compressed = len(data) >= self.threshold if compress is None else compress
        if not self._is_sent_compressed:
            return frame
        compressor = self._compressor
        if compressor is None:
            compressor = self._compressor = self._make_compressor()
        # zlib answers a flush right after another with nothing; compress(), even of no bytes,
        # in between makes it write the empty block that an empty payload needs.
        data = compressor.compress(data)
        if not fin:
            return Frame(opcode, data + compressor.flush(SYNC_FLUSH), fin, is_first, rsv2, rsv3)
        # 7.2.1: "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end."
        data += compressor.flush(SYNC_FLUSH)[:-4]
        if self.local_no_context_takeover:
            self._compressor = None
        return Frame(opcode, data, fin, is_first, rsv2, rsv3)

    def begin_shared(self) -> Hashable | None:
        """Forget what was sent before; see `Extension.begin_shared`.

        The peer may keep its history: a message that refers to none is decompressed alike
        with any, and so is what follows it, if our history begins with it as well.
        """
        self._compressor = None
        settings = tuple(sorted((self.compress_settings or {}).items()))
        return self.name, self.local_max_window_bits, self.threshold, settings

    def _make_compressor(self) -> zlib._Compress:
        return zlib.compressobj(wbits=-self.local_max_window_bits, **self.compress_settings or {})


def check_window_bits(name: str, bits: int, lowest: int) -> None:
    """Check a window size.

    Raises:
        ValueError: it is not between ``lowest`` and 15.
    """
    if not lowest <= bits <= MAX_WINDOW_BITS:
        raise ValueError(f"{name} must be between {lowest} and {MAX_WINDOW_BITS}, not {bits}")
