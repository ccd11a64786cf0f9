#include "core/table_frames.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace mexport {
namespace {

using record_format::kFooterBytes;
using record_format::kHeaderBytes;
using record_format::StoreFooter;
using record_format::StoreHeader;

// Checksums wait until so many entries were encoded: their loads would wait for the stores just before.
constexpr std::size_t kBehind = 32;
// Rows lie anywhere in memory; so many are on their way at a time.
constexpr std::size_t kPrefetchDistance = 16;
constexpr std::size_t kCacheLine = 64;

// Inlined by force, both: gcc 12 takes a function of nothing but prefetches for one without effect and drops its calls.
__attribute__((always_inline)) inline void Prefetch(const void* begin, std::size_t size) {
  if (size == 0) return;
  const auto first = reinterpret_cast<std::uintptr_t>(begin) & ~(kCacheLine - 1);
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(begin) + size;
  for (std::uintptr_t line = first; line < end; line += kCacheLine) {
    __builtin_prefetch(reinterpret_cast<const void*>(line));
  }
}

__attribute__((always_inline)) inline void PrefetchRow(const TableToWrite& table, std::size_t row) {
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

}  // namespace

std::size_t FramedSize(const TableToWrite& table, std::size_t begin, std::size_t end) {
  if (table.entry_size) return (end - begin) * (kFrameBytes + *table.entry_size);
  std::size_t size = 0;
  for (std::size_t i = begin; i < end; ++i) {
    if (i + kPrefetchDistance < end) Prefetch(table.source.timestamps + table.rows[i + kPrefetchDistance], 1);
    size += kFrameBytes + table.encoder.SizeOf(table.source, table.rows[i]);
  }
  return size;
}

std::size_t FramedSlack(const TableToWrite& table) { return kFrameBytes + table.encoder.MaxSize(); }

void EncodeFrames(const TableToWrite& table, std::size_t begin, std::size_t end, std::uint8_t* out, std::size_t size) {
  const std::uint8_t* const limit = out + size;
  std::array<std::uint8_t, kHeaderBytes> header{};
  std::size_t header_length = SIZE_MAX;
  std::array<std::pair<std::uint8_t*, std::size_t>, kBehind> encoded;
  for (std::size_t i = begin; i < end && out <= limit;) {
    const std::size_t n = std::min(kBehind, end - i);
    std::size_t k = 0;
    for (; k < n && out <= limit; ++k, ++i) {
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
    for (std::size_t done = 0; done < k; ++done) {
      StoreFooter(encoded[done].first + encoded[done].second, encoded[done].first, encoded[done].second);
    }
  }
  if (out != limit) throw Error(ErrorKind::kInvalidArgument, "the arrays changed while they were written");
}

}  // namespace mexport
