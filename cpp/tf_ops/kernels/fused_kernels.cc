#include "tf_ops/kernels/fused_kernels.h"

#include <string>

#include "tf_ops/fused.h"

namespace mexport {
namespace {

// Nanoseconds or so that an id costs: it decides how many threads share a batch.
constexpr std::int64_t kIdCost = 200;

std::int64_t CostOf(const std::vector<FusedSlot>& slots) {
  std::size_t ids = 0;
  for (const FusedSlot& slot : slots) ids += slot.ids;
  return slots.empty() ? 1 : static_cast<std::int64_t>(ids / slots.size() + 1) * kIdCost;
}

}  // namespace

void FusedLookup(OpKernelContext* context, const std::vector<const Table*>& tables, int first, std::int64_t shards) {
  const Tensor& id_tensor = context->input(first);
  const Tensor& size_tensor = context->input(first + 1);
  const Ids ids = IdsOf(id_tensor);
  const std::vector<FusedSlot> slots = FusedSlots(tables, shards, size_tensor.flat<int32_t>().data(),
                                                  static_cast<std::size_t>(size_tensor.NumElements()), ids.size);
  const auto count = static_cast<std::int64_t>(slots.size());
  auto splits = Output(context, 1, {shards})->flat<int32_t>();
  auto id_offsets = Output(context, 2, {count + 1})->flat<int32_t>();
  auto value_offsets = Output(context, 3, {count + 1})->flat<int32_t>();
  splits.setZero();
  id_offsets(0) = 0;
  value_offsets(0) = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const FusedSlot& slot = slots[static_cast<std::size_t>(i)];
    const auto floats = static_cast<std::int32_t>(slot.ids * tables[slot.table]->dim());
    id_offsets(i + 1) = static_cast<std::int32_t>(slot.id_begin + slot.ids);
    value_offsets(i + 1) = static_cast<std::int32_t>(slot.value_begin) + floats;
    splits(i / static_cast<std::int64_t>(tables.size())) += floats;
  }
  float* const values = Output(context, 0, {value_offsets(count)})->flat<float>().data();
  InParallel(context, count, CostOf(slots), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const FusedSlot& slot = slots[static_cast<std::size_t>(i)];
      tables[slot.table]->Lookup({ids.data + slot.id_begin, slot.ids}, values + slot.value_begin);
    }
  });
  context->set_output(4, id_tensor);
}

std::vector<Floats> SplitLearningRates(const std::vector<const Table*>& tables, Floats rates) {
  std::size_t want = 0;
  for (const Table* table : tables) want += table->segments();
  if (rates.size != want) {
    const char* const too_short = rates.size < want ? "length of tensor `learning_rate` is too short: " : "";
    throw OpError(OpError::kInvalidArgument, absl::StrCat("learning rates: ", too_short, "got ", rates.size, ", want ",
                                                          want, ", one for each segment of each table"));
  }
  std::vector<Floats> split;
  for (const Table* table : tables) {
    split.push_back({rates.data, table->segments()});
    rates.data += table->segments();
  }
  return split;
}

void FusedOptimize(OpKernelContext* context, const std::vector<const Table*>& tables, int first, std::int64_t shards,
                   bool sum_gradients) {
  const Ids ids = IdsOf(context->input(first));
  const Tensor& sizes = context->input(first + 2);
  const Floats gradients = FloatsOf(context->input(first + 3));
  const Tensor& id_offsets = context->input(first + 4);
  const Tensor& value_offsets = context->input(first + 5);
  const std::vector<Floats> rates = SplitLearningRates(tables, FloatsOf(context->input(first + 6)));
  const auto time = OneOf<int64_t>(context->input(first + 7), "req_time");
  const auto step = OneOf<int64_t>(context->input(first + 8), "global_step");
  const std::vector<FusedSlot> slots = FusedSlotsAt(
      tables, shards, sizes.flat<int32_t>().data(), static_cast<std::size_t>(sizes.NumElements()), ids.size,
      gradients.size, id_offsets.flat<int32_t>().data(), static_cast<std::size_t>(id_offsets.NumElements()),
      value_offsets.flat<int32_t>().data(), static_cast<std::size_t>(value_offsets.NumElements()));
  InParallel(context, static_cast<std::int64_t>(slots.size()), CostOf(slots),
             [&](std::int64_t begin, std::int64_t end) {
               for (std::int64_t i = begin; i < end; ++i) {
                 const FusedSlot& slot = slots[static_cast<std::size_t>(i)];
                 const Table& table = *tables[slot.table];
                 table.Optimize({ids.data + slot.id_begin, slot.ids},
                                {gradients.data + slot.value_begin, slot.ids * table.dim()},
                                {rates[slot.table], time, step, sum_gradients});
               }
             });
}

}  // namespace mexport
