#include "core/entry_layout.h"

#include <algorithm>
#include <array>
#include <utility>

namespace mexport {
namespace {

constexpr StateField PerDim(std::uint32_t field, std::string_view name) { return {field, name, true, false}; }
constexpr StateField Scalar(std::uint32_t field, std::string_view name) { return {field, name, false, false}; }
constexpr StateField Integer(std::uint32_t field, std::string_view name) { return {field, name, false, true}; }

constexpr std::array kNorm{PerDim(1, "norm")};
constexpr std::array kDynamicWd{PerDim(1, "norm"), Integer(2, "last_update_step")};
constexpr std::array kZeroNorm{PerDim(1, "zero"), PerDim(2, "norm")};
constexpr std::array kGradSquareSum{Scalar(1, "grad_square_sum")};
constexpr std::array kAccum{PerDim(1, "accum"), PerDim(2, "accum_update")};
constexpr std::array kAdam{PerDim(1, "m"), PerDim(2, "v"), Scalar(3, "beta1_power"), Scalar(4, "beta2_power")};
constexpr std::array kAmsgrad{PerDim(1, "m"), PerDim(2, "v"), PerDim(3, "vhat"), Scalar(4, "beta1_power"),
                              Scalar(5, "beta2_power")};
constexpr std::array kN{PerDim(1, "n")};
constexpr std::array kGlobalStep{Integer(1, "global_step")};

constexpr std::array<OptimizerTraits, 15> kOptimizers{{
    {OptimizerKind::kAdagrad, "adagrad", 1, kNorm},
    {OptimizerKind::kSgd, "sgd", 2, {}},
    {OptimizerKind::kFtrl, "ftrl", 3, kZeroNorm},
    {OptimizerKind::kDynamicWdAdagrad, "dynamic_wd_adagrad", 4, kDynamicWd},
    {OptimizerKind::kAdadelta, "adadelta", 6, kAccum},
    {OptimizerKind::kAdam, "adam", 7, kAdam},
    {OptimizerKind::kAmsgrad, "amsgrad", 8, kAmsgrad},
    {OptimizerKind::kMomentum, "momentum", 9, kN},
    {OptimizerKind::kMovingAverage, "moving_average", 0, {}},
    {OptimizerKind::kRmsprop, "rmsprop", 11, kN},
    {OptimizerKind::kRmspropV2, "rmspropv2", 12, kN},
    {OptimizerKind::kDc, "dc", 0, {}},
    {OptimizerKind::kGroupFtrl, "group_ftrl", 13, kZeroNorm},
    {OptimizerKind::kBatchSoftmax, "batch_softmax", 14, kGlobalStep},
    {OptimizerKind::kGroupAdaGrad, "group_adagrad", 15, kGradSquareSum},
}};

template <typename Match>
const OptimizerTraits* Find(Match match) {
  const auto found = std::find_if(kOptimizers.begin(), kOptimizers.end(), match);
  return found == kOptimizers.end() ? nullptr : &*found;
}

}  // namespace

std::span<const OptimizerTraits> AllOptimizers() { return kOptimizers; }

const OptimizerTraits& TraitsOf(OptimizerKind kind) {
  return *Find([&](const OptimizerTraits& traits) { return traits.kind == kind; });
}

const OptimizerTraits* FindOptimizer(std::string_view name) {
  return Find([&](const OptimizerTraits& traits) { return traits.name == name; });
}

const OptimizerTraits* FindOptimizerByDumpField(std::uint32_t dump_field) {
  if (dump_field == 0) return nullptr;
  return Find([&](const OptimizerTraits& traits) { return traits.dump_field == dump_field; });
}

EntryLayout::EntryLayout(std::vector<SegmentLayout> segments) : EntryLayout(std::move(segments), 0) {
  for (const SegmentLayout& segment : segments_) dim_ += static_cast<std::size_t>(segment.dim);
}

EntryLayout::EntryLayout(std::vector<SegmentLayout> segments, std::size_t dim)
    : segments_(std::move(segments)), dim_(dim) {
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    for (const StateField& field : TraitsOf(segments_[i].kind).state) {
      columns_.push_back({i, &field, field.per_dim ? static_cast<std::size_t>(segments_[i].dim) : 1});
    }
  }
}

}  // namespace mexport
