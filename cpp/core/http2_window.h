// Flow control (RFC 9113, section 6.9): of a stream or of the connection, one object a direction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/http2_error.h"
#include "core/http2_frame.h"
#include "core/http2_limits.h"

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

// How much this end lets the peer send. What comes is taken in at once and the window is filled up long before it is
// empty, so a peer cannot overrun it; messages have limits of their own.
class ReceiveWindow {
 public:
  // Counts what came. What to tell the peer by WINDOW_UPDATE: nothing until half of the window is used.
  std::uint32_t Take(std::size_t bytes) {
    used_ += bytes;
    return used_ < static_cast<std::size_t>(kReceiveWindow / 2) ? 0
                                                                : static_cast<std::uint32_t>(std::exchange(used_, 0));
  }

 private:
  std::size_t used_ = 0;
};

}  // namespace mexport::http2
