// Pushes the entries that training changed to the servers of a model: docs/parameter_sync.md.
//
// This header is C++17: see platform.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tf_ops/table.h"
#include "tf_ops/touched_ids.h"

namespace mexport {

// What is read of a serialised ClientConfig.
struct ClientConfig {
  static constexpr std::int64_t kDefaultTimeoutMillis = 1000;

  std::string model;
  std::string signature;
  std::vector<std::string> targets;
  std::int64_t timeout_millis = kDefaultTimeoutMillis;
};

// Throws OpError(kInvalidArgument) for bytes that are none and for a timeout below 1.
ClientConfig ParseClientConfig(const std::string& bytes);

// All methods may run in any number of threads; one push runs at a time.
class SyncClient {
 public:
  explicit SyncClient(ClientConfig config);
  ~SyncClient();

  // From now on the tables' changed entries are pushed, as long as the tables live. Tables by themselves go together in
  // one request, tables of one name in a request of their own.
  void Track(Table* table);
  void Track(const std::string& name, std::vector<Table>* tables);

  // Pushes to all targets and returns a PushResult as JSON, with a response for each request: "{}" if nothing was to be
  // pushed. What a target did not take, or could not, is pushed to it again the next time. Another config counts from
  // now on. Throws OpError(kResourceExhausted) where memory ends; nothing is forgotten then.
  std::string Push(const ClientConfig* config);

 private:
  struct Member;
  struct Group;
  struct Target;
  using Groups = std::vector<std::shared_ptr<Group>>;

  // Tables by themselves first, each kind in the order of the names.
  Groups LiveGroups();
  void SetTargets();
  void Distribute(const Groups& groups);

  std::mutex tracking_mutex_;
  std::vector<std::weak_ptr<Group>> groups_;  // guarded by tracking_mutex_
  std::uint64_t next_serial_ = 0;             // guarded by tracking_mutex_

  std::mutex pushing_mutex_;
  // Guarded by pushing_mutex_.
  ClientConfig config_;
  std::map<std::string, std::unique_ptr<Target>> targets_;
};

}  // namespace mexport
