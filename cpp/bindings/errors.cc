#include <cerrno>
#include <exception>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "core/error.h"

namespace py = pybind11;

namespace mexport {
namespace {

const char* ClassName(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return "InvalidArgumentError";
    case ErrorKind::kRecordLengthCrc:
      return "RecordLengthCrcError";
    case ErrorKind::kRecordDataCrc:
      return "RecordDataCrcError";
    case ErrorKind::kRecordTruncated:
      return "RecordTruncatedError";
    case ErrorKind::kRecordTooLarge:
      return "RecordTooLargeError";
    case ErrorKind::kRecordCompression:
      return "RecordCompressionError";
    case ErrorKind::kBundle:
      return "BundleError";
    case ErrorKind::kBundleCrc:
      return "BundleCrcError";
    case ErrorKind::kTable:
      return "TableError";
  }
  return "MexportError";
}

// A path is bytes; Python's str holds the undecodable ones as surrogates.
py::object DecodePath(const std::string& path) {
  if (path.empty()) return py::none();
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

// Never destroyed: nothing can be imported any more when the interpreter ends.
py::handle errors_module;

void Raise(const Error& error) {
  const py::object type = errors_module.attr(ClassName(error.kind()));
  const py::tuple message = py::make_tuple(error.what());
  py::dict where;
  if (error.kind() != ErrorKind::kInvalidArgument) {
    where["path"] = DecodePath(error.path());
    where["offset"] = error.offset() < 0 ? py::object(py::none()) : py::int_(error.offset());
  }
  const py::object instance = NewFromPython([&] { return PyObject_Call(type.ptr(), message.ptr(), where.ptr()); });
  PyErr_SetObject(type.ptr(), instance.ptr());
}

}  // namespace

void RegisterErrors() {
  errors_module = py::module_::import("mexport_pb.errors").release();
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      Raise(error);
    } catch (const IoError& error) {
      errno = error.error_number();
      PyErr_SetFromErrnoWithFilename(PyExc_OSError, error.path().c_str());
    }
  });
}

}  // namespace mexport
