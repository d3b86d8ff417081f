/* A torch tensor of one element in the host's memory as a Python number, without torch's `item`.
 *
 * Optional, as _fastlog.c. `item` goes through torch's dispatcher and costs as much as the rest of a row; a tensor of the
 * host needs three loads. They are reached through DLPack's table for C (version 1.3, `__dlpack_c_exchange_api__` of the
 * tensor's class): public, and stable within its major version.
 *
 *     Scalars(rest)  an encoder's hook: a number for a tensor that it can read so, `rest(value)` for everything else
 *     Scalars.know(type) -> bool   read values of exactly this type so from now on, where it has such a table
 *     Rows(scalars, encode)  `encode`, the msgpack of a dict; the same bytes by itself for a row of such tensors
 *
 * Invariants
 * - What comes out is what `value.item()` gives, in type and value; what is not certain (another device, a type of
 *   numbers without a C type, a layout without memory, a lazy negation, a subclass) is left to `rest`.
 * - Nothing is kept of a value. The class is kept, and with it its table.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* DLPack's structures, as far as they are read: https://dmlc.github.io/dlpack/latest/c_api.html */
#define DLPACK_MAJOR 1
#define ON_CPU 1
#define KIND_INT 0
#define KIND_UINT 1
#define KIND_FLOAT 2
#define KIND_BOOL 6

typedef struct {
    void *data;
    int32_t device, device_id;
    int32_t ndim;
    uint8_t kind, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} Tensor;

typedef struct Exchange {
    uint32_t major, minor;
    struct Exchange *older;
    void *allocate, *from_object, *to_object;
    int (*view)(void *object, Tensor *out); /* borrowed until control returns; NULL where there is none */
    void *stream;
} Exchange;

static PyObject *str_table, *str_is_neg;

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *rest;
    PyTypeObject *type; /* of the values that `view` reads, or NULL */
    PyObject *is_neg;   /* its method */
    PyCFunction ask_neg; /* what that method calls, or NULL where it is called in another way */
    int (*view)(void *object, Tensor *out);
} Scalars;

static PyObject *number_at(const char *at, uint8_t kind, uint8_t bits) {
#define READ(TYPE, MAKE)               \
    {                                  \
        TYPE value;                    \
        memcpy(&value, at, sizeof(value)); \
        return MAKE(value);            \
    }
    switch (kind << 8 | bits) {
        case KIND_FLOAT << 8 | 32: READ(float, PyFloat_FromDouble)
        case KIND_FLOAT << 8 | 64: READ(double, PyFloat_FromDouble)
        case KIND_INT << 8 | 64: READ(int64_t, PyLong_FromLongLong)
        case KIND_INT << 8 | 32: READ(int32_t, PyLong_FromLong)
        case KIND_INT << 8 | 16: READ(int16_t, PyLong_FromLong)
        case KIND_INT << 8 | 8: READ(int8_t, PyLong_FromLong)
        case KIND_UINT << 8 | 8: READ(uint8_t, PyLong_FromLong)
        case KIND_BOOL << 8 | 8: READ(uint8_t, PyBool_FromLong)
    }
#undef READ
    return NULL;
}

/* The number, or NULL without an error where it is not certain. */
static PyObject *read_number(Scalars *self, PyObject *value) {
    Tensor tensor;
    if (self->view(value, &tensor) != 0) {
        PyErr_Clear();
        return NULL;
    }
    if (tensor.device != ON_CPU || tensor.data == NULL || tensor.lanes != 1) return NULL;
    for (int32_t i = 0; i < tensor.ndim; i++)
        if (tensor.shape[i] != 1) return NULL;
    const char *at = (const char *)tensor.data + tensor.byte_offset;
    PyObject *number = number_at(at, tensor.kind, tensor.bits);
    if (number == NULL) PyErr_Clear(); /* no memory: `rest` will say so */
    return number;
}

/* Whether what is in memory is the value: not of the imaginary part of a conjugate, which torch negates when it is read. */
static int is_as_stored(Scalars *self, PyObject *value) {
    PyObject *negated = self->ask_neg != NULL ? self->ask_neg(value, NULL) : PyObject_CallOneArg(self->is_neg, value);
    if (negated == NULL) PyErr_Clear();
    Py_XDECREF(negated);
    return negated == Py_False;
}

static PyObject *scalars_call(Scalars *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    if (PyVectorcall_NARGS(nargsf) == 1 && kwnames == NULL && Py_TYPE(args[0]) == self->type && is_as_stored(self, args[0])) {
        PyObject *number = read_number(self, args[0]);
        if (number != NULL) return number;
    }
    return PyObject_Vectorcall(self->rest, args, nargsf, kwnames);
}

/* The C function behind a method without arguments, as the interpreter calls it; NULL where the method is no such. */
static PyCFunction function_of(PyObject *method, PyTypeObject *type) {
    if (!Py_IS_TYPE(method, &PyMethodDescr_Type)) return NULL;
    PyMethodDescrObject *descriptor = (PyMethodDescrObject *)method;
    if (descriptor->d_method->ml_flags != METH_NOARGS || !PyType_IsSubtype(type, descriptor->d_common.d_type)) return NULL;
    return descriptor->d_method->ml_meth;
}

