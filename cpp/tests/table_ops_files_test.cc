// Saving and restoring tables on a file system that fails at any of its operations.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/wire.h"
#include "tf_ops/filter_files.h"
#include "tf_ops/platform.h"
#include "tf_ops/table.h"
#include "tf_ops/table_files.h"

namespace mexport {
namespace {

// Files in memory. Fails at the operation of a number, and at all later ones of those that write.
class MemoryPlatform final : public Platform {
 public:
  std::map<std::string, std::string> files;
  std::atomic<int> operations{0};
  int fail_at = -1;

  std::unique_ptr<InputFile> OpenForRead(const std::string& path) override {
    Count();
    const std::lock_guard lock(mutex_);
    const auto found = files.find(path);
    if (found == files.end()) throw OpError(OpError::kNotFound, path + ": no such file");
    return std::make_unique<Input>(*this, found->second);
  }
  std::unique_ptr<OutputFile> Create(const std::string& path) override {
    Count();
    const std::lock_guard lock(mutex_);
    files[path].clear();
    return std::make_unique<Output>(*this, path);
  }
  std::vector<std::string> List(const std::string& folder) override {
    Count();
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [path, content] : files) {
      if (path.starts_with(folder)) names.push_back(path.substr(folder.size()));
    }
    return names;
  }
  void CreateFolder(const std::string&) override { Count(); }
  void Rename(const std::string& from, const std::string& to) override {
    Count();
    const std::lock_guard lock(mutex_);
    files[to] = files.extract(from).mapped();
  }
  void Remove(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (files.erase(path) == 0) throw OpError(OpError::kNotFound, path + ": no such file");
  }
  // Blocks are kept as they are, behind their size.
  void SnappyCompress(const std::uint8_t* data, std::size_t size, std::string* out) override {
    std::uint8_t varint[10];
    const std::uint8_t* const end = StoreVarint(varint, size);
    out->assign(reinterpret_cast<const char*>(varint), static_cast<std::size_t>(end - varint));
    out->append(reinterpret_cast<const char*>(data), size);
  }
  bool SnappyUncompress(const std::uint8_t* block, std::size_t block_size, std::uint8_t* out,
                        std::size_t size) override {
    if (block_size != size + VarintSize(size)) return false;
    std::memcpy(out, block + VarintSize(size), size);
    return true;
  }
  void CheckCancelled() override { Count(); }

 private:
  class Input final : public InputFile {
   public:
    Input(MemoryPlatform& platform, std::string content) : platform_(platform), content_(std::move(content)) {}
    std::size_t ReadAt(std::uint64_t offset, std::uint8_t* buffer, std::size_t size) override {
      platform_.Count();
      if (offset >= content_.size()) return 0;
      const std::size_t n = std::min<std::size_t>(size, content_.size() - offset);
      std::memcpy(buffer, content_.data() + offset, n);
      return n;
    }
    std::uint64_t Size() const override { return content_.size(); }

   private:
    MemoryPlatform& platform_;
    std::string content_;
  };
  class Output final : public OutputFile {
   public:
    Output(MemoryPlatform& platform, std::string path) : platform_(platform), path_(std::move(path)) {}
    void Append(const void* data, std::size_t size) override {
      platform_.Count();
      const std::lock_guard lock(platform_.mutex_);
      platform_.files[path_].append(static_cast<const char*>(data), size);
    }
    void Sync() override { platform_.Count(); }
    void Close() override { platform_.Count(); }

   private:
    MemoryPlatform& platform_;
    std::string path_;
  };

  void Count() {
    if (operations++ == fail_at) throw OpError(OpError::kDataLoss, "the operation was made to fail");
  }

  std::mutex mutex_;
};

// One segment of two floats with adagrad, zeros and fp32.
std::string Config() {
  WireWriter segment;
  WireWriter zeros;
  zeros.Message(1, {});
  WireWriter adagrad;
  adagrad.Message(1, {});
  WireWriter fp32;
  fp32.Message(1, {});
  segment.Message(1, zeros);
  segment.Message(2, adagrad);
  segment.Message(3, fp32);
  segment.Varint(7, 2);
  WireWriter entry;
  entry.Message(1, segment);
  WireWriter config;
  config.Message(1, entry);
  config.Message(5, {});
  return {config.bytes().begin(), config.bytes().end()};
}

void Fill(const Table& table, float value, std::int64_t count = 6000) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(i);
  const std::vector<float> values(ids.size() * 2, value);
  table.Assign({ids.data(), ids.size()}, {values.data(), values.size()}, 5);
}

