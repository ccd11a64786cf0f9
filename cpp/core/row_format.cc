#include "core/row_format.h"

#include <cstring>
#include <utility>

#include "core/initializer.h"

namespace mexport {

RowFormat::RowFormat(const TableConfig& config) : training_(config.training()) {
  std::vector<SegmentLayout> layouts;
  for (const SegmentConfig& from : config.segments) {
    Segment segment{};
    segment.dim = static_cast<std::size_t>(from.dim);
    dim_ += segment.dim;
    if (training_) {
      segment.value_offset = value_bytes_ / sizeof(float);
      value_bytes_ += segment.dim * sizeof(float);
      segment.initializer = *from.initializer;
      segment.optimizer = MakeOptimizer(*from.optimizer);
      segment.retriever = std::make_unique<Retriever>(from.compressor ? &*from.compressor : nullptr);
      raw_ = raw_ && segment.retriever->raw();
      layouts.push_back({from.dim, from.optimizer->kind});
    } else {
      segment.compressor = std::make_unique<Compressor>(*from.compressor);
      segment.value_offset = value_bytes_;
      value_bytes_ += segment.compressor->BytesOf(segment.dim);
      raw_ = raw_ && segment.compressor->raw();
    }
    segments_.push_back(std::move(segment));
  }
  row_bytes_ = value_bytes_;
  if (!training_) return;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    segments_[i].state_offset = row_bytes_ / sizeof(float);
    row_bytes_ += sizeof(float) * Optimizer::StateFloats(layouts[i].kind, segments_[i].dim);
  }
  layout_ = EntryLayout(std::move(layouts));
  std::size_t offset = value_bytes_;
  for (const StateColumn& column : layout_.columns()) {
    state_offsets_.push_back(offset);
    offset += column.count * (column.is_integer() ? sizeof(std::int64_t) : sizeof(float));
  }
}

void RowFormat::Initialize(std::uint8_t* row) const {
  if (!training_) return;
  auto* const floats = reinterpret_cast<float*>(row);
  for (const Segment& segment : segments_) {
    InitializeValues(segment.initializer, {floats + segment.value_offset, segment.dim});
    segment.optimizer->Initialize(segment.dim, floats + segment.state_offset);
  }
}

void RowFormat::Decode(const std::uint8_t* row, float* values) const {
  if (!training_) {
    for (const Segment& segment : segments_) {
      segment.compressor->Decode(row + segment.value_offset, segment.dim, values);
      values += segment.dim;
    }
    return;
  }
  std::memcpy(values, row, value_bytes_);
  for (const Segment& segment : segments_) segment.retriever->Forward(values + segment.value_offset, segment.dim);
}

void RowFormat::Assign(std::uint8_t* row, const float* values) const {
  if (training_) {
    std::memcpy(row, values, value_bytes_);
    return;
  }
  for (const Segment& segment : segments_) {
    segment.compressor->Encode(values, segment.dim, row + segment.value_offset);
    values += segment.dim;
  }
}

void RowFormat::AssignAdd(std::uint8_t* row, const float* values, std::vector<float>* scratch) const {
  if (training_) {
    auto* const floats = reinterpret_cast<float*>(row);
    for (std::size_t i = 0; i < dim_; ++i) floats[i] += values[i];
    return;
  }
  scratch->resize(dim_);
  Decode(row, scratch->data());
  for (std::size_t i = 0; i < dim_; ++i) (*scratch)[i] += values[i];
  Assign(row, scratch->data());
}

void RowFormat::Optimize(std::uint8_t* row, const float* gradients, std::span<const float> learning_rates,
                         std::int64_t global_step, std::vector<float>* scratch) const {
  auto* const floats = reinterpret_cast<float*>(row);
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    const std::span<float> values(floats + segment.value_offset, segment.dim);
    const float* gradient = gradients + segment.value_offset;
    if (!segment.retriever->raw()) {
      scratch->assign(gradient, gradient + segment.dim);
      segment.retriever->Backward(values.data(), scratch->data(), segment.dim);
      gradient = scratch->data();
    }
    segment.optimizer->Update(values, floats + segment.state_offset, gradient, {learning_rates[i], global_step});
  }
}

void RowFormat::SetStep(std::int64_t global_step) const {
  for (const Segment& segment : segments_) {
    if (segment.retriever) segment.retriever->SetStep(global_step);
  }
}

}  // namespace mexport
