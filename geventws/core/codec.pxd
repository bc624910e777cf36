cimport cython

from geventws.core cimport payload
from geventws.core.masking cimport apply_mask, copy, unmask, unmask_text

cdef int WHOLE_TEXT, WHOLE_BINARY, RSV_BITS, CONTROL_BIT, KIND_BITS, MASK_BIT, LENGTH_BITS
cdef bytes PLAIN
cdef bytearray NOTHING
cdef list TEXT_HEADERS, BINARY_HEADERS

@cython.locals(length=Py_ssize_t, mask_bit=int, header=bytes, key=bytes)
cpdef bytes encode_frame(int head, bytes payload, bint mask)

cdef class FrameDecoder:
    cdef public long long max_size, max_fragment_size, message_size
    cdef public int rsv, head
    cdef public bint discarding, empty
    cdef public bytes partial
    cdef int _mask_bit
    cdef bytearray _data
    cdef Py_ssize_t _pos, _end
    cdef payload.Payload _payload
    cdef long long _size

    cpdef lend(self, bytearray buffer, Py_ssize_t size)
    cpdef keep(self)
    cdef _forget(self)
    cpdef discard(self)
    @cython.locals(data=bytearray, pos=Py_ssize_t, end=Py_ssize_t, head=int, length="long long",
                   mask_bit=int, width=int, start=Py_ssize_t, stop=Py_ssize_t)
    cpdef decode(self, bint text=*)
    @cython.locals(data=bytearray)
    cdef long long _decode_length(self, Py_ssize_t pos, int width) except -1
    cdef _begin_payload(self, int head, Py_ssize_t pos, Py_ssize_t start, long long length)
    @cython.locals(payload=payload.Payload)
    cdef bytes _decode_rest(self)
    cdef _check_head(self, int head, int length)
    cdef _refuse_length(self, int head, long long length)
