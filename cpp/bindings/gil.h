// The GIL, for threads that may outlive the interpreter. pybind11's guards are not used in this module.
//
// When the interpreter ends, CPython up to 3.13 ends a daemon thread that asks for the GIL by pthread_exit, which
// unwinds the thread's stack: through destructors, which may not be left that way, and which touch Python objects
// without the GIL. Here such a thread is parked instead, for the moment that the process has left.
#pragma once

#include <pybind11/pybind11.h>

#include "core/interrupt.h"

namespace mexport {

// Whether Py_Finalize() has begun.
bool Finalizing();

[[noreturn]] void Park();

// Runs `call`, which is C calls that may run Python code and so may ask for the GIL, and nothing that has a destructor.
template <typename Call>
auto RunPython(Call call) {
  try {
    return call();
  } catch (...) {
    Park();  // C does not throw: this is pthread_exit
  }
}

// The same for calls that return a new reference. Throws error_already_set.
template <typename Call>
pybind11::object NewFromPython(Call call) {
  PyObject* const result = RunPython(call);
  if (result == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<pybind11::object>(result);
}

// Gives the GIL away as long as it lives. REQUIRES: the thread has the GIL
class GilRelease {
 public:
  GilRelease();
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;
  ~GilRelease();

 private:
  friend class GilAcquire;

  void Drop();
  void Take();

  GilRelease* outer_;
  bool finalizer_;  // this thread is the one that ends the interpreter
  PyThreadState* state_ = nullptr;
};

// Lets Python's signal handlers run; throws error_already_set if one raised. REQUIRES: a GilRelease, or the GIL
void CheckSignals();

// Takes the GIL back within a GilRelease; does nothing in a thread that has the GIL.
class GilAcquire {
 public:
  GilAcquire();
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;
  ~GilAcquire();

 private:
  GilRelease* taken_;
};

// Runs `work` without the GIL. Python's signal handlers run meanwhile, and one that raises ends the work.
template <typename Work>
auto RunInterruptibly(Work work) {
  const GilRelease release;
  Interruptible interruptible(CheckSignals);
  return interruptible.Run(work);
}

// Lets Python's signal handlers run, and end by an exception, while a call waits for a pipe.
void InstallInterruptHook();

}  // namespace mexport