float First(const Table& table) {
  const std::int64_t id = 0;
  float values[2];
  table.Lookup({&id, 1}, values);
  return values[0];
}

std::vector<Table> Tables(float value) {
  std::vector<Table> tables;
  for (const char* name : {"b", "a"}) {
    tables.emplace_back(name, Config(), nullptr);
    if (value != 0) Fill(tables.back(), value);
  }
  return tables;
}

// What a reader finds: the value that was saved, or 0 for no dump or half a one.
float Found(MemoryPlatform& platform, bool several) {
  platform.fail_at = -1;
  const std::vector<Table> tables = Tables(0);
  try {
    if (several) {
      RestoreTables(platform, tables, "d/t");
    } else {
      RestoreTable(platform, tables[0], "d/t");
    }
  } catch (const OpError&) {
    return 0;
  }
  if (several) {
    EXPECT_EQ(First(tables[0]), First(tables[1]));
  }
  return First(tables[0]);
}

class TableOpsFilesTest : public testing::TestWithParam<bool> {
 protected:
  void Save(float value, std::int64_t shards) {
    const std::vector<Table> tables = Tables(value);
    SaveOptions options;
    options.shards = shards;
    if (GetParam()) {
      SaveTables(platform, tables, "d/t", options);
    } else {
      SaveTable(platform, tables[0], "d/t", options);
    }
  }

  MemoryPlatform platform;
};

TEST_P(TableOpsFilesTest, AFailedSaveIsAnErrorAndNeverAMixture) {
  Save(1, 2);
  const std::map<std::string, std::string> old = platform.files;
  platform.operations = 0;
  Save(2, 3);
  const int all = platform.operations;
  EXPECT_EQ(Found(platform, GetParam()), 2);
  bool kept = false;
  for (int i = 0; i < all; ++i) {
    platform.files = old;
    platform.operations = 0;
    platform.fail_at = i;
    EXPECT_THROW(Save(2, 3), OpError) << i;
    const float found = Found(platform, GetParam());
    EXPECT_TRUE(found == 1 || found == 0) << found << " at " << i;
    kept = kept || found == 1;
    for (const auto& [path, content] : platform.files) EXPECT_EQ(path.find("-tmp-"), std::string::npos) << path;
  }
  EXPECT_TRUE(kept);
}

TEST_P(TableOpsFilesTest, AFailedRestoreLeavesTheTablesAsTheyWere) {
  Save(2, 3);
  const auto restore = [&](const std::vector<Table>& tables) {
    platform.operations = 0;
    if (GetParam()) {
      RestoreTables(platform, tables, "d/t");
    } else {
      RestoreTable(platform, tables[0], "d/t");
    }
  };
  restore(Tables(0));
  for (int i = 0, all = platform.operations; i < all; ++i) {
    const std::vector<Table> tables = Tables(0);
    platform.fail_at = i;
    EXPECT_THROW(restore(tables), OpError) << i;
    for (const Table& table : tables) EXPECT_EQ(table.size(), 0u) << i;
    platform.fail_at = -1;
  }
}

TEST_P(TableOpsFilesTest, AnyBitThatFlipsIsFound) {
  Save(2, 1);
  const std::map<std::string, std::string> whole = platform.files;
  for (const auto& [path, content] : whole) {
    for (std::size_t at = 0; at < content.size(); at += content.size() / 50 + 1) {
      platform.files = whole;
      platform.files[path][at] = static_cast<char>(content[at] ^ 4);
      EXPECT_EQ(Found(platform, GetParam()), 0) << path << " " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OneAndSeveral, TableOpsFilesTest, testing::Bool());

TEST(FilterFilesTest, AFailedRestoreLeavesTheFilterAsItWas) {
  MemoryPlatform platform;
  SlidingFilter saved(300, 7, OccurrenceThresholds(""));
  saved.Add(1 << 17, 5);
  SaveFilter(platform, saved, "d/f");
  SlidingFilter filter(300, 7, OccurrenceThresholds(""));
  platform.operations = 0;
  RestoreFilter(platform, filter, "d/f");
  EXPECT_EQ(filter.Add(1 << 17, 1), 5u);
  for (int i = 0, all = platform.operations; i < all; ++i) {
    platform.operations = 0;
    platform.fail_at = i;
    SlidingFilter fresh(300, 7, OccurrenceThresholds(""));
    EXPECT_THROW(RestoreFilter(platform, fresh, "d/f"), OpError);
    EXPECT_EQ(fresh.Add(1 << 17, 1), 0u);
  }
}

}  // namespace
}  // namespace mexport
