cimport cython

from geventws.core cimport codec, messages, output

cdef int WHOLE_TEXT, WHOLE_BINARY

cdef class Protocol(output.Output):
    cdef public object subprotocol, max_fragments
    cdef public codec.FrameDecoder decoder
    cdef public messages.MessageAssembler _assembler
    cdef public bint _fast

    @cython.locals(decoder=codec.FrameDecoder, assembler=messages.MessageAssembler, whole=bint)
    cpdef next_event(self)
