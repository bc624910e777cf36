cdef class Journal:
    cdef public bint debug
    cdef list _lines
