// Kernels of the ops that make tables and filters.
#include <string>

#include "tf_ops/kernels/kernel_support.h"
#include "tf_ops/kernels/resource_kernel.h"
#include "tf_ops/kernels/resources.h"

namespace mexport {
namespace {

using tensorflow::DEVICE_CPU;
using tensorflow::OpKernelConstruction;

std::shared_ptr<OccurrenceFilter> FilterOf(OpKernelContext* context, int input) {
  return ResourceOf<FilterResource>(context, input)->filter();
}

class HashTableKernel final : public ResourceKernel<TableResource> {
 public:
  explicit HashTableKernel(OpKernelConstruction* context) : ResourceKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("config", &config_));
    OP_REQUIRES_OK(context, Try([&] { CheckTableConfig(config_); }));
  }

 private:
  TableResource* Make(OpKernelContext* context, const std::string& name) override {
    const auto client = ResourceOf<SyncClientResource>(context, 1);
    Table table(name, config_, FilterOf(context, 0));
    if (client->client() != nullptr) client->client()->Track(&table);
    return new TableResource(std::move(table));
  }

  std::string config_;
};

class CreateMultiHashTableKernel final : public ResourceKernel<MultiTableResource> {
 public:
  using ResourceKernel::ResourceKernel;

 private:
  MultiTableResource* Make(OpKernelContext* context, const std::string& name) override {
    const std::string config(OneOf<tensorflow::tstring>(context->input(0), "config"));
    const auto client = ResourceOf<SyncClientResource>(context, 2);
    const std::shared_ptr<OccurrenceFilter> filter = FilterOf(context, 1);
    std::vector<Table> tables;
    for (const auto& [table, bytes] : SplitMultiConfig(config)) tables.emplace_back(table, bytes, filter);
    if (client->client() != nullptr) client->client()->Track(name, &tables);
    return new MultiTableResource(std::move(tables));
  }
};

// A handle by name; the resource need not be there yet.
class ReadMultiHashTableKernel final : public tensorflow::OpKernel {
 public:
  explicit ReadMultiHashTableKernel(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    tensorflow::ContainerInfo info;
    OP_REQUIRES_OK(context, info.Init(context->resource_manager(), def(), true));
    OP_REQUIRES_OK(context, tensorflow::MakeResourceHandleToOutput(context, 0, info.container(), info.name(),
                                                                   tensorflow::TypeIndex::Make<MultiTableResource>()));
  }
};

class IsInitializedKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const auto& handle = OneOf<tensorflow::ResourceHandle>(context->input(0), "handle");
    tensorflow::core::RefCountPtr<MultiTableResource> resource;
    Output(context, 0, {})->scalar<bool>()() = tensorflow::LookupResource(context, handle, &resource).ok();
  }
};

class HashFilterKernel final : public ResourceKernel<FilterResource> {
 public:
  explicit HashFilterKernel(OpKernelConstruction* context) : ResourceKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("capacity", &capacity_));
    OP_REQUIRES_OK(context, context->GetAttr("split_num", &splits_));
    OP_REQUIRES_OK(context, context->GetAttr("config", &config_));
    OP_REQUIRES_OK(context, Try([&] { CheckThresholds(config_); }));
  }

 private:
  FilterResource* Make(OpKernelContext*, const std::string&) override {
    return new FilterResource(MakeSlidingFilter(capacity_, splits_, config_));
  }

  int64_t capacity_;
  int64_t splits_;
  std::string config_;
};

class ProbabilisticFilterKernel final : public ResourceKernel<FilterResource> {
 public:
  explicit ProbabilisticFilterKernel(OpKernelConstruction* context) : ResourceKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("equal_probability", &equal_probability_));
    OP_REQUIRES_OK(context, context->GetAttr("config", &config_));
    OP_REQUIRES_OK(context, Try([&] { CheckThresholds(config_); }));
  }

 private:
  FilterResource* Make(OpKernelContext*, const std::string&) override {
    return new FilterResource(MakeProbabilisticFilter(equal_probability_, config_));
  }

  bool equal_probability_;
  std::string config_;
};

class DummyFilterKernel final : public ResourceKernel<FilterResource> {
 public:
  using ResourceKernel::ResourceKernel;

 private:
  FilterResource* Make(OpKernelContext*, const std::string&) override { return new FilterResource(nullptr); }
};

REGISTER_KERNEL_BUILDER(Name("MonolithHashTable").Device(DEVICE_CPU), HashTableKernel);
REGISTER_KERNEL_BUILDER(Name("CreateMonolithMultiHashTable").Device(DEVICE_CPU), CreateMultiHashTableKernel);
REGISTER_KERNEL_BUILDER(Name("ReadMonolithMultiHashTable").Device(DEVICE_CPU), ReadMultiHashTableKernel);
REGISTER_KERNEL_BUILDER(Name("IsHashTableInitialized").Device(DEVICE_CPU), IsInitializedKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashFilter").Device(DEVICE_CPU), HashFilterKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithProbabilisticFilter").Device(DEVICE_CPU), ProbabilisticFilterKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithDummyHashFilter").Device(DEVICE_CPU), DummyFilterKernel);

}  // namespace
}  // namespace mexport
