#include "tf_ops/sync_client.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <set>
#include <span>
#include <utility>

#include "core/embedding_table.h"
#include "core/entry_codec.h"
#include "core/error.h"
#include "core/grpc_channel.h"
#include "core/parallel.h"
#include "core/wire.h"
#include "tf_ops/predict_message.h"
#include "tf_ops/push_request.h"
#include "tf_ops/push_result.h"

namespace mexport {
namespace {

constexpr char kDefaultSignature[] = "hashtable_assign";
// Targets that are pushed to at a time.
constexpr std::size_t kThreads = 16;

using IdList = std::shared_ptr<const std::vector<std::int64_t>>;

std::string View(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

// Those of the ids that have an entry: filters leave new ids out, and entries expire.
std::vector<std::int64_t> Present(const EmbeddingTable& rows, const std::vector<std::int64_t>& ids) {
  std::vector<std::uint8_t> present(ids.size());
  rows.Contains(AsIds(ids), present.data());
  std::vector<std::int64_t> found;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (present[i] != 0) found.push_back(ids[i]);
  }
  return found;
}

bool CannotBeReached(int code) { return code == rpc_code::kUnavailable || code == rpc_code::kDeadlineExceeded; }

}  // namespace

// A table, and the ids that no target knows of yet.
struct SyncClient::Member {
  std::uint64_t serial;
  std::string name;
  std::shared_ptr<EmbeddingTable> rows;
  TouchedIds touched;
};

// What goes in one request: one table of many, or all tables of one name. The tables keep it alive.
struct SyncClient::Group {
  std::string name;
  bool together;
  std::vector<std::unique_ptr<Member>> members;

  std::shared_ptr<TouchedIds> Add(const std::shared_ptr<Group>& self, const Table& table, std::uint64_t serial) {
    members.push_back(std::make_unique<Member>());
    Member& member = *members.back();
    member.serial = serial;
    member.name = table.name();
    member.rows = table.shared_rows();
    return {self, &member.touched};
  }
};

// A server, and the ids that it has to get yet, by the serial number of their table.
struct SyncClient::Target {
  explicit Target(std::string where) : address(std::move(where)) {
    try {
      channel = std::make_unique<GrpcChannel>(address);
    } catch (const Error& error) {
      refused = error.what();
    }
  }

  void Push(const ClientConfig& config, const Groups& groups);
  void PushBatchOf(const ClientConfig& config, std::span<const std::shared_ptr<Group>> groups);
  // False when the target cannot be reached: the rest need not be tried.
  bool Send(const ClientConfig& config, const PushBatch& batch, std::size_t part, std::size_t parts);

  std::string address;
  std::unique_ptr<GrpcChannel> channel;  // null where the address is none
  std::string refused;
  std::map<std::uint64_t, IdList> owed;
  std::vector<PushResponse> responses;  // of the push that runs
};

ClientConfig ParseClientConfig(const std::string& bytes) {
  ClientConfig config;
  std::set<std::string> seen;
  try {
    for (WireReader message({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}); message.Next();) {
      if (message.Is(1, WireType::kBytes)) {
        config.model = View(message.ReadBytes());
      } else if (message.Is(2, WireType::kBytes)) {
        config.signature = View(message.ReadBytes());
      } else if (message.Is(3, WireType::kBytes)) {
        std::string target = View(message.ReadBytes());
        if (seen.insert(target).second) config.targets.push_back(std::move(target));
      } else if (message.Is(4, WireType::kVarint)) {
        config.timeout_millis = static_cast<std::int64_t>(message.ReadVarint());
      } else {
        message.Skip();
      }
    }
  } catch (const WireError& error) {
    throw OpError(OpError::kInvalidArgument, std::string("sync client: config is no ClientConfig: ") + error.what());
  }
  if (config.timeout_millis < 1 || config.timeout_millis > INT32_MAX) {
    throw OpError(OpError::kInvalidArgument, "sync client: timeout_in_ms: got " +
                                                 std::to_string(config.timeout_millis) + ", want 1 to " +
                                                 std::to_string(INT32_MAX));
  }
  if (config.signature.empty()) config.signature = kDefaultSignature;
  return config;
}

SyncClient::SyncClient(ClientConfig config) : config_(std::move(config)) { SetTargets(); }

SyncClient::~SyncClient() = default;

void SyncClient::Track(Table* table) {
  const std::lock_guard lock(tracking_mutex_);
  auto group = std::make_shared<Group>();
  group->name = table->name();
  group->together = false;
  table->TrackTouched(group->Add(group, *table, next_serial_++));
  groups_.push_back(group);
}

void SyncClient::Track(const std::string& name, std::vector<Table>* tables) {
  const std::lock_guard lock(tracking_mutex_);
  auto group = std::make_shared<Group>();
  group->name = name;
  group->together = true;
  for (Table& table : *tables) table.TrackTouched(group->Add(group, table, next_serial_++));
  groups_.push_back(group);
}

SyncClient::Groups SyncClient::LiveGroups() {
  Groups groups;
  {
    const std::lock_guard lock(tracking_mutex_);
    std::erase_if(groups_, [](const std::weak_ptr<Group>& group) { return group.expired(); });
    for (const std::weak_ptr<Group>& weak : groups_) {
      if (std::shared_ptr<Group> group = weak.lock()) groups.push_back(std::move(group));
    }
  }
  std::stable_sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
    return std::pair(a->together, std::string_view(a->name)) < std::pair(b->together, std::string_view(b->name));
  });
  return groups;
}

