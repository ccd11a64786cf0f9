// What this end lets a peer do to it (docs/formats/grpc.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace mexport::http2 {

constexpr std::int64_t kReceiveWindow = 4 << 20;
constexpr std::size_t kMaxStreams = 100;
constexpr std::size_t kMaxHeaderListBytes = 65536;
// Of a header block as it comes: more than the list, so that a list that is too long fails its call and no more.
constexpr std::size_t kMaxBlockBytes = 131072;
constexpr int kMaxBlockFrames = 64;
// Replies to frames that wait for the peer to read them.
constexpr std::size_t kMaxRepliesBytes = 4 << 20;
// DATA that waits for the system to take it.
constexpr std::size_t kMaxQueuedData = 256 << 10;

}  // namespace mexport::http2
