#include "tf_ops/predict_servers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <random>
#include <unordered_map>

#include "core/error.h"
#include "tf_ops/platform.h"
#include "tf_ops/predict_message.h"
#include "tf_ops/server_map.h"

namespace mexport {
namespace {

constexpr char kVariable[] = "MEXPORT_PREDICT_SERVERS";
constexpr off_t kMaxFileBytes = off_t{1} << 24;

[[noreturn]] void RefuseFile(const std::string& path, const std::string& what) {
  throw OpError(OpError::kInvalidArgument, std::string(kVariable) + ": " + path + ": " + what);
}

// An open file; closed when it goes.
class File {
 public:
  explicit File(const std::string& path) : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) RefuseFile(path_, std::strerror(errno));
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(descriptor_); }

  struct stat State() const {
    struct stat state{};
    if (::fstat(descriptor_, &state) != 0) RefuseFile(path_, std::strerror(errno));
    if (!S_ISREG(state.st_mode)) RefuseFile(path_, "want a regular file");
    if (state.st_size > kMaxFileBytes) {
      RefuseFile(path_,
                 "got " + std::to_string(state.st_size) + " bytes, want at most " + std::to_string(kMaxFileBytes));
    }
    return state;
  }

  std::string Read(std::size_t size) const {
    std::string text(size, '\0');
    std::size_t n = 0;
    while (n < size) {
      const ssize_t got = ::read(descriptor_, text.data() + n, size - n);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) RefuseFile(path_, std::strerror(errno));
      if (got == 0) break;
      n += static_cast<std::size_t>(got);
    }
    text.resize(n);
    return text;
  }

 private:
  const std::string& path_;
  int descriptor_;
};

// Changes when the file is written or replaced.
std::string Describe(const struct stat& state) {
  std::string text;
  for (const auto part : {static_cast<std::int64_t>(state.st_dev), static_cast<std::int64_t>(state.st_ino),
                          static_cast<std::int64_t>(state.st_size), static_cast<std::int64_t>(state.st_mtim.tv_sec),
                          static_cast<std::int64_t>(state.st_mtim.tv_nsec)}) {
    text += std::to_string(part) + " ";
  }
  return text;
}

std::string OldKey(const std::string& old_model, std::int64_t task) {
  if (old_model.empty()) return "ps:" + std::to_string(task);
  std::string key = old_model;
  const std::size_t at = key.find('_');
  if (at != std::string::npos) key[at] = ':';
  return key;
}

std::size_t AnyBelow(std::size_t n) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
}

}  // namespace

PredictServers& PredictServers::Get() {
  // Never destroyed: calls may still run when the process ends.
  static auto* const servers = new PredictServers;
  return *servers;
}

void PredictServers::Set(const char* json) {
  const std::lock_guard lock(mutex_);
  set_ = json == nullptr ? nullptr : Make(json, "set_predict_servers()", set_.get());
}

PredictServers::MapPointer PredictServers::Make(std::string_view json, std::string source, const Map* before) {
  std::unordered_map<std::string, std::shared_ptr<GrpcChannel>> known;
  if (before != nullptr) {
    for (const auto& [key, channels] : before->channels) {
      for (const auto& channel : channels) known.emplace(channel->address(), channel);
    }
  }
  auto map = std::make_shared<Map>();
  try {
    for (const auto& [key, addresses] : ParseServerMap(json)) {
      map->new_names = map->new_names || key.find(":ps") != std::string::npos;
      Channels& channels = map->channels[key];
      for (const std::string& address : addresses) {
        std::shared_ptr<GrpcChannel>& channel = known[address];
        if (channel == nullptr) channel = std::make_shared<GrpcChannel>(address);
        channels.push_back(channel);
      }
    }
  } catch (const Error& error) {
    throw OpError(OpError::kInvalidArgument, source + ": the map of servers: " + error.what());
  } catch (const OpError& error) {
    throw OpError(error.code(), source + ": no map of servers: " + error.what());
  }
  map->source = std::move(source);
  return map;
}

PredictServers::MapPointer PredictServers::FromFile(const std::string& path) {
  const File file(path);
  const struct stat state = file.State();
  std::string description = Describe(state);
  if (from_environment_ == nullptr || description != file_state_) {
    const std::string text = file.Read(static_cast<std::size_t>(state.st_size));
    from_environment_ = Make(text, std::string(kVariable) + ": " + path, from_environment_.get());
    file_state_ = std::move(description);
  }
  return from_environment_;
}

PredictServers::MapPointer PredictServers::Current() {
  const std::lock_guard lock(mutex_);
  if (set_ != nullptr) return set_;
  const char* const variable = std::getenv(kVariable);
  const std::string text = variable == nullptr ? "" : variable;
  if (text != environment_) {
    environment_ = text;
    from_environment_ = nullptr;
  }
  if (!text.empty() && text[0] == '@') return FromFile(text.substr(1));
  if (from_environment_ == nullptr) {
    from_environment_ = text.empty() ? Make("{}", std::string(kVariable) + ", which is not set", nullptr)
                                     : Make(text, kVariable, nullptr);
  }
  return from_environment_;
}

PredictRoute PredictServers::Find(const std::string& model, const std::string& old_model, std::int64_t task) {
  const MapPointer map = Current();
  PredictRoute route{model, model, {}};
  auto found = map->channels.find(model);
  std::string tried = "'" + model + "'";
  if (found == map->channels.end() && !map->new_names) {
    route.key = OldKey(old_model, task);
    if (!old_model.empty()) route.model = old_model;
    found = map->channels.find(route.key);
    tried += " nor '" + route.key + "'";
  }
  if (found == map->channels.end() || found->second.empty()) {
    throw OpError(OpError::kUnavailable, "No available remote servers: want addresses of " + tried + ", got " +
                                             (found == map->channels.end() ? "no such name" : "an empty list") +
                                             " in the map of " + map->source);
  }
  route.channels = found->second;
  return route;
}

PredictAnswer CallPredict(const PredictRoute& route, std::string_view request,
                          std::chrono::steady_clock::time_point deadline) {
  Channels left = route.channels;
  PredictAnswer answer;
  for (;;) {
    std::swap(left[AnyBelow(left.size())], left.back());
    GrpcChannel& channel = *left.back();
    const auto time = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (time.count() <= 0) {
      // What the servers before said of themselves says more.
      if (answer.address.empty()) {
        answer.address = channel.address();
        answer.status = {rpc_code::kDeadlineExceeded, "the deadline passed before the request was sent"};
      }
      return answer;
    }
    answer.address = channel.address();
    answer.response.clear();
    answer.status = channel.Call(kPredictMethod, request, time, &answer.response);
    left.pop_back();
    if (answer.status.code != rpc_code::kUnavailable || left.empty()) return answer;
  }
}

}  // namespace mexport
