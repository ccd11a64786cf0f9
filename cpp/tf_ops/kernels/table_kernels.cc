// Kernels of the ops on one table.
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

// Nanoseconds or so: they decide how many threads share a batch.
constexpr std::int64_t kLookupCost = 100;
constexpr std::int64_t kUpdateCost = 300;

using TablePointer = tensorflow::core::RefCountPtr<TableResource>;

TablePointer TableOf(OpKernelContext* context) { return ResourceOf<TableResource>(context, 0); }

class LookupKernel final : public ThrowingKernel {
 public:
  explicit LookupKernel(OpKernelConstruction* context) : ThrowingKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("dim_size", &dim_));
    OP_REQUIRES_OK(context, context->GetAttr("use_multi_threads", &threads_));
  }

 private:
  void Run(OpKernelContext* context) override {
    const TablePointer resource = TableOf(context);
    const Table& table = resource->table();
    if (dim_ != static_cast<std::int64_t>(table.dim())) {
      throw OpError(OpError::kInvalidArgument,
                    absl::StrCat("table '", table.name(), "': dim_size should match hash table size: node ", name(),
                                 " got ", dim_, ", want ", table.dim()));
    }
    const Ids ids = IdsOf(context->input(1));
    const auto n = static_cast<std::int64_t>(ids.size);
    float* const values = Output(context, 0, {n, dim_})->flat<float>().data();
    const auto look_up = [&](std::int64_t begin, std::int64_t end) {
      table.Lookup({ids.data + begin, static_cast<std::size_t>(end - begin)}, values + begin * dim_);
    };
    if (threads_) {
      InParallel(context, n, kLookupCost, look_up);
    } else {
      look_up(0, n);
    }
  }

  int64_t dim_;
  bool threads_;
};

class LookupEntryKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const TablePointer resource = TableOf(context);
    const Ids ids = IdsOf(context->input(1));
    auto entries = Output(context, 0, {static_cast<std::int64_t>(ids.size)})->flat<tstring>();
    if (resource->table().serves()) return;
    const std::vector<std::string> found = resource->table().LookupEntry(ids);
    for (std::size_t i = 0; i < found.size(); ++i) entries(static_cast<std::int64_t>(i)) = found[i];
  }
};

class LookupGradientKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const Tensor& indices = context->input(0);
    const Tensor& ids = context->input(1);
    const Tensor& gradients = context->input(2);
    if (indices.dims() != 2 || indices.dim_size(1) < 1 || ids.dims() != 1 || gradients.dims() != 2) {
      throw OpError(OpError::kInvalidArgument,
                    absl::StrCat("id_indices, id_values, input_grads: got shapes ", indices.shape().DebugString(), ", ",
                                 ids.shape().DebugString(), ", ", gradients.shape().DebugString(),
                                 ", want [n,2], [n], [batch,dim]"));
    }
    const std::int64_t n = ids.dim_size(0);
    if (indices.dim_size(0) != n) {
      throw OpError(OpError::kInvalidArgument,
                    absl::StrCat("id_indices's first dim and id_values dim should be same: got ", indices.dim_size(0),
                                 " and ", n));
    }
    const std::int64_t rows = gradients.dim_size(0);
    const std::int64_t dim = gradients.dim_size(1);
    const auto row_of = indices.matrix<int64_t>();
    const float* const from = gradients.flat<float>().data();
    float* const to = Output(context, 1, {n, dim})->flat<float>().data();
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t row = row_of(i, 0);
      if (row < 0 || row >= rows) {
        throw OpError(OpError::kInvalidArgument, absl::StrCat("id_indices[", i, ", 0]: got ", row,
                                                              ", want a row of input_grads, which has ", rows));
      }
      std::copy_n(from + row * dim, dim, to + i * dim);
    }
    context->set_output(0, ids);
  }
};

using Update = void (Table::*)(Ids, Floats, std::int64_t) const;

template <Update update>
class AssignKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const TablePointer resource = TableOf(context);
    (resource->table().*update)(IdsOf(context->input(1)), FloatsOf(context->input(2)),
                                OneOf<int64_t>(context->input(3), "req_time"));
    context->set_output(0, context->input(0));
  }
};

