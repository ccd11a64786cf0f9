// Several tables from snappy files. The blocks of a file are decompressed by several threads, then its records decoded
// by several threads, where they are. Whatever is out of the ordinary is left to the reader that goes record by record,
// which knows all there is to know about damage.
#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/byte_buffer.h"
#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/record_snappy.h"
#include "core/snappy.h"
#include "core/snappy_format.h"
#include "core/table_frames.h"
#include "core/table_reader.h"
#include "core/wire.h"

namespace mexport {
namespace {

using record_format::kHeaderBytes;
using record_format::LoadCrc;
using record_format::LoadLength;
using record_format::MaskedCrc;
using snappy_format::kBlockBytes;
using snappy_format::kMaxSizeBytes;
using snappy_format::kPrefixBytes;

// Blocks of each thread at a time. A lone thread takes one, which stays in its second-level cache.
constexpr std::size_t kBlocksPerThread = 8;
// Records of a task of several threads.
constexpr std::size_t kTaskRecords = 512;
// Files of blocks that are smaller on average were written by somebody else.
constexpr std::uint64_t kMinBlockBytes = 1024;
constexpr std::uint64_t kMaxFrameBytes = std::uint64_t{16} << 20;
// An id and its tag.
constexpr std::uint64_t kMinEntryBytes = 9;

// Not what the fast way is made for.
struct OutOfTheOrdinary {};

struct Block {
  std::uint64_t offset;  // of the raw block
  std::size_t size;
  std::size_t plain;
};

// A table that several files add to.
class Target {
 public:
  void Expect(std::uint64_t rows) { rows_ += rows; }

  // Joins a file that learned `layout` from its first entry. `plain` bytes hold the entries of all files.
  const EntryDecoder& Join(const EntryLayout& layout, std::uint64_t plain) {
    const std::lock_guard lock(mutex_);
    if (!decoder_) {
      decoder_.emplace(layout);
      const std::uint64_t entry = std::max<std::uint64_t>(kMinEntryBytes, decoder_->MinEntryBytes());
      if (rows_ > plain / (entry + kFrameBytes)) throw OutOfTheOrdinary{};
      batch_ = EntryBatch(layout);
      batch_.Reserve(static_cast<std::size_t>(rows_));
    }
    if (!(decoder_->layout() == layout)) throw OutOfTheOrdinary{};
    return *decoder_;
  }

  // REQUIRES: Join()
  const EntryTarget& columns() const { return batch_.target(); }

  EntryBatch Take() {
    batch_.SetRows(static_cast<std::size_t>(decoder_ ? rows_ : 0));
    return std::move(batch_);
  }

 private:
  std::mutex mutex_;
  std::uint64_t rows_ = 0;
  std::optional<EntryDecoder> decoder_;
  EntryBatch batch_;
};

std::vector<Block> FindBlocks(const File& file) {
  const std::uint64_t end = file.Size();
  std::vector<Block> blocks;
  for (std::uint64_t offset = 0; offset < end;) {
    std::array<std::uint8_t, kPrefixBytes + kMaxSizeBytes> front;
    const std::size_t got = file.ReadAt(offset, front.data(), front.size());
    if (got <= kPrefixBytes) throw OutOfTheOrdinary{};
    const std::size_t size = snappy_format::LoadPrefix(front.data());
    offset += kPrefixBytes;
    if (size == 0 || size > end - offset || size > MaxSnappyBytes(kBlockBytes)) throw OutOfTheOrdinary{};
    const std::size_t plain =
        snappy_format::PlainSize({front.data() + kPrefixBytes, std::min(got - kPrefixBytes, size)}, size);
    if (plain > kBlockBytes || blocks.size() > 1 + end / kMinBlockBytes) throw OutOfTheOrdinary{};
    blocks.push_back({offset, size, plain});
    offset += size;
  }
  return blocks;
}

class FileReader {
 public:
  FileReader(const MultiTableFile& file, std::vector<std::uint64_t> first_rows, std::vector<Target>& targets)
      : file_(File::OpenForRead(file.path)),
        parts_(file.parts),
        next_rows_(std::move(first_rows)),
        targets_(targets),
        decoders_(targets.size()),
        blocks_(FindBlocks(file_)) {}

  std::uint64_t PlainBytes() const {
    std::uint64_t size = 0;
    for (const Block& block : blocks_) size += block.plain;
    return size;
  }