void SyncClient::SetTargets() {
  std::map<std::string, std::unique_ptr<Target>> targets;
  for (const std::string& address : config_.targets) {
    std::unique_ptr<Target>& target = targets[address];
    const auto known = targets_.find(address);
    target = known != targets_.end() ? std::move(known->second) : std::make_unique<Target>(address);
  }
  targets_ = std::move(targets);
}

// Lets each target owe what was touched since.
void SyncClient::Distribute(const Groups& groups) {
  std::set<std::uint64_t> live;
  for (const std::shared_ptr<Group>& group : groups) {
    for (const std::unique_ptr<Member>& member : group->members) {
      live.insert(member->serial);
      const auto fresh = std::make_shared<const std::vector<std::int64_t>>(member->touched.Take());
      if (fresh->empty()) continue;
      try {
        for (const auto& [address, target] : targets_) {
          IdList& owed = target->owed[member->serial];
          if (owed == nullptr) {
            owed = fresh;
            continue;
          }
          std::vector<std::int64_t> merged;
          merged.reserve(owed->size() + fresh->size());
          std::set_union(owed->begin(), owed->end(), fresh->begin(), fresh->end(), std::back_inserter(merged));
          owed = std::make_shared<const std::vector<std::int64_t>>(std::move(merged));
        }
      } catch (...) {
        member->touched.Add(fresh->data(), fresh->size());
        throw;
      }
    }
  }
  for (const auto& [address, target] : targets_) {
    std::erase_if(target->owed,
                  [&](const auto& entry) { return entry.second == nullptr || !live.contains(entry.first); });
  }
}

std::string SyncClient::Push(const ClientConfig* config) {
  const std::lock_guard lock(pushing_mutex_);
  if (config != nullptr) {
    config_ = *config;
    SetTargets();
  }
  // What is touched while there is nobody to push to waits for somebody.
  if (targets_.empty()) return PushResultJson({});
  const Groups groups = LiveGroups();
  Distribute(groups);
  std::vector<Target*> targets;
  for (const auto& [address, target] : targets_) targets.push_back(target.get());
  RunTasks(targets.size(), kThreads, [&](std::size_t i) { targets[i]->Push(config_, groups); });
  std::vector<PushResponse> responses;
  for (Target* target : targets) {
    responses.insert(responses.end(), target->responses.begin(), target->responses.end());
    target->responses.clear();
  }
  return PushResultJson(responses);
}

void SyncClient::Target::Push(const ClientConfig& config, const Groups& groups) {
  responses.clear();
  const std::span<const std::shared_ptr<Group>> all(groups);
  const auto first_together =
      std::find_if(groups.begin(), groups.end(), [](const auto& group) { return group->together; });
  const auto alone = static_cast<std::size_t>(first_together - groups.begin());
  PushBatchOf(config, all.first(alone));
  for (std::size_t i = alone; i < groups.size(); ++i) PushBatchOf(config, all.subspan(i, 1));
}

void SyncClient::Target::PushBatchOf(const ClientConfig& config, std::span<const std::shared_ptr<Group>> groups) {
  PushBatch batch{config.model, config.signature, false, {}};
  std::vector<std::uint64_t> serials;
  for (const std::shared_ptr<Group>& group : groups) {
    if (group->together) {
      batch.signature = group->name + kRawAssignSuffix;
      batch.together = true;
    }
    for (const std::unique_ptr<Member>& member : group->members) {
      const auto found = owed.find(member->serial);
      std::vector<std::int64_t> ids;
      if (found != owed.end()) ids = Present(*member->rows, *found->second);
      batch.tables.push_back({member->name, member->rows.get(), std::move(ids)});
      serials.push_back(member->serial);
    }
  }
  std::vector<std::vector<std::int64_t>> left(batch.tables.size());
  if (batch.ids() > 0) {
    const std::size_t parts = batch.parts();
    bool reached = responses.empty() || !CannotBeReached(responses.back().status_code);
    for (std::size_t part = 0; part < parts; ++part) {
      bool sent = false;
      if (reached) {
        reached = Send(config, batch, part, parts);
        sent = responses.back().status_code == rpc_code::kOk;
      }
      if (sent) continue;
      for (std::size_t i = 0; i < left.size(); ++i) {
        const PushTable& table = batch.tables[i];
        const PushRange range = RangeOf(table, part, parts);
        left[i].insert(left[i].end(), table.ids.data() + range.begin, table.ids.data() + range.end);
      }
    }
  }
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i].empty()) {
      owed.erase(serials[i]);
    } else {
      owed[serials[i]] = std::make_shared<const std::vector<std::int64_t>>(std::move(left[i]));
    }
  }
}

bool SyncClient::Target::Send(const ClientConfig& config, const PushBatch& batch, std::size_t part, std::size_t parts) {
  PushResponse response;
  response.target = address;
  RpcStatus status(rpc_code::kInvalidArgument, refused);
  if (channel != nullptr) {
    std::string answer;
    status = channel->Call(kPredictMethod, MakePushRequest(batch, part, parts),
                           std::chrono::milliseconds(config.timeout_millis), &answer);
  }
  response.status_code = status.code;
  response.error_message = status.message;
  if (status.ok()) {
    for (const PushTable& table : batch.tables) {
      const PushRange range = RangeOf(table, part, parts);
      response.update_num += static_cast<std::int32_t>(range.end - range.begin);
    }
  }
  responses.push_back(std::move(response));
  return !CannotBeReached(status.code);
}

}  // namespace mexport