// The attribute queue_size, which once let updates run behind the caller's back, has no effect.
class OptimizeKernel final : public ThrowingKernel {
 public:
  explicit OptimizeKernel(OpKernelConstruction* context) : ThrowingKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("use_multi_threads", &threads_));
    OP_REQUIRES_OK(context, context->GetAttr("enable_dedup", &sum_));
    int64_t queue_size;
    OP_REQUIRES_OK(context, context->GetAttr("queue_size", &queue_size));
    OP_REQUIRES(context, queue_size >= 0,
                absl::InvalidArgumentError(absl::StrCat("queue_size: got ", queue_size, ", want at least 0")));
  }

 private:
  void Run(OpKernelContext* context) override {
    const TablePointer resource = TableOf(context);
    const Table& table = resource->table();
    const Ids ids = IdsOf(context->input(1));
    const Floats gradients = FloatsOf(context->input(2));
    const Table::Training training{FloatsOf(context->input(3)), OneOf<int64_t>(context->input(4), "req_time"),
                                   OneOf<int64_t>(context->input(5), "global_step"), sum_};
    const auto dim = static_cast<std::int64_t>(table.dim());
    // Sums are over the whole batch.
    if (threads_ && !sum_ && gradients.size == ids.size * table.dim()) {
      InParallel(context, static_cast<std::int64_t>(ids.size), kUpdateCost, [&](std::int64_t begin, std::int64_t end) {
        const auto n = static_cast<std::size_t>(end - begin);
        table.Optimize({ids.data + begin, n}, {gradients.data + begin * dim, n * table.dim()}, training);
      });
    } else {
      table.Optimize(ids, gradients, training);
    }
    context->set_output(0, context->input(0));
  }

  bool threads_;
  bool sum_;
};

// The tables of the first inputs.
struct ManyTables {
  explicit ManyTables(OpKernelContext* context, int count) {
    for (int i = 0; i < count; ++i) {
      resources.push_back(ResourceOf<TableResource>(context, i));
      tables.push_back(&resources.back()->table());
    }
  }

  std::vector<TablePointer> resources;
  std::vector<const Table*> tables;
};

class FusedLookupKernel final : public ThrowingKernel {
 public:
  explicit FusedLookupKernel(OpKernelConstruction* context) : ThrowingKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("N", &tables_));
    OP_REQUIRES_OK(context, context->GetAttr("num_of_shards", &shards_));
  }

 private:
  void Run(OpKernelContext* context) override {
    const ManyTables many(context, tables_);
    FusedLookup(context, many.tables, tables_, shards_);
  }

  int32_t tables_;
  int64_t shards_;
};

class FusedOptimizeKernel final : public ThrowingKernel {
 public:
  explicit FusedOptimizeKernel(OpKernelConstruction* context) : ThrowingKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("N", &tables_));
    OP_REQUIRES_OK(context, context->GetAttr("num_of_shards", &shards_));
    OP_REQUIRES_OK(context, context->GetAttr("enable_grad_accumulation", &sum_));
  }

 private:
  void Run(OpKernelContext* context) override {
    const ManyTables many(context, tables_);
    FusedOptimize(context, many.tables, tables_, shards_, sum_);
    for (int i = 0; i < tables_; ++i) context->set_output(i, context->input(i));
  }

  int32_t tables_;
  int64_t shards_;
  bool sum_;
};

class SizeKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    Output(context, 0, {})->scalar<int64_t>()() = static_cast<int64_t>(TableOf(context)->table().size());
  }
};

class SaveAsTensorKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const TablePointer resource = TableOf(context);
    std::int64_t position = OneOf<int64_t>(context->input(4), "offset");
    const std::vector<std::string> entries = resource->table().SavePart(
        OneOf<int32_t>(context->input(1), "shard_idx"), OneOf<int32_t>(context->input(2), "num_shards"),
        OneOf<int64_t>(context->input(3), "limit"), &position);
    Output(context, 0, {})->scalar<int64_t>()() = position;
    auto output = Output(context, 1, {static_cast<std::int64_t>(entries.size())})->flat<tstring>();
    for (std::size_t i = 0; i < entries.size(); ++i) output(static_cast<std::int64_t>(i)) = entries[i];
  }
};

class ExtractSlotKernel final : public ThrowingKernel {
 public:
  explicit ExtractSlotKernel(OpKernelConstruction* context) : ThrowingKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("fid_v2", &second_layout_));
  }

 private:
  void Run(OpKernelContext* context) override {
    const Tensor& entries = context->input(0);
    const auto from = entries.flat<tstring>();
    auto slots = Output(context, 0, entries.shape())->flat<int32_t>();
    for (std::int64_t i = 0; i < from.size(); ++i) {
      slots(i) = SlotOfEntry(from(i).data(), from(i).size(), second_layout_);
    }
  }

  bool second_layout_;
};

REGISTER_KERNEL_BUILDER(Name("MonolithHashTableLookup").Device(DEVICE_CPU), LookupKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableLookupEntry").Device(DEVICE_CPU), LookupEntryKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableLookupGradient").Device(DEVICE_CPU), LookupGradientKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableFusedLookup").Device(DEVICE_CPU), FusedLookupKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableAssign").Device(DEVICE_CPU), AssignKernel<&Table::Assign>);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableAssignAdd").Device(DEVICE_CPU), AssignKernel<&Table::AssignAdd>);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableOptimize").Device(DEVICE_CPU), OptimizeKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableFusedOptimize").Device(DEVICE_CPU), FusedOptimizeKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableSize").Device(DEVICE_CPU), SizeKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableSaveAsTensor").Device(DEVICE_CPU), SaveAsTensorKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithExtractSlotFromEntry").Device(DEVICE_CPU), ExtractSlotKernel);

}  // namespace
}  // namespace mexport
