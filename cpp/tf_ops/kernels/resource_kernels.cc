// Kernels of the ops that make resources. Each makes its resource in the first step that runs it, unless one of that
// name and container is there already, whatever that one's config is.
#include <mutex>
#include <string>

#include "tf_ops/kernels/kernel_support.h"
#include "tf_ops/kernels/resources.h"

namespace mexport {
namespace {

using tensorflow::ContainerInfo;
using tensorflow::DEVICE_CPU;
using tensorflow::OpKernelConstruction;

// The name is the attribute shared_name, or the node's.
template <typename Resource>
class ResourceKernel : public tensorflow::OpKernel {
 public:
  explicit ResourceKernel(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) final {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (resource_ == nullptr) OP_REQUIRES_OK(context, Acquire(context));
    OP_REQUIRES_OK(context, tensorflow::MakeResourceHandleToOutput(context, 0, info_.container(), info_.name(),
                                                                   tensorflow::TypeIndex::Make<Resource>()));
  }

 protected:
  // May throw OpError.
  virtual Resource* Make(OpKernelContext* context, const std::string& name) = 0;

 private:
  absl::Status Acquire(OpKernelContext* context) {
    TF_RETURN_IF_ERROR(info_.Init(context->resource_manager(), def(), true));
    tensorflow::ResourceMgr& manager = *context->resource_manager();
    Resource* resource = nullptr;
    const absl::Status found = manager.Lookup(info_.container(), info_.name(), &resource);
    if (!found.ok()) {
      if (!absl::IsNotFound(found)) return found;
      // Made beforehand: within LookupOrCreate() the manager is locked, also against looking up inputs.
      Resource* made = nullptr;
      TF_RETURN_IF_ERROR(Try([&] { made = Make(context, info_.name()); }));
      const tensorflow::core::ScopedUnref unref(made);
      TF_RETURN_IF_ERROR(manager.template LookupOrCreate<Resource>(info_.container(), info_.name(), &resource,
                                                                   [&](Resource** created) {
                                                                     made->Ref();
                                                                     *created = made;
                                                                     return absl::OkStatus();
                                                                   }));
    }
    resource_.reset(resource);
    return absl::OkStatus();
  }

  std::mutex mutex_;
  ContainerInfo info_;
  tensorflow::core::RefCountPtr<Resource> resource_;
};

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
    ResourceOf<SyncClientResource>(context, 1);
    return new TableResource(Table(name, config_, FilterOf(context, 0)));
  }

  std::string config_;
};

class CreateMultiHashTableKernel final : public ResourceKernel<MultiTableResource> {
 public:
  using ResourceKernel::ResourceKernel;

 private:
  MultiTableResource* Make(OpKernelContext* context, const std::string&) override {
    const std::string config(OneOf<tensorflow::tstring>(context->input(0), "config"));
    ResourceOf<SyncClientResource>(context, 2);
    const std::shared_ptr<OccurrenceFilter> filter = FilterOf(context, 1);
    std::vector<Table> tables;
    for (const auto& [name, bytes] : SplitMultiConfig(config)) tables.emplace_back(name, bytes, filter);
    return new MultiTableResource(std::move(tables));
  }
};

// A handle by name; the resource need not be there yet.
class ReadMultiHashTableKernel final : public tensorflow::OpKernel {
 public:
  explicit ReadMultiHashTableKernel(OpKernelConstruction* context) : OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    ContainerInfo info;
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

class DummySyncClientKernel final : public ResourceKernel<SyncClientResource> {
 public:
  using ResourceKernel::ResourceKernel;

 private:
  SyncClientResource* Make(OpKernelContext*, const std::string&) override { return new SyncClientResource(true); }
};

class ParameterSyncClientKernel final : public ResourceKernel<SyncClientResource> {
 public:
  explicit ParameterSyncClientKernel(OpKernelConstruction* context) : ResourceKernel(context) {
    std::string config;
    OP_REQUIRES_OK(context, context->GetAttr("config", &config));
    OP_REQUIRES_OK(context, Try([&] { CheckClientConfig(config); }));
  }

 private:
  SyncClientResource* Make(OpKernelContext*, const std::string&) override { return new SyncClientResource(false); }
};

// Pushes what changed to the servers: nothing ever changes for a dummy client.
class ParameterSyncKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const auto client = ResourceOf<SyncClientResource>(context, 0);
    CheckClientConfig(OneOf<tensorflow::tstring>(context->input(1), "config_str"));
    if (!client->dummy()) {
      throw OpError(OpError::kUnimplemented, name() + ": this library cannot push to servers; use a dummy sync client");
    }
    Output(context, 0, {1})->vec<tensorflow::tstring>()(0) = "{}";
  }
};

REGISTER_KERNEL_BUILDER(Name("MonolithHashTable").Device(DEVICE_CPU), HashTableKernel);
REGISTER_KERNEL_BUILDER(Name("CreateMonolithMultiHashTable").Device(DEVICE_CPU), CreateMultiHashTableKernel);
REGISTER_KERNEL_BUILDER(Name("ReadMonolithMultiHashTable").Device(DEVICE_CPU), ReadMultiHashTableKernel);
REGISTER_KERNEL_BUILDER(Name("IsHashTableInitialized").Device(DEVICE_CPU), IsInitializedKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashFilter").Device(DEVICE_CPU), HashFilterKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithProbabilisticFilter").Device(DEVICE_CPU), ProbabilisticFilterKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithDummyHashFilter").Device(DEVICE_CPU), DummyFilterKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithDummySyncClient").Device(DEVICE_CPU), DummySyncClientKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithParameterSyncClient").Device(DEVICE_CPU), ParameterSyncClientKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithParameterSync").Device(DEVICE_CPU), ParameterSyncKernel);

}  // namespace
}  // namespace mexport
