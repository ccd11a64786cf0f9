// Table dumps as a whole. The first byte of an input chooses: a shard file (as it is, or with its checksums made
// right), a data file of several tables, a configuration.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "core/byte_stream.h"
#include "core/table_config.h"
#include "core/table_reader.h"
#include "core/table_writer.h"
#include "fuzz/fuzzing.h"
#include "tests/entry_columns.h"

namespace mexport {
namespace {

// A file without a name.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("fuzz", 0)) {
    MEXPORT_FUZZ_CHECK(fd_ >= 0);
    MEXPORT_FUZZ_CHECK(::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(fd_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

std::shared_ptr<RecordReader> Open(const std::string& path) {
  return std::make_shared<RecordReader>(std::make_unique<FileSource>(File::OpenForRead(path)), path, kMaxEntryBytes);
}

// All ways to read agree: at once, record by record, in pieces. A file that is written again holds the same.
void Shard(std::string_view bytes) {
  const MemoryFile file(bytes);
  const std::vector<std::string> paths = {file.path()};
  EntryBatch batch;
  const bool good = ErrorOf([&] { batch = ReadTableFiles(paths, std::nullopt, 1); }).empty();
  EntryBatch streamed;
  MEXPORT_FUZZ_CHECK(ErrorOf([&] { streamed = ReadTableStreams(paths, std::nullopt, Open, 1); }).empty() == good);
  TableIterator iterator(paths, std::nullopt, Open);
  std::size_t rows = 0;
  const auto iterate = [&] {
    for (;;) {
      const std::size_t n = iterator.Next(3).rows();
      if (n == 0) return;
      rows += n;
    }
  };
  MEXPORT_FUZZ_CHECK(ErrorOf(iterate).empty() == good);
  if (!good) return;
  MEXPORT_FUZZ_CHECK(rows == batch.rows() && streamed.layout() == batch.layout());
  MEXPORT_FUZZ_CHECK(ColumnsOf(streamed) == ColumnsOf(batch));
  // What the file holds bounds the memory.
  std::size_t size = 0;
  for (const std::string& column : ColumnsOf(batch)) size += column.size();
  MEXPORT_FUZZ_CHECK(size <= 2 * bytes.size());
  if (rows == 0) return;

  const MemoryFile again({});
  std::vector<std::uint64_t> order(rows);
  for (std::size_t i = 0; i < rows; ++i) order[i] = i;
  const EntryEncoder encoder(batch.layout());
  const EntrySource source = SourceOf(batch);
  WriteTableFiles({again.path()}, {encoder, source, order, encoder.CommonSize(source, rows)}, 1);
  EntryBatch back;
  MEXPORT_FUZZ_CHECK(ErrorOf([&] { back = ReadTableFiles({again.path()}, batch.layout(), 1); }).empty());
  MEXPORT_FUZZ_CHECK(ColumnsOf(back) == ColumnsOf(batch));
}

void Several(FuzzInput input) {
  MultiTableFile file;
  for (int parts = input.TakeByte() % 4; parts > 0; --parts) {
    const std::size_t table = input.TakeByte() % 3;
    file.parts.push_back({table, input.TakeNumber()});
  }
  std::string bytes(input.rest());
  RepairRecords(&bytes);
  const MemoryFile memory(bytes);
  file.path = memory.path();
  std::uint64_t rows = 0;
  const std::string error = ErrorOf([&] {
    for (const EntryBatch& batch : ReadMultiTableFiles({file}, 3, Open, 1)) rows += batch.rows();
  });
  if (!error.empty()) return;
  for (const TablePart& part : file.parts) rows -= part.entries;
  MEXPORT_FUZZ_CHECK(rows == 0);
}

void Config(std::string_view text) {
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  ErrorOf([&] {
    const TableConfig config = ParseTableConfig(bytes);
    std::int64_t dim = 0;
    for (const SegmentConfig& segment : config.segments) dim += segment.dim;
    MEXPORT_FUZZ_CHECK(dim > 0 && dim <= TableConfig::kMaxDim);
  });
  ErrorOf([&] { ParseMultiTableConfig(bytes); });
  ErrorOf([&] { ParseExpireConfig(bytes); });
}

void Run(const std::uint8_t* data, std::size_t size) {
  FuzzInput input(data, size);
  switch (input.TakeByte() % 4) {
    case 0:
      return Shard(input.rest());
    case 1: {
      std::string bytes(input.rest());
      RepairRecords(&bytes);
      return Shard(bytes);
    }
    case 2:
      return Several(input);
    case 3:
      return Config(input.rest());
  }
}

}  // namespace
}  // namespace mexport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mexport::Run(data, size);
  return 0;
}
