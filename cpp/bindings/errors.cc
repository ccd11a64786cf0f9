#include <cerrno>
#include <exception>

#include "bindings/bindings.h"
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

void Raise(const Error& error) {
  const py::object type = py::module_::import("mexport_pb.errors").attr(ClassName(error.kind()));
  py::object instance;
  if (error.kind() == ErrorKind::kInvalidArgument) {
    instance = type(error.what());
  } else {
    instance = type(error.what(), py::arg("path") = DecodePath(error.path()),
                    py::arg("offset") = error.offset() < 0 ? py::object(py::none()) : py::int_(error.offset()));
  }
  PyErr_SetObject(type.ptr(), instance.ptr());
}

}  // namespace

void RegisterErrors() {
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
