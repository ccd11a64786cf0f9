// Tables in snappy files. How the records are cut into blocks is planned first, so that several threads can encode and
// compress them; the blocks are those of a RecordWriter on a SnappySink.
#include <algorithm>
#include <utility>

#include "core/byte_buffer.h"
#include "core/file.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/record_snappy.h"
#include "core/snappy.h"
#include "core/snappy_format.h"
#include "core/table_frames.h"

namespace mexport {
namespace {

using record_format::kFooterBytes;
using record_format::kHeaderBytes;
using snappy_format::kBlockBytes;
using snappy_format::kPrefixBytes;

constexpr std::size_t kPrefetchDistance = 16;
// Blocks of each thread between two writes.
constexpr std::size_t kBlocksPerThread = 8;

// Some rows of a table, whose records take `size` bytes.
struct Run {
  RowRange range;
  std::size_t size;
};

// Whole records, of which the first `skip` bytes belong to the block before and the last bytes to the one behind.
struct Block {
  std::size_t file;
  std::size_t first_run;
  std::size_t runs;
  std::size_t skip;
  std::size_t size;
};

class Planner {
 public:
  explicit Planner(const std::vector<TableToWrite>& tables) : tables_(tables) {}

  void AddFile(std::size_t file, std::size_t files) {
    Open(file, 0);
    for (std::size_t t = 0; t < tables_.size(); ++t) AddRows(ShardOf(t, tables_[t].rows.size(), file, files));
    Close();
  }

  const std::vector<Block>& blocks() const { return blocks_; }
  const std::vector<Run>& runs() const { return runs_; }

 private:
  void Open(std::size_t file, std::size_t skip) { block_ = {file, runs_.size(), 0, skip, 0}; }

  void Close() {
    if (block_.size == 0) return;
    block_.runs = runs_.size() - block_.first_run;
    blocks_.push_back(block_);
    PollInterrupt();
  }

  void AddRows(const RowRange& range) {
    const TableToWrite& table = tables_[range.table];
    Run run = {{range.table, range.begin, range.begin}, 0};
    for (std::size_t row = range.begin; row < range.end;) {
      std::size_t n = 1;
      // Sizes differ by the timestamps, which lie anywhere.
      if (!table.entry_size) {
        const std::size_t ahead = std::min(row + kPrefetchDistance, range.end - 1);
        __builtin_prefetch(table.source.timestamps + table.rows[ahead]);
      }
      const std::size_t frame = FramedSize(table, row, row + 1);
      const std::size_t room = kBlockBytes - block_.size;
      if (table.entry_size) n = std::clamp<std::size_t>(room / frame, 1, range.end - row);
      row += n;
      run.range.end = row;
      run.size += n * frame;
      if (n * frame <= room) {
        block_.size += n * frame;
        continue;
      }
      // A block ends between the pieces of a record: its header, its data, its footer.
      std::size_t front = 0;
      for (const std::size_t piece : {kHeaderBytes, frame - kFrameBytes, kFooterBytes}) {
        if (piece > room - front) break;
        front += piece;
      }
      block_.size += front;
      if (front == 0) {
        --run.range.end;
        run.size -= frame;
      }
      if (run.size > 0) runs_.push_back(run);
      Close();
      Open(block_.file, front);
      block_.size = frame - front;
      run = {{range.table, row - 1, row}, frame};
    }
    if (run.size > 0) runs_.push_back(run);
  }

  const std::vector<TableToWrite>& tables_;
  std::vector<Block> blocks_;
  std::vector<Run> runs_;
  Block block_{};
};

// What one thread at a time makes of a block.
struct Compressed {
  ByteBuffer plain;
  ByteBuffer bytes{kPrefixBytes + MaxSnappyBytes(kBlockBytes)};
  std::size_t size = 0;
  std::uint64_t offset = 0;
};

void Compress(const std::vector<TableToWrite>& tables, const std::vector<Run>& runs, const Block& block,
              Compressed& to) {
  std::size_t size = 0;
  std::size_t slack = 0;
  for (std::size_t i = block.first_run; i < block.first_run + block.runs; ++i) {
    size += runs[i].size;
    slack = std::max(slack, FramedSlack(tables[runs[i].range.table]));
  }
  if (to.plain.capacity() < size + slack) to.plain.Resize(size + slack);
  std::uint8_t* out = to.plain.data();
  for (std::size_t i = block.first_run; i < block.first_run + block.runs; ++i) {
    const RowRange& range = runs[i].range;
    EncodeFrames(tables[range.table], range.begin, range.end, out, runs[i].size);
    out += runs[i].size;
  }
  const std::size_t room = to.bytes.capacity() - kPrefixBytes;
  const std::size_t compressed =
      Snappy().Compress({to.plain.data() + block.skip, block.size}, {to.bytes.data() + kPrefixBytes, room});
  snappy_format::StorePrefix(to.bytes.data(), compressed);
  to.size = kPrefixBytes + compressed;
}

bool FitBlocks(const std::vector<TableToWrite>& tables) {
  return std::all_of(tables.begin(), tables.end(),
                     [](const TableToWrite& table) { return table.encoder.MaxSize() + kFrameBytes <= kBlockBytes; });
}

std::shared_ptr<RecordWriter> OpenSnappy(const std::string& path) {
  return std::make_shared<RecordWriter>(
      std::make_unique<SnappySink>(std::make_unique<FileSink>(File::Create(path)), std::make_unique<Snappy>()));
}

}  // namespace

void WriteSnappyTableFiles(const std::vector<std::string>& paths, const std::vector<TableToWrite>& tables,
                           std::size_t threads) {
  if (!FitBlocks(tables)) return WriteTableStreams(paths, tables, OpenSnappy, threads);
  Planner planner(tables);
  std::vector<File> files;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    planner.AddFile(i, paths.size());
    files.push_back(File::Create(paths[i]));
  }
  const std::vector<Block>& blocks = planner.blocks();
  std::vector<std::uint64_t> ends(files.size());
  std::vector<Compressed> wave(std::min(blocks.size(), threads == 1 ? 1 : kBlocksPerThread * threads));
  for (std::size_t first = 0; first < blocks.size(); first += wave.size()) {
    const std::size_t n = std::min(wave.size(), blocks.size() - first);
    RunTasks(n, threads, [&](std::size_t i) { Compress(tables, planner.runs(), blocks[first + i], wave[i]); });
    for (std::size_t i = 0; i < n; ++i) {
      wave[i].offset = ends[blocks[first + i].file];
      ends[blocks[first + i].file] += wave[i].size;
    }
    RunTasks(n, threads, [&](std::size_t i) {
      files[blocks[first + i].file].WriteAt(wave[i].offset, wave[i].bytes.data(), wave[i].size);
    });
  }
  RunTasks(files.size(), threads, [&](std::size_t i) {
    files[i].Sync();
    files[i].Close();
  });
}

}  // namespace mexport
