#include "tf_ops/shard_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <random>
#include <thread>
#include <utility>

namespace mexport {
namespace {

struct Shard {
  std::string path;
  std::size_t shard;
  std::size_t shards;
};

// Folder (with its separator) and name.
std::pair<std::string, std::string> Split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

bool FiveDigits(const std::string& text, std::size_t at, std::size_t* value) {
  *value = 0;
  for (std::size_t i = at; i < at + 5; ++i) {
    if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) return false;
    *value = *value * 10 + static_cast<std::size_t>(text[i] - '0');
  }
  return true;
}

// Files that are named like a shard of the dump, sorted by name. Names are compared, not matched as patterns.
std::vector<Shard> ListShards(Platform& platform, const std::string& basename) {
  constexpr std::size_t kSuffix = 15;  // -00000-of-00004
  const auto [folder, name] = Split(basename);
  std::vector<Shard> found;
  for (const std::string& entry : platform.List(folder)) {
    if (entry.size() != name.size() + kSuffix || entry.compare(0, name.size(), name) != 0) continue;
    Shard shard{folder + entry, 0, 0};
    const std::size_t at = name.size();
    if (entry[at] == '-' && FiveDigits(entry, at + 1, &shard.shard) && entry.compare(at + 6, 4, "-of-") == 0 &&
        FiveDigits(entry, at + 10, &shard.shards)) {
      found.push_back(std::move(shard));
    }
  }
  std::sort(found.begin(), found.end(), [](const Shard& a, const Shard& b) { return a.path < b.path; });
  return found;
}

// One writer at a time gives files their names in a folder. Does nothing in one that is not this machine's or that the
// file system cannot lock. mexport_pb/table/shards.py takes the same lock.
class FolderLock {
 public:
  FolderLock(Platform& platform, const std::string& folder)
      : fd_(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) return;
      try {
        platform.CheckCancelled();
        if (std::chrono::steady_clock::now() > deadline) {
          throw OpError(OpError::kFailedPrecondition, folder + ": another writer keeps the folder locked");
        }
      } catch (...) {
        ::close(fd_);
        throw;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() {
    if (fd_ < 0) return;
    // A child of a fork may still have the descriptor.
    static_cast<void>(::flock(fd_, LOCK_UN));
    ::close(fd_);
  }

 private:
  const int fd_;
};

}  // namespace

std::string ShardPath(const std::string& basename, std::size_t shard, std::size_t shards) {
  char suffix[64];
  std::snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu", shard, shards);
  return basename + suffix;
}

std::vector<std::string> FindShards(Platform& platform, const std::string& basename) {
  const std::vector<Shard> found = ListShards(platform, basename);
  if (found.empty()) {
    throw OpError(OpError::kInvalidArgument, basename + ": There is no valid sharded files");
  }
  const std::size_t shards = found.front().shards;
  std::vector<std::string> paths(shards);
  for (const Shard& shard : found) {
    if (shard.shards != shards) {
      throw OpError(OpError::kInvalidArgument, shard.path + ": doesn't match nshards: got " +
                                                   std::to_string(shard.shards) + ", want " + std::to_string(shards));
    }
    if (shard.shard >= shards) {
      throw OpError(OpError::kInvalidArgument, shard.path + ": shard exceeds nshards: got " +
                                                   std::to_string(shard.shard) + ", want less than " +
                                                   std::to_string(shards));
    }
    paths[shard.shard] = shard.path;
  }
  for (std::size_t i = 0; i < shards; ++i) {
    if (!paths[i].empty()) continue;
    throw OpError(OpError::kInvalidArgument,
                  basename + ": shard " + std::to_string(i) + " of " + std::to_string(shards) + " doesn't show up");
  }
  return paths;
}

ShardStaging::ShardStaging(Platform& platform, std::vector<std::string> basenames, std::size_t shards)
    : platform_(platform), basenames_(std::move(basenames)), shards_(shards) {
  const std::string folder = Split(basenames_.front()).first;
  if (!folder.empty()) platform_.CreateFolder(folder);
  std::random_device random;
  for (const std::string& basename : basenames_) {
    std::vector<std::string>& paths = temporary_.emplace_back();
    for (std::size_t i = 0; i < shards; ++i) {
      const std::uint64_t number = static_cast<std::uint64_t>(random()) << 32 | random();
      paths.push_back(ShardPath(basename, i, shards) + "-tmp-" + std::to_string(number));
    }
  }
}

ShardStaging::~ShardStaging() {
  if (published_) return;
  for (const std::vector<std::string>& paths : temporary_) {
    for (const std::string& path : paths) {
      try {
        platform_.Remove(path);
      } catch (const OpError&) {
        // It was not there yet, or has its name already; no reader takes it for a dump's.
      }
    }
  }
}

void ShardStaging::Publish() {
  const FolderLock lock(platform_, Split(basenames_.front()).first);
  for (std::size_t b = 0; b < basenames_.size(); ++b) {
    for (const Shard& old : ListShards(platform_, basenames_[b])) platform_.Remove(old.path);
  }
  // The last basename's files first: what a reader looks for comes last.
  for (std::size_t b = basenames_.size(); b-- > 0;) {
    for (std::size_t i = 0; i < shards_; ++i) {
      platform_.Rename(temporary_[b][i], ShardPath(basenames_[b], i, shards_));
    }
  }
  published_ = true;
}

}  // namespace mexport
