/* Tells which step of a call the interpreter is in, and what each step costs.
 *
 * A library for steps_gateway.py. It stands before the interpreter's evaluation of each Python function (PEP 523) and
 * looks up its step. A function without one belongs to the step that called it; what C code does belongs to the Python
 * function that called it; what no Python function called (the event loop and its system calls) is step 0.
 *
 * Under valgrind only the instructions of one step are collected, of the step that the page says. Without it each step
 * is timed. One thread is watched: the one that began. The page is a file that whoever measures maps too.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <time.h>
#include <valgrind/callgrind.h>

#define STEPS 64
#define CODES 65536 /* a power of two, many more than there are functions */

typedef struct {
    int64_t wanted;
    int64_t nanoseconds[STEPS];
    int64_t entered[STEPS];
} Page;

static struct { PyObject *code; int step; } table[CODES];
static Page *page;
static PyObject *classify;
static PyThreadState *watched;
static int current, is_collecting, is_classifying, is_counted;
static int64_t since;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void enter(int step) {
    page->entered[step]++;
    if (is_counted) {
        int collect = step == page->wanted;
        if (collect != is_collecting) {
            is_collecting = collect;
            CALLGRIND_TOGGLE_COLLECT;
        }
    } else {
        int64_t now = now_ns();
        page->nanoseconds[current] += now - since;
        since = now;
    }
    current = step;
}

static PyObject *code_of(struct _PyInterpreterFrame *frame) { /* borrowed */
#if PY_VERSION_HEX >= 0x030c0000
    PyObject *code = PyUnstable_InterpreterFrame_GetCode(frame);
    Py_DECREF(code); /* its function holds it */
    return code;
#else
    return ((PyObject **)frame)[4]; /* f_code, behind f_func, f_globals, f_builtins and f_locals */
#endif
}

static int step_of(PyObject *code) {
    size_t at = ((uintptr_t)code >> 4) * 0x9e3779b97f4a7c15ull >> 48;
    while (table[at].code != code) {
        if (table[at].code == NULL) {
            is_classifying = 1;
            PyObject *kind, *value, *trace;
            PyErr_Fetch(&kind, &value, &trace);
            PyObject *found = PyObject_CallOneArg(classify, code);
            if (found == NULL) {
                PyErr_Print();
                abort();
            }
            Py_INCREF(code); /* for ever, so that no other takes its address */
            table[at].step = (int)PyLong_AsLong(found);
            table[at].code = code;
            Py_DECREF(found);
            PyErr_Restore(kind, value, trace);
            is_classifying = 0;
            break;
        }
        at = (at + 1) & (CODES - 1);
    }
    return table[at].step;
}

static PyObject *evaluate(PyThreadState *thread, struct _PyInterpreterFrame *frame, int thrown) {
    if (thread != watched || is_classifying) return _PyEval_EvalFrameDefault(thread, frame, thrown);
    int before = current, step = step_of(code_of(frame));
    if (step < 0 || step == before) return _PyEval_EvalFrameDefault(thread, frame, thrown);
    enter(step);
    PyObject *result = _PyEval_EvalFrameDefault(thread, frame, thrown);
    enter(before);
    return result;
}

/* Begin in this thread; `classify_` returns the step of a code object, -1 for that of its caller. */
void begin(void *page_, PyObject *classify_) {
    page = page_;
    Py_INCREF(classify_);
    classify = classify_;
    watched = PyThreadState_Get();
    is_counted = RUNNING_ON_VALGRIND > 0;
    since = now_ns();
    _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), evaluate);
}
