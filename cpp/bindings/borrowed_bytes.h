// The bytes of Python objects.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>

namespace mexport {

// The bytes of any object that lends a contiguous buffer, as long as it lives. REQUIRES: the GIL, here and at the end
class BorrowedBytes {
 public:
  // Throws Error(kInvalidArgument) for a buffer of references to Python objects: its bytes are addresses.
  explicit BorrowedBytes(pybind11::handle object);
  BorrowedBytes(const BorrowedBytes&) = delete;
  BorrowedBytes& operator=(const BorrowedBytes&) = delete;
  ~BorrowedBytes() { PyBuffer_Release(&view_); }

  const std::uint8_t* data() const { return static_cast<const std::uint8_t*>(view_.buf); }
  std::size_t size() const { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_;
};

}  // namespace mexport
