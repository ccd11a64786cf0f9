// Flow control (RFC 9113, section 6.9): of a stream or of the connection, one object a direction.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/http2_error.h"
#include "core/http2_frame.h"

namespace mexport::http2 {

// How much the peer lets this end send; a change of its settings may make that negative.
class SendWindow {
 public:
  explicit SendWindow(std::int64_t size = kDefaultWindow) : size_(size) {}

  std::size_t size() const { return size_ > 0 ? static_cast<std::size_t>(size_) : 0; }
  // REQUIRES: `bytes` <= size().
  void Take(std::size_t bytes) { size_ -= static_cast<std::int64_t>(bytes); }
  void Add(std::int64_t bytes) {
    if (bytes > kMaxWindow - size_) throw Http2Error(Http2Code::kFlowControlError, "got a window of 2^31 or more");
    size_ += bytes;
  }

 private:
  std::int64_t size_;
};

// How much this end lets the peer send.
class ReceiveWindow {
 public:
  explicit ReceiveWindow(std::int64_t size) : full_(size), size_(size) {}

  void Take(std::size_t bytes) {
    size_ -= static_cast<std::int64_t>(bytes);
    if (size_ < 0) throw Http2Error(Http2Code::kFlowControlError, "got more DATA than the window allows");
  }
  // What to tell the peer by WINDOW_UPDATE: nothing until half of the window is used.
  std::uint32_t Refill() {
    if (size_ > full_ / 2) return 0;
    const std::int64_t used = full_ - size_;
    size_ = full_;
    return static_cast<std::uint32_t>(used);
  }

 private:
  std::int64_t full_;
  std::int64_t size_;
};

}  // namespace mexport::http2