  void Read(std::uint64_t all_plain, std::size_t threads) {
    all_plain_ = all_plain;
    const std::size_t at_a_time = threads == 1 ? 1 : kBlocksPerThread * threads;
    raw_.resize(std::min(at_a_time, blocks_.size()));
    for (std::size_t first = 0; first < blocks_.size(); first += at_a_time) {
      Decompress(first, std::min(at_a_time, blocks_.size() - first), threads);
      if (threads == 1) {
        ForEachRecord([this](const Record& record) { Decode(record); });
      } else {
        records_.clear();
        ForEachRecord([this](const Record& record) { records_.push_back(record); });
        const std::size_t tasks = (records_.size() + kTaskRecords - 1) / kTaskRecords;
        RunTasks(tasks, threads, [&](std::size_t i) {
          const std::size_t end = std::min(records_.size(), (i + 1) * kTaskRecords);
          for (std::size_t k = i * kTaskRecords; k < end; ++k) Decode(records_[k]);
        });
      }
      std::memmove(plain_.data(), plain_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    PassFullParts();
    if (begin_ != end_ || part_ != parts_.size()) throw OutOfTheOrdinary{};
  }

 private:
  struct Record {
    const std::uint8_t* data;
    std::size_t size;
    std::size_t table;
    std::size_t row;
  };

  // Appends the data of some blocks to what is left of those before.
  void Decompress(std::size_t first, std::size_t n, std::size_t threads) {
    std::vector<std::size_t> places;
    std::size_t end = end_;
    for (std::size_t i = 0; i < n; ++i) {
      places.push_back(end);
      end += blocks_[first + i].plain;
    }
    if (plain_.capacity() < end) plain_.Resize(end);
    end_ = end;
    RunTasks(n, threads, [&](std::size_t i) {
      const Block& block = blocks_[first + i];
      if (raw_[i].capacity() < block.size) raw_[i].Resize(block.size);
      if (file_.ReadAt(block.offset, raw_[i].data(), block.size) != block.size) throw OutOfTheOrdinary{};
      Snappy().Decompress({raw_[i].data(), block.size}, {plain_.data() + places[i], block.plain});
    });
  }

  void PassFullParts() {
    for (; part_ < parts_.size() && taken_ == parts_[part_].entries; ++part_) taken_ = 0;
  }

  // Passes over those that have come whole.
  template <typename Use>
  void ForEachRecord(Use use) {
    while (end_ - begin_ >= kHeaderBytes) {
      const std::uint8_t* const header = plain_.data() + begin_;
      if (!check_.Accept(header)) throw OutOfTheOrdinary{};
      const std::uint64_t length = LoadLength(header);
      if (length > kMaxFrameBytes) throw OutOfTheOrdinary{};
      const std::size_t size = static_cast<std::size_t>(length) + kFrameBytes;
      if (size > end_ - begin_) break;
      PassFullParts();
      if (part_ == parts_.size()) throw OutOfTheOrdinary{};
      const std::size_t table = parts_[part_].table;
      const std::span<const std::uint8_t> record(header + kHeaderBytes, size - kFrameBytes);
      if (decoders_[table] == nullptr) {
        decoders_[table] = &targets_[table].Join(LearnEntryLayout(record), all_plain_);
      }
      use({record.data(), record.size(), table, static_cast<std::size_t>(next_rows_[table]++)});
      ++taken_;
      begin_ += size;
    }
  }

  void Decode(const Record& record) const {
    if (LoadCrc(record.data + record.size) != MaskedCrc(record.data, record.size)) throw OutOfTheOrdinary{};
    decoders_[record.table]->Decode({record.data, record.size}, targets_[record.table].columns(), record.row);
  }

  File file_;
  std::span<const TablePart> parts_;
  std::vector<std::uint64_t> next_rows_;  // of each table
  std::vector<Target>& targets_;
  std::vector<const EntryDecoder*> decoders_;
  std::vector<Block> blocks_;
  std::uint64_t all_plain_ = 0;
  std::vector<ByteBuffer> raw_;
  // Data that was not decoded yet: [begin_, end_).
  ByteBuffer plain_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  HeaderCheck check_;
  std::vector<Record> records_;
  std::size_t part_ = 0;
  std::uint64_t taken_ = 0;  // of that part
};

std::vector<EntryBatch> ReadFast(const std::vector<MultiTableFile>& files, std::size_t tables, std::size_t threads) {
  std::vector<Target> targets(tables);
  std::vector<std::vector<std::uint64_t>> first_rows;
  std::vector<std::uint64_t> rows(tables);
  for (const MultiTableFile& file : files) {
    first_rows.push_back(rows);
    for (const TablePart& part : file.parts) {
      if (part.entries > UINT64_MAX - rows[part.table]) throw OutOfTheOrdinary{};
      rows[part.table] += part.entries;
    }
  }
  for (std::size_t i = 0; i < tables; ++i) targets[i].Expect(rows[i]);
  std::vector<std::optional<FileReader>> readers(files.size());
  RunTasks(files.size(), threads, [&](std::size_t i) { readers[i].emplace(files[i], first_rows[i], targets); });
  std::uint64_t plain = 0;
  for (const std::optional<FileReader>& reader : readers) plain += reader->PlainBytes();
  const std::size_t beside = std::clamp<std::size_t>(files.size(), 1, threads);
  RunTasks(files.size(), beside, [&](std::size_t i) { readers[i]->Read(plain, threads / beside); });
  std::vector<EntryBatch> batches;
  for (Target& target : targets) batches.push_back(target.Take());
  return batches;
}

}  // namespace

std::shared_ptr<RecordReader> OpenSnappyRecords(const std::string& path) {
  auto file = std::make_unique<FileSource>(File::OpenForRead(path));
  return std::make_shared<RecordReader>(
      std::make_unique<SnappySource>(std::move(file), std::make_unique<Snappy>(), kMaxEntryBytes), path,
      kMaxEntryBytes);
}

std::vector<EntryBatch> ReadSnappyTableFiles(const std::vector<MultiTableFile>& files, std::size_t tables,
                                             std::size_t threads) {
  try {
    return ReadFast(files, tables, threads);
  } catch (const OutOfTheOrdinary&) {
  } catch (const Error&) {
  } catch (const WireError&) {
  }
  return ReadMultiTableFiles(files, tables, OpenSnappyRecords, threads);
}

}  // namespace mexport