static PyObject *scalars_know(Scalars *self, PyObject *type) {
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "know takes a class");
        return NULL;
    }
    PyObject *capsule = PyObject_GetAttr(type, str_table);
    if (capsule == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return NULL;
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    Exchange *table = NULL;
    if (PyCapsule_IsValid(capsule, "dlpack_exchange_api")) table = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    Py_DECREF(capsule); /* the table is static in its library: it outlives the class, says the standard */
    while (table != NULL && table->major > DLPACK_MAJOR) table = table->older;
    if (table == NULL || table->major != DLPACK_MAJOR || table->view == NULL) Py_RETURN_FALSE;
    PyObject *is_neg = PyObject_GetAttr(type, str_is_neg);
    if (is_neg == NULL) return NULL;
    self->view = table->view;
    self->ask_neg = function_of(is_neg, (PyTypeObject *)type);
    Py_XSETREF(self->is_neg, is_neg);
    Py_XSETREF(self->type, (PyTypeObject *)Py_NewRef(type));
    Py_RETURN_TRUE;
}

static PyObject *scalars_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *rest;
    if (!PyArg_ParseTuple(args, "O", &rest)) return NULL;
    Scalars *self = (Scalars *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->call = (vectorcallfunc)scalars_call;
    self->rest = Py_NewRef(rest);
    return (PyObject *)self;
}

static int scalars_traverse(Scalars *self, visitproc visit, void *arg) {
    Py_VISIT(self->rest);
    Py_VISIT(self->type);
    Py_VISIT(self->is_neg);
    return 0;
}

static int scalars_clear(Scalars *self) {
    Py_CLEAR(self->type);
    Py_CLEAR(self->is_neg); /* `rest` stays until the end: a call from a finaliser still needs it */
    return 0;
}

static void scalars_dealloc(Scalars *self) {
    PyObject_GC_UnTrack(self);
    scalars_clear(self);
    Py_XDECREF(self->rest);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef scalars_methods[] = {
    {"know", (PyCFunction)scalars_know, METH_O, "Read values of this class from memory, if it has DLPack's table for C."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ScalarsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "client._scalars.Scalars",
    .tp_basicsize = sizeof(Scalars),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Scalars, call),
    .tp_call = PyVectorcall_Call,
    .tp_new = scalars_new,
    .tp_dealloc = (destructor)scalars_dealloc,
    .tp_traverse = (traverseproc)scalars_traverse,
    .tp_clear = (inquiry)scalars_clear,
    .tp_methods = scalars_methods,
};

/* ---- rows of tensors ---- */

#define ROW_MAX_VALUES 64 /* beside each other on the stack; longer rows are left to `encode` */
#define ROW_MAX_BYTES 4096
#define PAIR_MAX_BYTES (2 * (2 + UINT8_MAX)) /* two texts, of which the second may be a number instead */

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    Scalars *scalars;
    PyObject *encode;
} Rows;

static char *put_big_endian(char *at, uint8_t head, uint64_t value, int bytes) {
    *at++ = (char)head;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) *at++ = (char)(value >> shift);
    return at;
}

/* The shortest form, as msgspec chooses it. */
static char *put_integer(char *at, int64_t value) {
    if (value >= 0) {
        if (value < 128) return *at = (char)value, at + 1;
        if (value <= UINT8_MAX) return put_big_endian(at, 0xcc, (uint64_t)value, 1);
        if (value <= UINT16_MAX) return put_big_endian(at, 0xcd, (uint64_t)value, 2);
        return value <= UINT32_MAX ? put_big_endian(at, 0xce, (uint64_t)value, 4) : put_big_endian(at, 0xcf, (uint64_t)value, 8);
    }
    if (value >= -32) return *at = (char)value, at + 1;
    if (value >= INT8_MIN) return put_big_endian(at, 0xd0, (uint64_t)value, 1);
    if (value >= INT16_MIN) return put_big_endian(at, 0xd1, (uint64_t)value, 2);
    return value >= INT32_MIN ? put_big_endian(at, 0xd2, (uint64_t)value, 4) : put_big_endian(at, 0xd3, (uint64_t)value, 8);
}

/* A Python float, int of 64 bits or bool; NULL for anything else. */
static char *put_number(char *at, PyObject *number) {
    if (PyFloat_CheckExact(number)) {
        double value = PyFloat_AS_DOUBLE(number);
        uint64_t bits;
        memcpy(&bits, &value, sizeof(bits));
        return put_big_endian(at, 0xcb, bits, 8);
    }
    if (PyBool_Check(number)) return *at = (char)(number == Py_True ? 0xc3 : 0xc2), at + 1;
    if (!PyLong_CheckExact(number)) return NULL;
    int beyond;
    int64_t value = PyLong_AsLongLongAndOverflow(number, &beyond);
    return beyond ? NULL : put_integer(at, value);
}

