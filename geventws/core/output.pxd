from geventws.core cimport journal, messages

cdef class Output:
    cdef public object side, state
    cdef object _closing
    cdef public bint eof_sent
    cdef public journal.Journal journal
    cdef public messages.MessageEncoder encoder
    cdef public list output, pongs
