// Entries of one table as columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/byte_buffer.h"
#include "core/entry_layout.h"

namespace mexport {

// Row 0 of each column of somebody's entries. `states` follow EntryLayout::columns(): floats or int64, [n, count].
struct EntrySource {
  const std::int64_t* ids = nullptr;
  const float* values = nullptr;  // [n, dim]
  const std::int64_t* timestamps = nullptr;
  std::vector<const void*> states;
};

struct EntryTarget {
  std::int64_t* ids = nullptr;
  float* values = nullptr;
  std::int64_t* timestamps = nullptr;
  std::vector<void*> states;
};

// Owns columns. Memory for rows that nobody wrote is not touched.
class EntryBatch {
 public:
  EntryBatch() = default;
  explicit EntryBatch(EntryLayout layout);

  const EntryLayout& layout() const { return layout_; }
  std::size_t rows() const { return rows_; }
  std::size_t capacity() const { return capacity_; }
  // Where rows [0, capacity()) are written; valid until the next Reserve().
  const EntryTarget& target() const { return target_; }
  // Rows [0, rows()) for reading; valid until the next Reserve().
  EntrySource source() const;

  // Makes room for exactly so many rows; those written so far stay. REQUIRES: capacity >= rows()
  void Reserve(std::size_t capacity);
  // Makes room for one more row, doubling.
  void ReserveOneMore();
  // Declares rows [0, rows) written. REQUIRES: rows <= capacity()
  void SetRows(std::size_t rows) { rows_ = rows; }
  // Copies the rows of a batch of the same layout behind those here. REQUIRES: room for them
  void Append(const EntryBatch& other);

  // The columns' memory, for an owner who frees it with std::free: ids, values, timestamps, states.
  std::vector<ByteBuffer> Release();

 private:
  std::size_t RowBytes(std::size_t buffer) const;

  EntryLayout layout_;
  std::size_t rows_ = 0;
  std::size_t capacity_ = 0;
  std::vector<ByteBuffer> buffers_;  // in Release()'s order
  EntryTarget target_;
};

}  // namespace mexport
