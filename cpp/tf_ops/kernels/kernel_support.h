// What the kernels share: inputs that are what they must be, errors as statuses.
#pragma once

#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/tensor.h"
#include "tf_ops/platform.h"
#include "tf_ops/table.h"

namespace mexport {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;

inline absl::Status ToStatus(const OpError& error) {
  return absl::Status(static_cast<absl::StatusCode>(error.code()), error.what());
}

// Runs `work` and returns what it throws.
template <typename Work>
absl::Status Try(const Work& work) {
  try {
    work();
    return absl::OkStatus();
  } catch (const OpError& error) {
    return ToStatus(error);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

inline Ids IdsOf(const Tensor& tensor) {
  return {tensor.flat<int64_t>().data(), static_cast<std::size_t>(tensor.NumElements())};
}

inline Floats FloatsOf(const Tensor& tensor) {
  return {tensor.flat<float>().data(), static_cast<std::size_t>(tensor.NumElements())};
}

// The one element of a tensor. Throws OpError where there is not exactly one.
template <typename T>
const T& OneOf(const Tensor& tensor, const char* what) {
  if (tensor.NumElements() != 1) {
    throw OpError(OpError::kInvalidArgument, absl::StrCat(what, ": got ", tensor.NumElements(), " elements, want 1"));
  }
  return tensor.flat<T>()(0);
}

// The resource behind an input's handle.
template <typename Resource>
tensorflow::core::RefCountPtr<Resource> ResourceOf(OpKernelContext* context, int input) {
  const tensorflow::ResourceHandle& handle = OneOf<tensorflow::ResourceHandle>(context->input(input), "handle");
  tensorflow::core::RefCountPtr<Resource> resource;
  const absl::Status status = tensorflow::LookupResource(context, handle, &resource);
  if (!status.ok()) throw OpError(static_cast<int>(status.code()), std::string(status.message()));
  return resource;
}

inline Tensor* Output(OpKernelContext* context, int index, const tensorflow::TensorShape& shape) {
  Tensor* output = nullptr;
  const absl::Status status = context->allocate_output(index, shape, &output);
  if (!status.ok()) throw OpError(static_cast<int>(status.code()), std::string(status.message()));
  return output;
}

// A kernel whose Run() may throw OpError.
class ThrowingKernel : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) final {
    context->SetStatus(Try([&] { Run(context); }));
  }

 protected:
  virtual void Run(OpKernelContext* context) = 0;
};

// Runs work(begin, end) for parts of [0, count) on the device's threads, and throws what the first part in order threw.
// `cost` is of one of them, in nanoseconds or so.
void InParallel(OpKernelContext* context, std::int64_t count, std::int64_t cost,
                const std::function<void(std::int64_t, std::int64_t)>& work);

}  // namespace mexport
