// How a table's row holds one entry: encoded values in serving tables; floats and optimizer state in training tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/compressor.h"
#include "core/entry_layout.h"
#include "core/optimizer.h"
#include "core/table_config.h"

namespace mexport {

class RowFormat {
 public:
  explicit RowFormat(const TableConfig& config);

  bool training() const { return training_; }
  std::size_t dim() const { return dim_; }
  std::size_t segments() const { return segments_.size(); }
  std::size_t row_bytes() const { return row_bytes_; }
  // What a lookup reads: the first bytes of a row.
  std::size_t value_bytes() const { return value_bytes_; }
  // Whether what a lookup reads are the floats that it returns.
  bool raw() const { return raw_; }
  // Of a training table's dump.
  const EntryLayout& layout() const { return layout_; }

  // Rows are aligned to 8. New rows come zeroed, which is all that serving entries need.
  void Initialize(std::uint8_t* row) const;
  void Decode(const std::uint8_t* row, float* values) const;
  void Assign(std::uint8_t* row, const float* values) const;
  void AssignAdd(std::uint8_t* row, const float* values, std::vector<float>* scratch) const;
  // REQUIRES: training(); one rate for each segment; global_step >= 0
  void Optimize(std::uint8_t* row, const float* gradients, std::span<const float> learning_rates,
                std::int64_t global_step, std::vector<float>* scratch) const;
  // Tells what depends on the step of training. Any thread.
  void SetStep(std::int64_t global_step) const;

  // The place in a row of each of layout().columns(), in bytes. REQUIRES: training()
  const std::vector<std::size_t>& state_offsets() const { return state_offsets_; }

 private:
  struct Segment {
    std::size_t dim;
    std::size_t value_offset;  // floats of training entries, bytes of serving ones
    std::size_t state_offset;  // floats
    InitializerConfig initializer;
    std::unique_ptr<Optimizer> optimizer;
    std::unique_ptr<Retriever> retriever;
    std::unique_ptr<Compressor> compressor;
  };

  bool training_;
  std::size_t dim_ = 0;
  std::size_t row_bytes_ = 0;
  std::size_t value_bytes_ = 0;
  bool raw_ = true;
  std::vector<Segment> segments_;
  EntryLayout layout_;
  std::vector<std::size_t> state_offsets_;
};

}  // namespace mexport
