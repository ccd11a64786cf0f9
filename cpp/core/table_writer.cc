#include "core/table_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/byte_buffer.h"
#include "core/entry_format.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/record_format.h"
#include "core/wire.h"

namespace mexport {
namespace {

using record_format::kFooterBytes;
using record_format::kHeaderBytes;
using record_format::StoreFooter;
using record_format::StoreHeader;

constexpr std::size_t kFrameBytes = kHeaderBytes + kFooterBytes;
// Rows that one thread encodes at a time.
constexpr std::size_t kTaskRows = std::size_t{1} << 13;
// Checksums wait until so many entries were encoded: their loads would wait for the stores just before.
constexpr std::size_t kBehind = 32;
// Rows lie anywhere in memory; so many are on their way at a time.
constexpr std::size_t kPrefetchDistance = 16;
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kTaggedIdBytes = 1 + sizeof(std::int64_t);
constexpr std::size_t kMaxVarintBytes = 10;

void Prefetch(const void* begin, std::size_t size) {
  if (size == 0) return;
  const auto first = reinterpret_cast<std::uintptr_t>(begin) & ~(kCacheLine - 1);
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(begin) + size;
  for (std::uintptr_t line = first; line < end; line += kCacheLine) {
    __builtin_prefetch(reinterpret_cast<const void*>(line));
  }
}

void PrefetchRow(const TableToWrite& table, std::size_t row) {
  const EntryLayout& layout = table.encoder.layout();
  Prefetch(table.source.ids + row, 1);
  Prefetch(table.source.timestamps + row, 1);
  Prefetch(table.source.values + row * layout.dim(), layout.dim() * sizeof(float));
  for (std::size_t i = 0; i < layout.columns().size(); ++i) {
    const StateColumn& column = layout.columns()[i];
    if (column.is_integer()) {
      Prefetch(static_cast<const std::int64_t*>(table.source.states[i]) + row, 1);
    } else {
      Prefetch(static_cast<const float*>(table.source.states[i]) + row * column.count, column.count * sizeof(float));
    }
  }
}

std::size_t FramedSize(const TableToWrite& table, std::size_t begin, std::size_t end) {
  std::size_t size = 0;
  for (std::size_t i = begin; i < end; ++i) size += kFrameBytes + table.encoder.SizeOf(table.source, table.rows[i]);
  return size;
}

// Writes the records of some rows. REQUIRES: room for FramedSize() bytes
void EncodeRecords(const TableToWrite& table, std::size_t begin, std::size_t end, std::uint8_t* out) {
  std::array<std::uint8_t, kHeaderBytes> header{};
  std::size_t header_length = SIZE_MAX;
  std::array<std::pair<std::uint8_t*, std::size_t>, kBehind> encoded;
  for (std::size_t i = begin; i < end;) {
    const std::size_t n = std::min(kBehind, end - i);
    for (std::size_t k = 0; k < n; ++k, ++i) {
      if (i + kPrefetchDistance < end) PrefetchRow(table, table.rows[i + kPrefetchDistance]);
      std::uint8_t* const data = out + kHeaderBytes;
      out = table.encoder.Encode(table.source, table.rows[i], data);
      const auto length = static_cast<std::size_t>(out - data);
      if (length != header_length) {
        StoreHeader(header.data(), length);
        header_length = length;
      }
      std::memcpy(data - kHeaderBytes, header.data(), kHeaderBytes);
      encoded[k] = {data, length};
      out += kFooterBytes;
    }
    for (std::size_t k = 0; k < n; ++k) {
      StoreFooter(encoded[k].first + encoded[k].second, encoded[k].first, encoded[k].second);
    }
  }
}

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
    if (buffer.capacity() < task.size) buffer.Resize(task.size);
    EncodeRecords(table, task.begin, task.end, buffer.data());
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
    ByteBuffer buffer(1);
    for (std::size_t t = 0; t < tables.size(); ++t) {
      const TableToWrite& table = tables[t];
      const RowRange range = ShardOf(t, table.rows.size(), i, paths.size());
      for (std::size_t k = range.begin; k < range.end; ++k) {
        if (k + kPrefetchDistance < range.end) PrefetchRow(table, table.rows[k + kPrefetchDistance]);
        const std::size_t size = table.encoder.SizeOf(table.source, table.rows[k]);
        if (buffer.capacity() < size) buffer.Resize(size);
        table.encoder.Encode(table.source, table.rows[k], buffer.data());
        writer->Write(buffer.data(), size);
      }
    }
    writer->Sync();
    writer->Close();
  });
}

TableFileWriter::TableFileWriter(const std::string& path, const OpenWriter& open, bool packed)
    : writer_(open(path)), packed_(packed), buffer_(1), packed_buffer_(1) {}

void TableFileWriter::Append(const TableToWrite& table, std::size_t begin, std::size_t end) {
  const std::size_t floats = table.encoder.layout().dim();
  const std::size_t tagged = floats * kTaggedFloatBytes;
  const std::size_t plain = floats * sizeof(float);
  for (std::size_t i = begin; i < end; ++i) {
    const std::size_t row = table.rows[i];
    const std::size_t size = table.encoder.SizeOf(table.source, row);
    if (buffer_.capacity() < size) buffer_.Resize(size);
    table.encoder.Encode(table.source, row, buffer_.data());
    if (!packed_ || floats == 0) {
      writer_->Write(buffer_.data(), size);
      continue;
    }
    // The vector lies between the id and the rest.
    const std::size_t most = size + kMaxVarintBytes + 1;
    if (packed_buffer_.capacity() < most) packed_buffer_.Resize(most);
    std::uint8_t* out = packed_buffer_.data();
    std::memcpy(out, buffer_.data(), kTaggedIdBytes);
    out += kTaggedIdBytes;
    out = StoreVarint(out, WireTag(entry_format::kNum, WireType::kBytes));
    out = StoreVarint(out, plain);
    std::memcpy(out, table.source.values + row * floats, plain);
    out += plain;
    const std::size_t rest = size - kTaggedIdBytes - tagged;
    std::memcpy(out, buffer_.data() + kTaggedIdBytes + tagged, rest);
    out += rest;
    writer_->Write(packed_buffer_.data(), static_cast<std::size_t>(out - packed_buffer_.data()));
  }
}

void TableFileWriter::Close() {
  writer_->Sync();
  writer_->Close();
}

}  // namespace mexport
