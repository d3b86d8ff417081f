/* The plain case of `log`, compiled: the same bytes at the same place as History.log_any and JournalWriter.append make.
 *
 * Optional. Where it cannot be built, client/fastlog.py has the same three bases without this `log`, and every call goes
 * through Python. What is rare (an open row, a given step, a full segment, how media values are encoded, a finished run)
 * is left to Python in both cases: this file holds no rule of its own but the layout of one row.
 *
 *     Counter  base of steps.Steps                  next
 *     Tail     base of journal.writer.JournalWriter busy, word, before, size: where the next record goes; put()
 *     PlainLog base of history.History              plain, slots, steps, tail, encode; log()
 *     copy     bytes of media values on their way out
 *
 * Invariants
 * - From the look at `plain` and `busy` to the commit no Python code runs and the GIL is not let go: that is the lock.
 *   Python code that needs more than one look at these fields holds its own lock and sets `plain` or `busy` first.
 * - The commit is one aligned 8-byte store, made after the bytes that it covers.
 * - Memory is written only within `size` of the buffer that `enter` holds; a held mmap cannot be closed.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>
#include <time.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifdef Py_GIL_DISABLED
#error "the GIL is the lock here"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the journal is little-endian"
#endif

#define COMMITTED_WORD 1
#define ONE_RECORD ((uint64_t)1 << 32)
#define HIGH_FACTOR 0x9E3779B1u
#define HEADER_BYTES 8 /* of a record: length, checksum */
#define SEGMENT_HEADER_BYTES 64
#define COPY_PAST_BYTES (128 << 10) /* what is smaller fits into a core's own cache beside much else */

/* A row's body around its data; see row_body.py. */
static const char HEAD[] = "\x84\xa1t\xa1r\xa1" "d";
static const char STEP_KEY[] = "\xa1s\xd3";
static const char TIME_KEY[] = "\xa1n\xd3";
#define HEAD_BYTES (sizeof(HEAD) - 1)
#define NUMBER_BYTES (sizeof(STEP_KEY) - 1 + 8)

static PyObject *str_body, *str_extra, *str_rich, *str_encode_rich, *str_log_any, *str_log_encoded;
static uint32_t crc_table[8][256];

static void fill_crc_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
        crc_table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            crc_table[k][i] = crc_table[0][crc_table[k - 1][i] & 0xFF] ^ (crc_table[k - 1][i] >> 8);
}

/* zlib.crc32(data, seed), eight bytes at a time ("slicing-by-8", Kounavis and Berry, 2005). */
static uint32_t crc32_of(const char *data, size_t size, uint32_t seed) {
    uint32_t crc = ~seed;
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + 4, 4);
        low ^= crc;
        crc = crc_table[7][low & 0xFF] ^ crc_table[6][(low >> 8) & 0xFF] ^ crc_table[5][(low >> 16) & 0xFF] ^
              crc_table[4][low >> 24] ^ crc_table[3][high & 0xFF] ^ crc_table[2][(high >> 8) & 0xFF] ^
              crc_table[1][(high >> 16) & 0xFF] ^ crc_table[0][high >> 24];
    }
    for (; size; data++, size--) crc = crc_table[0][(crc ^ (unsigned char)*data) & 0xFF] ^ (crc >> 8);
    return ~crc;
}

/* ---- Counter ---- */

typedef struct {
    PyObject_HEAD
    long long next;
} Counter;

static PyMemberDef counter_members[] = {
    {"next", T_LONGLONG, offsetof(Counter, next), 0, "The step that the next call without one belongs to."},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject CounterType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "client._fastlog.Counter",
    .tp_basicsize = sizeof(Counter),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_members = counter_members,
};

/* ---- Tail ---- */

typedef struct {
    PyObject_HEAD
    Py_buffer held; /* .buf is NULL while there is no segment */
    unsigned long long word, before, size;
    char busy;
} Tail;

static void tail_let_go(Tail *self) {
    if (self->held.buf != NULL) {
        PyBuffer_Release(&self->held);
        self->held.buf = NULL;
    }
}

