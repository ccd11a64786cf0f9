// Kernels of the ops on several tables by name.
#include <string>
#include <vector>

#include "tf_ops/kernels/fused_kernels.h"
#include "tf_ops/kernels/kernel_support.h"
#include "tf_ops/kernels/resources.h"

namespace mexport {
namespace {

using tensorflow::DEVICE_CPU;
using tensorflow::OpKernelConstruction;
using tensorflow::tstring;

using MultiTablePointer = tensorflow::core::RefCountPtr<MultiTableResource>;

MultiTablePointer TablesOf(OpKernelContext* context) { return ResourceOf<MultiTableResource>(context, 0); }

std::vector<const Table*> Pointers(const std::vector<Table>& tables) {
  std::vector<const Table*> pointers;
  for (const Table& table : tables) pointers.push_back(&table);
  return pointers;
}

// The ids of each table, of one request after another.
std::vector<Ids> SplitIds(const Tensor& ids, const Tensor& splits, std::size_t tables, bool one_request) {
  const Ids all = IdsOf(ids);
  const auto split = splits.flat<int64_t>();
  const std::int64_t parts = split.size() - 1;
  const auto n = static_cast<std::int64_t>(tables);
  if (one_request ? parts != n : parts < 0 || (n == 0 ? parts != 0 : parts % n != 0)) {
    throw OpError(OpError::kInvalidArgument,
                  absl::StrCat("table size: ", n, ". Error id_split size: got ", parts + 1, ", want ",
                               one_request ? "" : "a multiple of the table size and 1: ", n + 1,
                               "; the length of tensor `id` doesn't equal to table num"));
  }
  std::vector<Ids> split_ids;
  for (std::int64_t i = 0; i < parts; ++i) {
    const std::int64_t begin = split(i);
    const std::int64_t end = split(i + 1);
    if (begin < 0 || begin > end || end > static_cast<std::int64_t>(all.size)) {
      throw OpError(OpError::kInvalidArgument, absl::StrCat("id_split[", i, "]: got ", begin, " to ", end,
                                                            ", want them to ascend within the ", all.size, " ids"));
    }
    split_ids.push_back({all.data + begin, static_cast<std::size_t>(end - begin)});
  }
  return split_ids;
}

// The floats of each table, which lie one after another.
std::vector<Floats> SplitValues(const std::vector<Table>& tables, const std::vector<Ids>& ids, Floats values) {
  std::size_t want = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) want += ids[i].size * tables[i].dim();
  if (values.size != want) {
    const char* const too_short = values.size < want ? "length of tensor `value` is too short: " : "value: ";
    throw OpError(OpError::kInvalidArgument, absl::StrCat(too_short, "got ", values.size, " floats, want ", want));
  }
  std::vector<Floats> split;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    split.push_back({values.data, ids[i].size * tables[i].dim()});
    values.data += split.back().size;
  }
  return split;
}

class LookupKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const MultiTablePointer resource = TablesOf(context);
    const std::vector<Table>& tables = resource->tables();
    const std::vector<Ids> ids = SplitIds(context->input(1), context->input(2), tables.size(), false);
    std::size_t floats = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) floats += ids[i].size * tables[i % tables.size()].dim();
    float* values = Output(context, 0, {static_cast<std::int64_t>(floats)})->flat<float>().data();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Table& table = tables[i % tables.size()];
      table.Lookup(ids[i], values);
      values += ids[i].size * table.dim();
    }
  }
};

class LookupEntryKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const MultiTablePointer resource = TablesOf(context);
    const std::vector<Table>& tables = resource->tables();
    const std::vector<Ids> ids = SplitIds(context->input(1), context->input(2), tables.size(), true);
    const Ids all = IdsOf(context->input(1));
    auto output = Output(context, 0, {static_cast<std::int64_t>(all.size)})->flat<tstring>();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::vector<std::string> entries = tables[i].LookupEntry(ids[i]);
      std::int64_t at = ids[i].data - all.data;
      for (const std::string& entry : entries) output(at++) = entry;
    }
  }
};

class FusedLookupKernel final : public ThrowingKernel {
 public:
  explicit FusedLookupKernel(OpKernelConstruction* context) : ThrowingKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("num_of_shards", &shards_));
  }

 private:
  void Run(OpKernelContext* context) override {
    const MultiTablePointer resource = TablesOf(context);
    FusedLookup(context, Pointers(resource->tables()), 1, shards_);
  }

  int64_t shards_;
};

using Update = void (Table::*)(Ids, Floats, std::int64_t) const;

template <Update update>
class AssignKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const MultiTablePointer resource = TablesOf(context);
    const std::vector<Table>& tables = resource->tables();
    const std::vector<Ids> ids = SplitIds(context->input(1), context->input(2), tables.size(), true);
    const std::vector<Floats> values = SplitValues(tables, ids, FloatsOf(context->input(3)));
    const auto time = OneOf<int64_t>(context->input(4), "update_time");
    for (std::size_t i = 0; i < tables.size(); ++i) (tables[i].*update)(ids[i], values[i], time);
    context->set_output(0, context->input(0));
  }
};

class OptimizeKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const MultiTablePointer resource = TablesOf(context);
    const std::vector<Table>& tables = resource->tables();
    const std::vector<Ids> ids = SplitIds(context->input(1), context->input(2), tables.size(), true);
    const std::vector<Floats> gradients = SplitValues(tables, ids, FloatsOf(context->input(3)));
    const std::vector<Floats> rates = SplitLearningRates(Pointers(tables), FloatsOf(context->input(4)));
    const auto time = OneOf<int64_t>(context->input(5), "update_time");
    const auto step = OneOf<int64_t>(context->input(6), "global_step");
    for (std::size_t i = 0; i < tables.size(); ++i) {
      tables[i].Optimize(ids[i], gradients[i], {rates[i], time, step, false});
    }
    context->set_output(0, context->input(0));
  }
};

class FusedOptimizeKernel final : public ThrowingKernel {
 public:
  explicit FusedOptimizeKernel(OpKernelConstruction* context) : ThrowingKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("num_of_shards", &shards_));
    OP_REQUIRES_OK(context, context->GetAttr("enable_grad_accumulation", &sum_));
  }

 private:
  void Run(OpKernelContext* context) override {
    const MultiTablePointer resource = TablesOf(context);
    FusedOptimize(context, Pointers(resource->tables()), 1, shards_, sum_);
    context->set_output(0, context->input(0));
  }

  int64_t shards_;
  bool sum_;
};

class ReinitializeKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const MultiTablePointer resource = TablesOf(context);
    const std::string name(OneOf<tstring>(context->input(1), "table_name"));
    const Ids ids = IdsOf(context->input(2));
    auto status = Output(context, 1, context->input(2).shape())->flat<int32_t>();
    status.setConstant(-1);
    for (const Table& table : resource->tables()) {
      if (table.name() == name) table.Reinitialize(ids, status.data());
    }
    context->set_output(0, context->input(0));
  }
};

REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableLookup").Device(DEVICE_CPU), LookupKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableLookupEntry").Device(DEVICE_CPU), LookupEntryKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableFusedLookup").Device(DEVICE_CPU), FusedLookupKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableAssign").Device(DEVICE_CPU), AssignKernel<&Table::Assign>);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableAssignAdd").Device(DEVICE_CPU), AssignKernel<&Table::AssignAdd>);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableOptimize").Device(DEVICE_CPU), OptimizeKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableFusedOptimize").Device(DEVICE_CPU), FusedOptimizeKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableReinitialize").Device(DEVICE_CPU), ReinitializeKernel);

}  // namespace
}  // namespace mexport