/* And so short that its length is a byte. */
static int is_ascii(PyObject *value) {
    return PyUnicode_CheckExact(value) && PyUnicode_IS_COMPACT_ASCII(value) && PyUnicode_GET_LENGTH(value) <= UINT8_MAX;
}

static char *put_text(char *at, PyObject *text) {
    size_t size = (size_t)PyUnicode_GET_LENGTH(text);
    if (size < 32) *at++ = (char)(0xa0 | size);
    else at = put_big_endian(at, 0xd9, size, 1);
    memcpy(at, PyUnicode_1BYTE_DATA(text), size);
    return at + size;
}

/* Whether one of its values is to be read from memory. */
static int has_tensor(PyObject *data, PyTypeObject *type) {
    PyObject *value;
    for (Py_ssize_t at = 0; PyDict_Next(data, &at, NULL, &value);)
        if (Py_TYPE(value) == type) return 1;
    return 0;
}

/* The row's end in `out`, or NULL without an error where `encode` is to do it. The pairs are the caller's to keep: torch
 * lets other threads run, which may change the dict. */
static char *put_pairs(Scalars *scalars, PyObject **pairs, Py_ssize_t count, char *out) {
    char *at = out, *end = out + ROW_MAX_BYTES;
    if (count < 16) *at++ = (char)(0x80 | count);
    else at = put_big_endian(at, 0xde, (uint64_t)count, 2);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *key = pairs[2 * i], *value = pairs[2 * i + 1];
        if (!is_ascii(key) || end - at < PAIR_MAX_BYTES) return NULL;
        at = put_text(at, key);
        if (Py_TYPE(value) == scalars->type) {
            PyObject *number = is_as_stored(scalars, value) ? read_number(scalars, value) : NULL;
            at = number != NULL ? put_number(at, number) : NULL;
            Py_XDECREF(number);
        } else {
            at = is_ascii(value) ? put_text(at, value) : put_number(at, value);
        }
        if (at == NULL) return NULL;
    }
    return at;
}

static PyObject *encode_row(Scalars *scalars, PyObject *data) {
    PyObject *pairs[2 * ROW_MAX_VALUES], *key, *value;
    char out[ROW_MAX_BYTES];
    Py_ssize_t count = 0;
    for (Py_ssize_t at = 0; PyDict_Next(data, &at, &key, &value); count++) {
        pairs[2 * count] = Py_NewRef(key);
        pairs[2 * count + 1] = Py_NewRef(value);
    }
    char *end = put_pairs(scalars, pairs, count, out);
    for (Py_ssize_t i = 0; i < 2 * count; i++) Py_DECREF(pairs[i]);
    return end != NULL ? PyBytes_FromStringAndSize(out, end - out) : NULL;
}

static PyObject *rows_call(Rows *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyTypeObject *type = self->scalars->type;
    if (type != NULL && PyVectorcall_NARGS(nargsf) == 1 && kwnames == NULL && PyDict_CheckExact(args[0]) &&
        PyDict_GET_SIZE(args[0]) <= ROW_MAX_VALUES && has_tensor(args[0], type)) {
        PyObject *encoded = encode_row(self->scalars, args[0]);
        if (encoded != NULL || PyErr_Occurred()) return encoded;
    }
    return PyObject_Vectorcall(self->encode, args, nargsf, kwnames);
}

static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *scalars, *encode;
    if (!PyArg_ParseTuple(args, "O!O", &ScalarsType, &scalars, &encode)) return NULL;
    Rows *self = (Rows *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->call = (vectorcallfunc)rows_call;
    self->scalars = (Scalars *)Py_NewRef(scalars);
    self->encode = Py_NewRef(encode);
    return (PyObject *)self;
}

static int rows_traverse(Rows *self, visitproc visit, void *arg) {
    Py_VISIT(self->scalars);
    Py_VISIT(self->encode);
    return 0;
}

static void rows_dealloc(Rows *self) {
    PyObject_GC_UnTrack(self);
    Py_XDECREF((PyObject *)self->scalars);
    Py_XDECREF(self->encode);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyTypeObject RowsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "client._scalars.Rows",
    .tp_basicsize = sizeof(Rows),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Rows, call),
    .tp_call = PyVectorcall_Call,
    .tp_new = rows_new,
    .tp_dealloc = (destructor)rows_dealloc,
    .tp_traverse = (traverseproc)rows_traverse,
};

/* ---- the module ---- */

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "client._scalars", .m_doc = "See _scalars.c.", .m_size = -1,
};

PyMODINIT_FUNC PyInit__scalars(void) {
    if ((str_table = PyUnicode_InternFromString("__dlpack_c_exchange_api__")) == NULL) return NULL;
    if ((str_is_neg = PyUnicode_InternFromString("is_neg")) == NULL) return NULL;
    if (PyType_Ready(&ScalarsType) < 0 || PyType_Ready(&RowsType) < 0) return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    if (PyModule_AddObjectRef(module, "Scalars", (PyObject *)&ScalarsType) < 0 ||
        PyModule_AddObjectRef(module, "Rows", (PyObject *)&RowsType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
