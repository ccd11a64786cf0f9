// What the fused ops of one table and of several have in common.
#pragma once

#include <vector>

#include "tf_ops/kernels/kernel_support.h"
#include "tf_ops/table.h"

namespace mexport {

// Looks up in all tables and sets outputs 0 to 4. `first` is the input `ids`; fused_slot_size follows.
void FusedLookup(OpKernelContext* context, const std::vector<const Table*>& tables, int first, std::int64_t shards);

// Optimizes all tables. `first` is the input `ids`; the others follow in their order.
void FusedOptimize(OpKernelContext* context, const std::vector<const Table*>& tables, int first, std::int64_t shards,
                   bool sum_gradients);

// The part of the learning rates of all tables that is each one's.
std::vector<Floats> SplitLearningRates(const std::vector<const Table*>& tables, Floats rates);

}  // namespace mexport
