#include "core/table_writer.h"

#include <algorithm>
#include <utility>

#include "core/byte_buffer.h"
#include "core/entry_format.h"
#include "core/file.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/table_frames.h"
#include "core/wire.h"

namespace mexport {
namespace {

// Rows that one thread encodes at a time.
constexpr std::size_t kTaskRows = std::size_t{1} << 13;
// Between two looks whether somebody wants an end.
constexpr std::size_t kPollRows = 256;
constexpr std::size_t kTaggedIdBytes = 1 + sizeof(std::int64_t);
constexpr std::size_t kMaxVarintBytes = 10;

struct Task {
  std::size_t file;
  std::size_t begin;
  std::size_t end;
  std::uint64_t offset = 0;
  std::size_t size = 0;
};

}  // namespace

void WriteTableFiles(const std::vector<std::string>& paths, const TableToWrite& table, std::size_t threads) {
  std::vector<Task> tasks;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const RowRange range = ShardOf(0, table.rows.size(), i, paths.size());
    for (std::size_t begin = range.begin; begin < range.end; begin += kTaskRows) {
      tasks.push_back({i, begin, std::min(begin + kTaskRows, range.end)});
    }
  }
  RunTasks(tasks.size(), threads,
           [&](std::size_t i) { tasks[i].size = FramedSize(table, tasks[i].begin, tasks[i].end); });
  std::vector<std::uint64_t> sizes(paths.size());
  for (Task& task : tasks) {
    task.offset = sizes[task.file];
    sizes[task.file] += task.size;
  }
  std::vector<File> files;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    files.push_back(File::Create(paths[i]));
    files.back().Allocate(sizes[i]);
  }
  RunTasks(tasks.size(), threads, [&](std::size_t i) {
    // Kept by its thread: fresh memory is slow.
    thread_local ByteBuffer buffer;
    const Task& task = tasks[i];
    if (buffer.capacity() < task.size + FramedSlack(table)) buffer.Resize(task.size + FramedSlack(table));
    EncodeFrames(table, task.begin, task.end, buffer.data(), task.size);
    files[task.file].WriteAt(task.offset, buffer.data(), task.size);
  });
  RunTasks(files.size(), threads, [&](std::size_t i) {
    files[i].Sync();
    files[i].Close();
  });
}

void WriteTableStreams(const std::vector<std::string>& paths, const std::vector<TableToWrite>& tables,
                       const OpenWriter& open, std::size_t threads) {
  RunTasks(paths.size(), threads, [&](std::size_t i) {
    const std::shared_ptr<RecordWriter> writer = open(paths[i]);
    ByteBuffer buffer;
    for (std::size_t t = 0; t < tables.size(); ++t) {
      const TableToWrite& table = tables[t];
      if (buffer.capacity() < table.encoder.MaxSize()) buffer.Resize(table.encoder.MaxSize());
      const RowRange range = ShardOf(t, table.rows.size(), i, paths.size());
      for (std::size_t k = range.begin; k < range.end; ++k) {
        const std::uint8_t* const end = table.encoder.Encode(table.source, table.rows[k], buffer.data());
        writer->Write(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
        if (k % kPollRows == 0) PollInterrupt();
      }
    }
    writer->Sync();
    writer->Close();
  });
}

TableFileWriter::TableFileWriter(const std::string& path, const OpenWriter& open, bool packed)
    : writer_(open(path)), packed_(packed) {}

void TableFileWriter::Append(const TableToWrite& table, std::size_t begin, std::size_t end) {
  const std::size_t floats = table.encoder.layout().dim();
  const std::size_t plain = floats * sizeof(float);
  const bool packed = packed_ && floats > 0;
  // A packed record has one tag and a length more, and no other tags.
  const std::size_t most = table.encoder.MaxSize() + 1 + kMaxVarintBytes;
  if (buffer_.capacity() < most) buffer_.Resize(most);
  if (packed_buffer_.capacity() < most) packed_buffer_.Resize(most);
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t row = table.rows[i];
    const std::uint8_t* const record_end = table.encoder.Encode(table.source, row, buffer_.data());
    if (!packed) {
      writer_->Write(buffer_.data(), static_cast<std::size_t>(record_end - buffer_.data()));
      continue;
    }
    // The vector lies between the id and the rest.
    std::uint8_t* out = packed_buffer_.data();
    std::memcpy(out, buffer_.data(), kTaggedIdBytes);
    out += kTaggedIdBytes;
    out = StoreVarint(out, WireTag(entry_format::kNum, WireType::kBytes));
    out = StoreVarint(out, plain);
    std::memcpy(out, table.source.values + row * floats, plain);
    out += plain;
    const std::uint8_t* const rest = buffer_.data() + kTaggedIdBytes + floats * kTaggedFloatBytes;
    out = std::copy(rest, record_end, out);
    writer_->Write(packed_buffer_.data(), static_cast<std::size_t>(out - packed_buffer_.data()));
  }
}

void TableFileWriter::Close() {
  writer_->Sync();
  writer_->Close();
}

}  // namespace mexport
