// The set of files that a dump is: docs/formats/hash_table.md.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tf_ops/platform.h"

namespace mexport {

constexpr std::size_t kMaxShards = 99999;

std::string ShardPath(const std::string& basename, std::size_t shard, std::size_t shards);

// The files of a dump in the order of their numbers. Throws OpError(kInvalidArgument) when there are none, some are
// missing, or they are of more than one set.
std::vector<std::string> FindShards(Platform& platform, const std::string& basename);

// Writes a dump's files under names that no reader takes for a dump's, and then gives them their names. Where that is
// not reached, the files are removed.
class ShardStaging {
 public:
  // Each basename gets `shards` files. Makes the folder.
  ShardStaging(Platform& platform, std::vector<std::string> basenames, std::size_t shards);
  ~ShardStaging();
  ShardStaging(const ShardStaging&) = delete;
  ShardStaging& operator=(const ShardStaging&) = delete;

  // Where to write the shard of the basename of that number.
  const std::string& path(std::size_t basename, std::size_t shard) const { return temporary_[basename][shard]; }
  // REQUIRES: all files are written and closed
  void Publish();

 private:
  Platform& platform_;
  std::vector<std::string> basenames_;
  std::size_t shards_;
  std::vector<std::vector<std::string>> temporary_;
  bool published_ = false;
};

}  // namespace mexport