static PyObject *tail_enter(Tail *self, PyObject *memory) {
    Py_buffer fresh;
    if (PyObject_GetBuffer(memory, &fresh, PyBUF_WRITABLE) < 0) return NULL;
    if (fresh.len < SEGMENT_HEADER_BYTES || (uintptr_t)fresh.buf % 8) {
        PyBuffer_Release(&fresh);
        PyErr_SetString(PyExc_ValueError, "a segment is at least a header, aligned to its words");
        return NULL;
    }
    tail_let_go(self);
    self->held = fresh;
    Py_RETURN_NONE;
}

static PyObject *tail_leave(Tail *self, PyObject *Py_UNUSED(ignored)) {
    tail_let_go(self);
    Py_RETURN_NONE;
}

static void tail_dealloc(Tail *self) {
    tail_let_go(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef tail_members[] = {
    {"busy", T_BOOL, offsetof(Tail, busy), 0, "Python code is placing a record, or changing segments."},
    {"word", T_ULONGLONG, offsetof(Tail, word), 0, "The committed word of the segment written to."},
    {"before", T_ULONGLONG, offsetof(Tail, before), 0, "The number of the last record before that segment."},
    {"size", T_ULONGLONG, offsetof(Tail, size), 0, "Its bytes; 0: nothing more goes into it."},
    {NULL, 0, 0, 0, NULL},
};

/* Whether a record of so many bytes behind its header can be committed at once. */
static int tail_has_room(Tail *self, size_t length) {
    if (self->busy || self->held.buf == NULL) return 0;
    size_t start = self->word % ONE_RECORD, total = HEADER_BYTES + length;
    size_t room = self->size < (size_t)self->held.len ? self->size : (size_t)self->held.len;
    return start >= SEGMENT_HEADER_BYTES && start <= room && total <= room - start;
}

/* Behind tail_has_room, with no other code in between. */
static void tail_commit(Tail *self, const char *body, size_t size) {
    size_t start = self->word % ONE_RECORD;
    uint32_t length = (uint32_t)size;
    uint64_t number = self->before + (self->word >> 32) + 1;
    uint32_t seed = (uint32_t)(number ^ (number >> 32) * HIGH_FACTOR); /* see protocol/framing.py */
    uint32_t crc = crc32_of(body, length, seed);
    char *memory = self->held.buf;
    memcpy(memory + start, &length, 4);
    memcpy(memory + start + 4, &crc, 4);
    memcpy(memory + start + HEADER_BYTES, body, length);
    self->word += ONE_RECORD + HEADER_BYTES + length;
    __atomic_store_n((uint64_t *)memory + COMMITTED_WORD, self->word, __ATOMIC_RELEASE); /* the commit */
}

static PyObject *tail_put(Tail *self, PyObject *body) {
    if (!PyBytes_CheckExact(body) || !tail_has_room(self, (size_t)PyBytes_GET_SIZE(body))) Py_RETURN_FALSE;
    tail_commit(self, PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
    Py_RETURN_TRUE;
}

static PyMethodDef tail_methods[] = {
    {"put", (PyCFunction)tail_put, METH_O, "Commit a record, where that needs nothing else. Returns whether it is."},
    {"enter", (PyCFunction)tail_enter, METH_O, "Hold the memory of the segment that is written to from now on."},
    {"leave", (PyCFunction)tail_leave, METH_NOARGS, "Let go of it: it may be closed then."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject TailType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "client._fastlog.Tail",
    .tp_basicsize = sizeof(Tail),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = (destructor)tail_dealloc,
    .tp_members = tail_members,
    .tp_methods = tail_methods,
};

/* ---- PlainLog ---- */

typedef struct {
    PyObject_HEAD
    PyObject *slots;  /* dict: tuple of keys -> Slot */
    PyObject *steps;  /* Counter */
    PyObject *tail;   /* Tail, or None where the stream is no journal */
    PyObject *encode; /* dict -> bytes */
    PyObject *rich;   /* the exception that sends a call to Python, or None */
    PyObject *last_slots, *last_keys, *last_slot; /* the newest find, while `slots` is still the same dict */
    char plain;
} PlainLog;

/* The slot of the dict's keys, or NULL: without an error when there is none. A new reference. */
static PyObject *find_slot(PlainLog *self, PyObject *data) {
    Py_ssize_t count = PyDict_GET_SIZE(data), at = 0, i = 0;
    PyObject *key, *value;
    if (self->last_slots != NULL && self->last_slots == self->slots && PyTuple_GET_SIZE(self->last_keys) == count) {
        /* Programs log the same literals again and again: the very same key objects, in the same order. */
        while (PyDict_Next(data, &at, &key, &value) && key == PyTuple_GET_ITEM(self->last_keys, i)) i++;
        if (i == count) return Py_NewRef(self->last_slot);
    }
    PyObject *keys = PySequence_Tuple(data);
    if (keys == NULL) return NULL;
    PyObject *slots = Py_NewRef(self->slots); /* code of the keys may run, and replace it meanwhile */
    PyObject *slot = PyDict_GetItemWithError(slots, keys);
    if (slot == NULL) {
        Py_DECREF(slots);
        Py_DECREF(keys);
        return NULL;
    }
    Py_INCREF(slot);
    PyObject *old_slots = self->last_slots, *old_keys = self->last_keys, *old_slot = self->last_slot;
    self->last_slots = slots;
    self->last_keys = keys;
    self->last_slot = Py_NewRef(slot);
    Py_XDECREF(old_slots); /* after all three are set: it may run code that logs */
    Py_XDECREF(old_keys);
    Py_XDECREF(old_slot);
    return slot;
}

static char *put_number(char *at, const char *key, uint64_t value) {
    memcpy(at, key, NUMBER_BYTES - 8);
    value = __builtin_bswap64(value);
    memcpy(at + NUMBER_BYTES - 8, &value, 8);
    return at + NUMBER_BYTES;
}

static PyObject *row_body(const char *data, size_t size, int64_t step) {
    PyObject *body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(HEAD_BYTES + size + 2 * NUMBER_BYTES));
    if (body == NULL) return NULL;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char *at = PyBytes_AS_STRING(body);
    memcpy(at, HEAD, HEAD_BYTES);
    memcpy(at + HEAD_BYTES, data, size);
    at = put_number(at + HEAD_BYTES + size, STEP_KEY, (uint64_t)step);
    put_number(at, TIME_KEY, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    return body;
}

/* 1: the row is committed. 0: this is no plain case. -1: an error is set. */
static int put_row(PlainLog *self, PyObject *slot, PyObject *encoded) {
    Tail *tail = (Tail *)self->tail;
    Counter *steps = (Counter *)self->steps;
    if (!self->plain || steps->next == INT64_MAX) return 0;
    PyObject *extra = PyObject_GetAttr(slot, str_extra); /* a slot descriptor: no Python code */
    if (extra == NULL) return -1;
    Py_DECREF(extra); /* True or False, which do not go */
    if (extra != Py_False) return 0;
    if (!tail_has_room(tail, HEAD_BYTES + (size_t)PyBytes_GET_SIZE(encoded) + 2 * NUMBER_BYTES)) return 0;

    PyObject *body = row_body(PyBytes_AS_STRING(encoded), (size_t)PyBytes_GET_SIZE(encoded), steps->next);
    if (body == NULL || PyObject_SetAttr(slot, str_body, body) < 0) {
        Py_XDECREF(body);
        return -1;
    }
    tail_commit(tail, PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
    steps->next++;
    Py_DECREF(body);
    return 1;
}

/* As put_row, for a call. With 0 the data may be encoded already (`left`, a new reference): that is not done twice, since
 * a generator has nothing the second time. */
static int log_plainly(PlainLog *self, PyObject *data, PyObject **left) {
    if (!self->plain || self->tail == NULL || !PyDict_CheckExact(data) || !PyObject_TypeCheck(self->tail, &TailType))
        return 0;
    PyObject *slot = find_slot(self, data);
    if (slot == NULL) return PyErr_Occurred() ? -1 : 0;
    PyObject *rich = PyObject_GetAttr(slot, str_rich); /* a slot descriptor: no Python code */
    if (rich == NULL) {
        Py_DECREF(slot);
        return -1;
    }
    int is_rich = rich == Py_True, done = -1;
    Py_DECREF(rich);
    PyObject *encoded; /* runs code of the values' owners, either way */
    if (is_rich) {
        encoded = PyObject_CallMethodObjArgs((PyObject *)self, str_encode_rich, data, Py_None, slot, NULL);
    } else {
        encoded = PyObject_CallOneArg(self->encode, data);
    }
    if (encoded != NULL) {
        done = PyBytes_CheckExact(encoded) ? put_row(self, slot, encoded) : 0;
        if (done == 0) *left = Py_NewRef(encoded);
        Py_DECREF(encoded);
    } else if (is_rich) {
        /* it has its own ways out: a second try would journal its bytes again */
    } else if (PyErr_ExceptionMatches(PyExc_OverflowError) || PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) ||
               PyErr_ExceptionMatches(PyExc_RecursionError) || PyErr_ExceptionMatches(self->rich)) {
        PyErr_Clear();
        done = 0;
    }
    Py_DECREF(slot);
    return done;
}

static PyObject *plainlog_log(PlainLog *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
    if (nargs == 1 && kwnames == NULL) {
        PyObject *left = NULL;
        int done = log_plainly(self, args[0], &left);
        if (done > 0) Py_RETURN_NONE;
        if (done < 0) return NULL;
        if (left != NULL) {
            PyObject *result = PyObject_CallMethodObjArgs((PyObject *)self, str_log_encoded, args[0], left, NULL);
            Py_DECREF(left);
            return result;
        }
    }
    PyObject *any = PyObject_GetAttr((PyObject *)self, str_log_any);
    if (any == NULL) return NULL;
    PyObject *result = PyObject_Vectorcall(any, args, (size_t)nargs, kwnames);
    Py_DECREF(any);
    return result;
}

static int plainlog_init(PlainLog *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"steps", "tail", "encode", "rich", NULL};
    PyObject *steps, *tail, *encode, *rich;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOO", names, &CounterType, &steps, &tail, &encode, &rich)) return -1;
    PyObject *slots = PyDict_New();
    if (slots == NULL) return -1;
    Py_XSETREF(self->slots, slots);
    Py_XSETREF(self->steps, Py_NewRef(steps));
    Py_XSETREF(self->tail, Py_NewRef(tail));
    Py_XSETREF(self->encode, Py_NewRef(encode));
    Py_XSETREF(self->rich, Py_NewRef(rich));
    self->plain = 1;
    return 0;
}

static int plainlog_traverse(PlainLog *self, visitproc visit, void *arg) {
    Py_VISIT(self->slots);
    Py_VISIT(self->steps);
    Py_VISIT(self->tail);
    Py_VISIT(self->encode);
    Py_VISIT(self->rich);
    Py_VISIT(self->last_slots);
    Py_VISIT(self->last_keys);
    Py_VISIT(self->last_slot);
    return 0;
}

static int plainlog_clear(PlainLog *self) {
    self->plain = 0; /* a call from a finaliser finds nothing here */
    Py_CLEAR(self->slots);
    Py_CLEAR(self->steps);
    Py_CLEAR(self->tail);
    Py_CLEAR(self->encode);
    Py_CLEAR(self->rich);
    Py_CLEAR(self->last_slots);
    Py_CLEAR(self->last_keys);
    Py_CLEAR(self->last_slot);
    return 0;
}

static void plainlog_dealloc(PlainLog *self) {
    PyObject_GC_UnTrack(self);
    plainlog_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *plainlog_get_slots(PlainLog *self, void *Py_UNUSED(closure)) {
    return Py_NewRef(self->slots != NULL ? self->slots : Py_None);
}

static int plainlog_set_slots(PlainLog *self, PyObject *value, void *Py_UNUSED(closure)) {
    if (value == NULL || !PyDict_CheckExact(value)) {
        PyErr_SetString(PyExc_TypeError, "slots is a dict");
        return -1;
    }
    Py_XSETREF(self->slots, Py_NewRef(value));
    return 0;
}

static PyMemberDef plainlog_members[] = {
    {"plain", T_BOOL, offsetof(PlainLog, plain), 0, "No open row, no given step, nobody inside."},
    {"steps", T_OBJECT_EX, offsetof(PlainLog, steps), READONLY, "How the rows are numbered."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef plainlog_getset[] = {
    {"slots", (getter)plainlog_get_slots, (setter)plainlog_set_slots, "By the keys logged: the newest row.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef plainlog_methods[] = {
    {"log", (PyCFunction)(void (*)(void))plainlog_log, METH_FASTCALL | METH_KEYWORDS,
     "log($self, /, data, step=None, commit=None)\n--\n\nLog a row; see Run.log."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject PlainLogType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "client._fastlog.PlainLog",
    .tp_basicsize = sizeof(PlainLog),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)plainlog_init,
    .tp_dealloc = (destructor)plainlog_dealloc,
    .tp_traverse = (traverseproc)plainlog_traverse,
    .tp_clear = (inquiry)plainlog_clear,
    .tp_members = plainlog_members,
    .tp_getset = plainlog_getset,
    .tp_methods = plainlog_methods,
};

/* ---- the module ---- */

static PyObject *checksum(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer data;
    unsigned int seed;
    if (!PyArg_ParseTuple(args, "y*I", &data, &seed)) return NULL;
    uint32_t crc = crc32_of(data.buf, (size_t)data.len, seed);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

/* Past the caches, where that can be: what is on its way to another process would only push out what training works on,
 * and the place that it goes to need not be read first. */
static void copy_past(char *to, const char *from, size_t size) {
#ifdef __SSE2__
    size_t head = -(uintptr_t)to % sizeof(__m128i);
    if (size >= COPY_PAST_BYTES) {
        memcpy(to, from, head);
        to += head, from += head, size -= head;
        for (; size >= 64; to += 64, from += 64, size -= 64) {
            _mm_prefetch(from + 512, _MM_HINT_NTA);
            __m128i a = _mm_loadu_si128((const __m128i *)from), b = _mm_loadu_si128((const __m128i *)(from + 16));
            __m128i c = _mm_loadu_si128((const __m128i *)(from + 32)), d = _mm_loadu_si128((const __m128i *)(from + 48));
            _mm_stream_si128((__m128i *)to, a);
            _mm_stream_si128((__m128i *)(to + 16), b);
            _mm_stream_si128((__m128i *)(to + 32), c);
            _mm_stream_si128((__m128i *)(to + 48), d);
        }
        _mm_sfence(); /* before whatever is stored next: a record that says that the bytes are there */
    }
#endif
    memcpy(to, from, size);
}

static PyObject *copy(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer to, from;
    if (!PyArg_ParseTuple(args, "w*y*", &to, &from)) return NULL;
    int fits = to.len == from.len;
    if (fits) copy_past(to.buf, from.buf, (size_t)from.len);
    PyBuffer_Release(&to);
    PyBuffer_Release(&from);
    if (fits) Py_RETURN_NONE;
    PyErr_SetString(PyExc_ValueError, "the place and the bytes have not the same size");
    return NULL;
}

static PyMethodDef functions[] = {
    {"copy", copy, METH_VARARGS, "copy(to, from): the bytes of a buffer into another one of their size."},
    {"checksum", checksum, METH_VARARGS, "checksum(data, seed): zlib.crc32, for the tests."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "client._fastlog", .m_doc = "See _fastlog.c.", .m_size = -1, .m_methods = functions,
};

PyMODINIT_FUNC PyInit__fastlog(void) {
    fill_crc_table();
    if ((str_body = PyUnicode_InternFromString("body")) == NULL) return NULL;
    if ((str_extra = PyUnicode_InternFromString("extra")) == NULL) return NULL;
    if ((str_rich = PyUnicode_InternFromString("rich")) == NULL) return NULL;
    if ((str_encode_rich = PyUnicode_InternFromString("_encode_rich")) == NULL) return NULL;
    if ((str_log_any = PyUnicode_InternFromString("log_any")) == NULL) return NULL;
    if ((str_log_encoded = PyUnicode_InternFromString("log_encoded")) == NULL) return NULL;
    if (PyType_Ready(&CounterType) < 0 || PyType_Ready(&TailType) < 0 || PyType_Ready(&PlainLogType) < 0) return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    if (PyModule_AddObjectRef(module, "Counter", (PyObject *)&CounterType) < 0 ||
        PyModule_AddObjectRef(module, "Tail", (PyObject *)&TailType) < 0 ||
        PyModule_AddObjectRef(module, "PlainLog", (PyObject *)&PlainLogType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
