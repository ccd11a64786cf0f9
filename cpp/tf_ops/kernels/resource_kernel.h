// A kernel that makes a resource in the first step that runs it, unless one of that name and container is there
// already, whatever that one's config is.
#pragma once

#include <mutex>
#include <string>

#include "tf_ops/kernels/kernel_support.h"

namespace mexport {

// The name is the attribute shared_name, or the node's.
template <typename Resource>
class ResourceKernel : public tensorflow::OpKernel {
 public:
  explicit ResourceKernel(tensorflow::OpKernelConstruction* context) : OpKernel(context) {}

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
  tensorflow::ContainerInfo info_;
  tensorflow::core::RefCountPtr<Resource> resource_;
};

}  // namespace mexport
