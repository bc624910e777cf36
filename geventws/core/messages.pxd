cimport cython

from geventws.core cimport codec, journal
from geventws.core.codec cimport encode_frame

cdef class MessageAssembler:
    cdef public object max_fragments, extensions, opcode
    cdef public bint busy
    cdef codec.FrameDecoder _decoder
    cdef long long _count, _position, _checked
    cdef object _utf8

    cdef _check_place(self, int opcode, bint fin)
    cdef _receive_fragment(self, bytes data, bint fin)
    cdef _check_utf8(self, bytes data, bint fin)
    cdef _reset(self)

cdef class MessageEncoder:
    cdef public object extensions, opcode
    cdef bint _mask
    cdef public journal.Journal _journal

    @cython.locals(kind=int)
    cpdef bytes encode_data(self, object opcode, bytes data, bint fin=*, object compress=*)
