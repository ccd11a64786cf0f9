#include "bindings/borrowed_bytes.h"

#include "core/error.h"

namespace py = pybind11;

namespace mexport {
namespace {

// Whether a buffer's format has the letter for references. Names of fields, which stand between colons, may have it
// too.
bool FormatHasObjects(const char* format) {
  bool in_name = false;
  for (; *format != '\0'; ++format) {
    if (*format == ':') in_name = !in_name;
    if (*format == 'O' && !in_name) return true;
  }
  return false;
}

}  // namespace

BorrowedBytes::BorrowedBytes(py::handle object) {
  bool has_objects = false;
  if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_ND | PyBUF_FORMAT) == 0) {
    has_objects = view_.format != nullptr && FormatHasObjects(view_.format);
  } else {
    // numpy has no format for some of its types: dates, bfloat16.
    if (PyErr_ExceptionMatches(PyExc_ValueError) == 0) throw py::error_already_set();
    PyErr_Clear();
    const py::object dtype = py::getattr(object, "dtype", py::none());
    has_objects = py::cast<bool>(py::getattr(dtype, "hasobject", py::bool_(false)));
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  if (!has_objects) return;
  PyBuffer_Release(&view_);
  throw Error(ErrorKind::kInvalidArgument, "data: got references to python objects, want bytes");
}

}  // namespace mexport
