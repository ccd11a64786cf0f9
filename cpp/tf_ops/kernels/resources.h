// What handles stand for.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/sliding_filter.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tf_ops/sync_client.h"
#include "tf_ops/sync_server.h"
#include "tf_ops/table.h"

namespace mexport {

class TableResource final : public tensorflow::ResourceBase {
 public:
  explicit TableResource(Table table) : table_(std::move(table)) {}

  const Table& table() const { return table_; }
  std::string DebugString() const override { return "MonolithHashTable " + table_.name(); }

 private:
  Table table_;
};

class MultiTableResource final : public tensorflow::ResourceBase {
 public:
  explicit MultiTableResource(std::vector<Table> tables) : tables_(std::move(tables)) {}

  // In the order of the config's names.
  const std::vector<Table>& tables() const { return tables_; }
  std::string DebugString() const override {
    return "MonolithMultiHashTable of " + std::to_string(tables_.size()) + " tables";
  }

 private:
  std::vector<Table> tables_;
};

class FilterResource final : public tensorflow::ResourceBase {
 public:
  // Null filters nothing.
  explicit FilterResource(std::shared_ptr<OccurrenceFilter> filter) : filter_(std::move(filter)) {}

  const std::shared_ptr<OccurrenceFilter>& filter() const { return filter_; }
  // Null unless the filter has files.
  SlidingFilter* sliding() const { return dynamic_cast<SlidingFilter*>(filter_.get()); }
  std::string DebugString() const override { return "MonolithHashFilter"; }

 private:
  std::shared_ptr<OccurrenceFilter> filter_;
};

class SyncClientResource final : public tensorflow::ResourceBase {
 public:
  // Null pushes nothing.
  explicit SyncClientResource(std::unique_ptr<SyncClient> client) : client_(std::move(client)) {}

  SyncClient* client() const { return client_.get(); }
  std::string DebugString() const override { return "MonolithParameterSyncClient"; }

 private:
  std::unique_ptr<SyncClient> client_;
};

class SyncServerResource final : public tensorflow::ResourceBase {
 public:
  explicit SyncServerResource(const std::string& address) : server_(address) {}

  SyncServer& server() { return server_; }
  std::string DebugString() const override { return "MonolithDummySyncServer"; }

 private:
  SyncServer server_;
};

}  // namespace mexport
