#include "bindings/gil.h"

#include <unistd.h>

#include <utility>

#include "core/file.h"

namespace py = pybind11;

namespace mexport {
namespace {

// The innermost of this thread.
thread_local GilRelease* current_release = nullptr;

}  // namespace

bool Finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

void Park() {
  for (;;) ::pause();
}

GilRelease::GilRelease() : outer_(std::exchange(current_release, this)), finalizer_(Finalizing()) { Drop(); }

GilRelease::~GilRelease() {
  Take();
  current_release = outer_;
}

void GilRelease::Drop() { state_ = PyEval_SaveThread(); }

void GilRelease::Take() {
  if (Finalizing() && !finalizer_) Park();
  // Finalization may also begin while the thread waits here.
  RunPython([this] { PyEval_RestoreThread(state_); });
  state_ = nullptr;
}

GilAcquire::GilAcquire() : taken_(current_release) {
  if (taken_ != nullptr && taken_->state_ == nullptr) taken_ = nullptr;
  if (taken_ != nullptr) taken_->Take();
}

GilAcquire::~GilAcquire() {
  if (taken_ != nullptr) taken_->Drop();
}

void CheckSignals() {
  const GilAcquire gil;
  if (RunPython(PyErr_CheckSignals) != 0) throw py::error_already_set();
}

void InstallInterruptHook() { SetInterruptHook(CheckSignals); }

}  // namespace mexport
