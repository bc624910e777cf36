from geventws.core cimport messages
from geventws.net cimport sending

cdef _deliver(sending.Sender connection, opcode, bytes data, dict frames, bint drop_slow)
cdef _obstacle(sending.Sender connection, bint drop_slow)
cdef _write_error(sending.Sender connection)
cdef bytes _encode(sending.Sender connection, opcode, bytes data, dict frames)
