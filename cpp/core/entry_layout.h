// What one entry of a table holds: the optimizer of each segment, and the columns that its state has in a dump.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mexport {

// The numbers of OptimizerConfig's oneof.
enum class OptimizerKind : int {
  kAdagrad = 1,
  kSgd = 2,
  kFtrl = 3,
  kDynamicWdAdagrad = 5,
  kAdadelta = 6,
  kAdam = 7,
  kAmsgrad = 8,
  kMomentum = 9,
  kMovingAverage = 10,
  kRmsprop = 11,
  kRmspropV2 = 12,
  kDc = 13,
  kGroupFtrl = 14,
  kBatchSoftmax = 15,
  kGroupAdaGrad = 16,
};

// One field of an <X>OptimizerDump message.
struct StateField {
  std::uint32_t field;
  std::string_view name;
  bool per_dim;     // one value for each dimension of the segment, otherwise a single one
  bool is_integer;  // int64, otherwise float
};

struct OptimizerTraits {
  OptimizerKind kind;
  std::string_view name;     // the field's name in OptimizerConfig
  std::uint32_t dump_field;  // the field's number in SingleOptimizerDump, another than the kind's; 0 where none exists
  std::span<const StateField> state;  // in the order of the field numbers
};

// All kinds, in the order of their numbers.
std::span<const OptimizerTraits> AllOptimizers();
const OptimizerTraits& TraitsOf(OptimizerKind kind);
// Nothing for what is no kind.
const OptimizerTraits* FindOptimizer(std::string_view name);
const OptimizerTraits* FindOptimizerByDumpField(std::uint32_t dump_field);

struct SegmentLayout {
  std::int32_t dim;
  OptimizerKind kind;

  bool operator==(const SegmentLayout&) const = default;
};

// One state field of one segment. All its values for n entries are one array [n, count] of floats or of int64.
struct StateColumn {
  std::size_t segment;
  const StateField* field;
  std::size_t count;

  bool is_integer() const { return field->is_integer; }
};

class EntryLayout {
 public:
  EntryLayout() = default;
  // REQUIRES: each dim at least 1
  explicit EntryLayout(std::vector<SegmentLayout> segments);
  // Of `dim` floats, whether or not the segments tell: a dump does not hold the dimensions of an optimizer without a
  // state, so such a segment's may be 0, and of some optimizers it does not hold anything.
  EntryLayout(std::vector<SegmentLayout> segments, std::size_t dim);

  const std::vector<SegmentLayout>& segments() const { return segments_; }
  // The floats of an entry, over all segments.
  std::size_t dim() const { return dim_; }
  // Over all segments, in the order in which a dump holds them.
  const std::vector<StateColumn>& columns() const { return columns_; }
  // Whether a dump of such an entry needs its field `opt` to be restored.
  bool HasState() const { return !columns_.empty(); }

  bool operator==(const EntryLayout& other) const { return dim_ == other.dim_ && segments_ == other.segments_; }

 private:
  std::vector<SegmentLayout> segments_;
  std::size_t dim_ = 0;
  std::vector<StateColumn> columns_;
};

}  // namespace mexport
