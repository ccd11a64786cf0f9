// A server that takes pushes and counts them, for tests: docs/parameter_sync.md.
//
// This header is C++17: see platform.h.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "core/grpc_server.h"
#include "core/rpc_status.h"

namespace mexport {

class SyncServer {
 public:
  // Throws OpError for an address that is none or that cannot be listened on.
  explicit SyncServer(const std::string& address);

  int port() const { return server_->port(); }
  // Takes no more pushes. Returns how many entries came: an id counts once for each table.
  std::int64_t Shutdown();

 private:
  RpcStatus Answer(std::string_view method, std::string_view request, std::string* response);
  void Take(std::string_view request);

  std::mutex mutex_;
  std::set<std::pair<std::string, std::int64_t>> entries_;  // guarded by mutex_
  std::unique_ptr<GrpcServer> server_;                      // last: it calls Answer()
};

}  // namespace mexport
