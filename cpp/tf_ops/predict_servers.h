// The servers that remote predictions go to: docs/remote_predict.md.
//
// This header is C++17: see platform.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/grpc_channel.h"

namespace mexport {

using Channels = std::vector<std::shared_ptr<GrpcChannel>>;

// Where a prediction goes.
struct PredictRoute {
  std::string model;  // as the request is to name it
  std::string key;    // under which the addresses stood
  Channels channels;  // one or more
};

// The process's map of servers. All methods may run in any number of threads, and throw OpError.
class PredictServers {
 public:
  static PredictServers& Get();

  // Sets the map, which then counts in place of the environment's; null takes it back. Throws
  // OpError(kInvalidArgument) for text that is none, and changes nothing.
  void Set(const char* json);

  // The servers of a model: those under its name; or, unless some name in the map has ":ps" in it, those under the old
  // name with ':' for the first '_', or without an old name under "ps:<task>". Throws OpError(kUnavailable) where there
  // are none, kInvalidArgument for a map that is none.
  PredictRoute Find(const std::string& model, const std::string& old_model, std::int64_t task);

 private:
  struct Map {
    std::string source;
    bool new_names = false;
    std::map<std::string, Channels> channels;
  };
  using MapPointer = std::shared_ptr<const Map>;

  PredictServers() = default;
  MapPointer Current();
  MapPointer FromFile(const std::string& path);
  // Channels to addresses that were there before are kept, with their connections.
  static MapPointer Make(std::string_view json, std::string source, const Map* before);

  std::mutex mutex_;
  MapPointer set_;
  // What the environment said when it was last looked at, and the state of its file.
  std::string environment_;
  std::string file_state_;
  MapPointer from_environment_;
};

// What the servers of a route said of a request, and who said it.
struct PredictAnswer {
  RpcStatus status;
  std::string address;
  std::string response;
};

// Asks one of the servers, any. Those that are unavailable are passed over while there are others and the deadline
// lasts: a request may reach several servers, the last of which answers.
PredictAnswer CallPredict(const PredictRoute& route, std::string_view request,
                          std::chrono::steady_clock::time_point deadline);

}  // namespace mexport
