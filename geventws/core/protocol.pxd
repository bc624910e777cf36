cimport cython

from geventws.core cimport codec, journal, messages

cdef int WHOLE_TEXT, WHOLE_BINARY

cdef class Protocol:
    cdef public object side, state, subprotocol, closing
    cdef public bint eof_sent
    cdef public list pongs, output
    cdef public journal.Journal journal
    cdef public messages.MessageEncoder encoder
    cdef public codec.FrameDecoder decoder
    cdef public messages.MessageAssembler _assembler
    cdef public bint _fast

    @cython.locals(decoder=codec.FrameDecoder, assembler=messages.MessageAssembler, whole=bint)
    cpdef next_event(self)
