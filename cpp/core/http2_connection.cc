#include "core/http2_connection.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/http2_limits.h"

namespace mexport {

using http2::FrameType;

Http2Connection::Http2Connection(Socket socket, Role role, std::size_t max_message)
    : socket_(std::move(socket)), role_(role), max_message_(max_message), preface_seen_(role == Role::kClient) {
  if (is_client()) out_ = http2::kPreface;
  using http2::Setting;
  http2::AppendSettings({is_client() ? std::pair{Setting::kEnablePush, 0u}
                                     : std::pair{Setting::kMaxConcurrentStreams, std::uint32_t{http2::kMaxStreams}},
                         {Setting::kInitialWindowSize, static_cast<std::uint32_t>(http2::kReceiveWindow)},
                         {Setting::kMaxHeaderListSize, static_cast<std::uint32_t>(http2::kMaxHeaderListBytes)}},
                        &out_);
  http2::AppendWindowUpdate(0, static_cast<std::uint32_t>(http2::kReceiveWindow - http2::kDefaultWindow), &out_);
}

Http2Connection::Event Http2Connection::Pump(TimePoint deadline, int wake_fd) {
  Send();
  const short wanted = all_sent() ? POLLIN : POLLIN | POLLOUT;
  std::array<pollfd, 2> events = {{{socket_.fd(), wanted, 0}, {wake_fd, POLLIN, 0}}};  // -1 is passed over
  if (!PollUntil(events, deadline)) return Event::kDeadline;
  if (events[1].revents != 0) return Event::kWoken;
  // A hang-up or an error shows when it is read.
  if ((events[0].revents & ~POLLOUT) != 0) Receive();
  Send();
  return Event::kProgress;
}

// What the peer answered before it closed may still be there: a failure to send ends the connection only when all is
// read.
void Http2Connection::Send() {
  while (!send_failed_) {
    QueueData();
    if (all_sent()) break;
    try {
      const std::size_t sent = socket_.Send(std::string_view(out_).substr(out_sent_));
      if (sent == 0) return;
      out_sent_ += sent;
    } catch (const ConnectionLost&) {
      send_failed_ = true;
    }
  }
  out_.clear();
  out_sent_ = 0;
}

void Http2Connection::QueueData() {
  if (out_.size() - out_sent_ > http2::kMaxRepliesBytes) {
    throw Http2Error(Http2Code::kEnhanceYourCalm, "got more to reply to than the peer reads");
  }
  if (out_sent_ > 0 && out_sent_ >= out_.size() / 2) out_.erase(0, std::exchange(out_sent_, 0));
  for (auto at = streams_.begin(); at != streams_.end();) {
    const auto one = at++;
    QueueData(one->first, one->second);
    // A server has no more to do with what it has answered.
    if (!is_client() && one->second.local_done) Close(one->first, Http2Code::kNoError);
  }
}

void Http2Connection::QueueData(std::uint32_t id, Http2Stream& stream) {
  if (!stream.unsent || stream.local_done) return;
  while (stream.unsent->left() > 0) {
    const std::size_t size =
        std::min({stream.unsent->left(), stream.send_window.size(), send_window_.size(), http2::kMinMaxFrameBytes});
    if (size == 0 || out_.size() - out_sent_ >= http2::kMaxQueuedData) return;
    stream.local_done = size == stream.unsent->left() && is_client();
    http2::AppendFrameHeader(size, FrameType::kData, stream.local_done ? http2::kEndStream : 0, id, &out_);
    stream.unsent->Take(size, &out_);
    stream.send_window.Take(size);
    send_window_.Take(size);
  }
  if (is_client()) return;
  http2::AppendHeaderBlock(stream.last_block, true, id, http2::kMinMaxFrameBytes, &out_);
  stream.local_done = true;
}

std::uint32_t Http2Connection::Open(const HeaderList& headers, std::string_view message, std::size_t max_message) {
  const std::uint32_t id = next_stream_;
  next_stream_ += 2;
  Http2Stream& stream =
      streams_.try_emplace(id, peer_initial_window_, grpc::MessageReader(max_message, rpc_code::kInternal))
          .first->second;
  AppendBlock(id, headers, false);
  stream.unsent.emplace(message);
  return id;
}

void Http2Connection::Respond(std::uint32_t id, const HeaderList& headers, std::string response,
                              const HeaderList& trailers) {
  Http2Stream* const stream = Find(id);
  if (stream == nullptr) return;  // the peer has given the call up
  AppendBlock(id, headers, false);
  stream->last_block = EncodeBlock(trailers);
  stream->response = std::move(response);
  stream->unsent.emplace(stream->response);
}

void Http2Connection::Respond(std::uint32_t id, const HeaderList& headers) {
  Http2Stream* const stream = Find(id);
  if (stream == nullptr) return;
  AppendBlock(id, headers, true);
  stream->local_done = true;
}

void Http2Connection::Close(std::uint32_t id, Http2Code code) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const Http2Stream& stream = found->second;
  if (!stream.reset && !(stream.local_done && stream.remote_done)) http2::AppendRstStream(id, code, &out_);
  streams_.erase(found);
}

void Http2Connection::GoAway(Http2Code code) {
  if (std::exchange(going_away_, true)) return;
  http2::AppendGoAway(last_peer_stream_, code, &out_);
}

std::string Http2Connection::EncodeBlock(const HeaderList& list) {
  std::string block;
  if (!table_size_said_) block.push_back(hpack::kTableSizeZero);
  table_size_said_ = true;
  hpack::EncodeHeaders(list, &block);
  return block;
}

void Http2Connection::AppendBlock(std::uint32_t id, const HeaderList& list, bool end_stream) {
  http2::AppendHeaderBlock(EncodeBlock(list), end_stream, id, http2::kMinMaxFrameBytes, &out_);
}

}  // namespace mexport
