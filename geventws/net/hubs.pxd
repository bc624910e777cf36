cdef class HubState:
    cdef public object hub, loop, switch_to_hub, thread, view, keepalive, sender
    cdef public bytearray buffer
    cdef public set streams
    cdef public bint created_hub
    cdef public double turn
    cdef public Py_ssize_t spent
    cdef object __weakref__
