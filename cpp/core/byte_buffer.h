// Memory for bytes that are about to be overwritten: not zeroed, and grown in place where the allocator can.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace mexport {

class ByteBuffer {
 public:
  ByteBuffer() = default;
  explicit ByteBuffer(std::size_t capacity) { Resize(capacity); }

  std::uint8_t* data() { return data_.get(); }
  const std::uint8_t* data() const { return data_.get(); }
  std::size_t capacity() const { return capacity_; }

  // Grows or shrinks; the first min(old, new) bytes stay. REQUIRES: capacity > 0
  void Resize(std::size_t capacity) {
    void* data = std::realloc(data_.get(), capacity);
    if (data == nullptr) throw std::bad_alloc();
    static_cast<void>(data_.release());
    data_.reset(static_cast<std::uint8_t*>(data));
    capacity_ = capacity;
  }

  // Hands the memory to the caller, who frees it with std::free.
  std::uint8_t* Release() {
    capacity_ = 0;
    return data_.release();
  }

 private:
  struct Free {
    void operator()(std::uint8_t* data) const { std::free(data); }
  };

  std::unique_ptr<std::uint8_t[], Free> data_;
  std::size_t capacity_ = 0;
};

}  // namespace mexport
