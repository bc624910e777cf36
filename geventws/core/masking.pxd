cdef void mask(char *target, const char *source, Py_ssize_t size, const char *key) noexcept
cpdef bytes apply_mask(object data, object key, Py_ssize_t start, Py_ssize_t stop)
cpdef bytes unmask(bytearray data, Py_ssize_t pos, Py_ssize_t stop)
cpdef str unmask_text(bytearray data, Py_ssize_t pos, Py_ssize_t stop)
cpdef bytes copy(bytearray data, Py_ssize_t start, Py_ssize_t stop)
