cdef class Journal:
    cdef public bint debug
    cdef public list lines
