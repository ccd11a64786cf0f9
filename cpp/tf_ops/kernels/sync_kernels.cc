// Kernels of the ops that push changed entries to servers, and of the server that counts what comes.
#include <memory>
#include <string>
#include <utility>

#include "tf_ops/kernels/kernel_support.h"
#include "tf_ops/kernels/resource_kernel.h"
#include "tf_ops/kernels/resources.h"

namespace mexport {
namespace {

using tensorflow::DEVICE_CPU;
using tensorflow::OpKernelConstruction;
using tensorflow::tstring;

class DummySyncClientKernel final : public ResourceKernel<SyncClientResource> {
 public:
  using ResourceKernel::ResourceKernel;

 private:
  SyncClientResource* Make(OpKernelContext*, const std::string&) override { return new SyncClientResource(nullptr); }
};

class ParameterSyncClientKernel final : public ResourceKernel<SyncClientResource> {
 public:
  explicit ParameterSyncClientKernel(OpKernelConstruction* context) : ResourceKernel(context) {
    std::string config;
    OP_REQUIRES_OK(context, context->GetAttr("config", &config));
    OP_REQUIRES_OK(context, Try([&] { config_ = ParseClientConfig(config); }));
  }

 private:
  SyncClientResource* Make(OpKernelContext*, const std::string&) override {
    return new SyncClientResource(std::make_unique<SyncClient>(config_));
  }

  ClientConfig config_;
};

// Waits for the targets on a thread of its own.
class ParameterSyncKernel final : public tensorflow::AsyncOpKernel {
 public:
  using AsyncOpKernel::AsyncOpKernel;

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    struct Push {
      tensorflow::core::RefCountPtr<SyncClientResource> client;
      bool has_config;
      ClientConfig config;
    };
    const auto push = std::make_shared<Push>();
    const absl::Status prepared = Try([&] {
      push->client = ResourceOf<SyncClientResource>(context, 0);
      const std::string config(OneOf<tstring>(context->input(1), "config_str"));
      push->has_config = !config.empty();
      push->config = ParseClientConfig(config);
    });
    if (!prepared.ok() || push->client->client() == nullptr) {
      Finish(context, prepared, "{}");
      done();
      return;
    }
    context->env()->SchedClosure([context, push, done = std::move(done)] {
      std::string result;
      const absl::Status pushed =
          Try([&] { result = push->client->client()->Push(push->has_config ? &push->config : nullptr); });
      Finish(context, pushed, result);
      done();
    });
  }

 private:
  static void Finish(OpKernelContext* context, const absl::Status& status, const std::string& result) {
    context->SetStatus(status.ok() ? Try([&] { Output(context, 0, {1})->vec<tstring>()(0) = result; }) : status);
  }
};

class SyncServerKernel final : public ResourceKernel<SyncServerResource> {
 public:
  explicit SyncServerKernel(OpKernelConstruction* context) : ResourceKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("address", &address_));
  }

 private:
  SyncServerResource* Make(OpKernelContext*, const std::string&) override { return new SyncServerResource(address_); }

  std::string address_;
};

class SyncServerShutdownKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const auto resource = ResourceOf<SyncServerResource>(context, 0);
    Output(context, 0, {})->scalar<int64_t>()() = resource->server().Shutdown();
  }
};

class SyncServerGetPortKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const auto resource = ResourceOf<SyncServerResource>(context, 0);
    Output(context, 0, {})->scalar<int32_t>()() = resource->server().port();
  }
};

REGISTER_KERNEL_BUILDER(Name("MonolithDummySyncClient").Device(DEVICE_CPU), DummySyncClientKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithParameterSyncClient").Device(DEVICE_CPU), ParameterSyncClientKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithParameterSync").Device(DEVICE_CPU), ParameterSyncKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithDummySyncServer").Device(DEVICE_CPU), SyncServerKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithDummySyncServerShutdown").Device(DEVICE_CPU), SyncServerShutdownKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithDummySyncServerGetPort").Device(DEVICE_CPU), SyncServerGetPortKernel);

}  // namespace
}  // namespace mexport
