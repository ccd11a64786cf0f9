// Kernels of the ops that read or write files, each in a thread of its own, so that they hold up no other op of the
// step; and of those that ask a filter.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tf_ops/filter_files.h"
#include "tf_ops/kernels/kernel_support.h"
#include "tf_ops/kernels/resources.h"
#include "tf_ops/kernels/tensorflow_platform.h"
#include "tf_ops/table_files.h"

namespace mexport {
namespace {

using tensorflow::DEVICE_CPU;
using tensorflow::OpKernelConstruction;
using tensorflow::tstring;

// Does something with a resource and the files of a basename, and returns the resource's handle.
template <typename Resource>
class FileKernel : public tensorflow::AsyncOpKernel {
 public:
  using AsyncOpKernel::AsyncOpKernel;

  void ComputeAsync(OpKernelContext* context, DoneCallback done) final {
    context->env()->SchedClosure([this, context, done = std::move(done)] {
      context->SetStatus(Try([&] {
        const auto resource = ResourceOf<Resource>(context, 0);
        const std::string basename(OneOf<tstring>(context->input(1), "basename"));
        TensorFlowPlatform platform(context->env(), context->cancellation_manager());
        Run(platform, *resource, basename);
        context->set_output(0, context->input(0));
      }));
      done();
    });
  }

 protected:
  virtual void Run(Platform& platform, Resource& resource, const std::string& basename) = 0;
};

template <typename Resource>
class SaveKernel : public FileKernel<Resource> {
 public:
  explicit SaveKernel(OpKernelConstruction* context) : FileKernel<Resource>(context) {
    OP_REQUIRES_OK(context, context->GetAttr("nshards", &options_.shards));
    OP_REQUIRES_OK(context, context->GetAttr("slot_expire_time_config", &options_.expire));
    OP_REQUIRES_OK(context, Try([&] { CheckExpireConfig(options_.expire); }));
    if (context->HasAttr("random_sleep_ms")) {
      OP_REQUIRES_OK(context, context->GetAttr("random_sleep_ms", &options_.random_sleep_ms));
    }
  }

 protected:
  const SaveOptions& options() const { return options_; }

 private:
  SaveOptions options_;
};

class SaveTableKernel final : public SaveKernel<TableResource> {
 public:
  using SaveKernel::SaveKernel;

 private:
  void Run(Platform& platform, TableResource& resource, const std::string& basename) override {
    SaveTable(platform, resource.table(), basename, options());
  }
};

class SaveTablesKernel final : public SaveKernel<MultiTableResource> {
 public:
  using SaveKernel::SaveKernel;

 private:
  void Run(Platform& platform, MultiTableResource& resource, const std::string& basename) override {
    SaveTables(platform, resource.tables(), basename, options());
  }
};

class RestoreTableKernel final : public FileKernel<TableResource> {
 public:
  using FileKernel::FileKernel;

 private:
  void Run(Platform& platform, TableResource& resource, const std::string& basename) override {
    RestoreTable(platform, resource.table(), basename);
  }
};

class RestoreTablesKernel final : public FileKernel<MultiTableResource> {
 public:
  using FileKernel::FileKernel;

 private:
  void Run(Platform& platform, MultiTableResource& resource, const std::string& basename) override {
    RestoreTables(platform, resource.tables(), basename);
  }
};

class SaveFilterKernel final : public FileKernel<FilterResource> {
 public:
  using FileKernel::FileKernel;

 private:
  void Run(Platform& platform, FilterResource& resource, const std::string& basename) override {
    if (resource.sliding() != nullptr) SaveFilter(platform, *resource.sliding(), basename);
  }
};

class RestoreFilterKernel final : public FileKernel<FilterResource> {
 public:
  using FileKernel::FileKernel;

 private:
  void Run(Platform& platform, FilterResource& resource, const std::string& basename) override {
    if (resource.sliding() != nullptr) RestoreFilter(platform, *resource.sliding(), basename);
  }
};

class FeatureStatKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const std::string basename(OneOf<tstring>(context->input(0), "basename"));
    TensorFlowPlatform platform(context->env(), context->cancellation_manager());
    const auto counts = CountEntries(platform, basename);
    const auto n = static_cast<std::int64_t>(counts.size());
    auto names = Output(context, 0, {n})->flat<tstring>();
    auto entries = Output(context, 1, {n})->flat<uint64_t>();
    for (std::int64_t i = 0; i < n; ++i) {
      names(i) = counts[static_cast<std::size_t>(i)].first;
      entries(i) = counts[static_cast<std::size_t>(i)].second;
    }
  }
};

class InterceptKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override { context->set_output(0, context->input(2)); }
};

// Passes on the gradients of ids that have occurred often enough, and zeros for the others.
class InterceptGradientKernel final : public ThrowingKernel {
 public:
  using ThrowingKernel::ThrowingKernel;

 private:
  void Run(OpKernelContext* context) override {
    const auto resource = ResourceOf<FilterResource>(context, 0);
    const Ids ids = IdsOf(context->input(1));
    const Tensor& gradients = context->input(2);
    const Floats from = FloatsOf(gradients);
    if (ids.size == 0 ? from.size != 0 : from.size % ids.size != 0) {
      throw OpError(OpError::kInvalidArgument, absl::StrCat("grad: got ", from.size, " floats, want a multiple of ",
                                                            ids.size, ", the number of ids"));
    }
    const std::shared_ptr<OccurrenceFilter>& filter = resource->filter();
    if (filter == nullptr || !filter->works_without_table()) {
      context->set_output(0, gradients);
      return;
    }
    float* to = Output(context, 0, gradients.shape())->flat<float>().data();
    const std::size_t dim = ids.size == 0 ? 0 : from.size / ids.size;
    for (std::size_t i = 0; i < ids.size; ++i) {
      if (filter->ShouldBeFiltered(static_cast<std::uint64_t>(ids.data[i]), 1)) {
        std::fill_n(to + i * dim, dim, 0.0f);
      } else {
        std::copy_n(from.data + i * dim, dim, to + i * dim);
      }
    }
  }
};

REGISTER_KERNEL_BUILDER(Name("MonolithHashTableSave").Device(DEVICE_CPU), SaveTableKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashTableRestore").Device(DEVICE_CPU), RestoreTableKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableSave").Device(DEVICE_CPU), SaveTablesKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableRestore").Device(DEVICE_CPU), RestoreTablesKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithMultiHashTableFeatureStat").Device(DEVICE_CPU), FeatureStatKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashFilterSave").Device(DEVICE_CPU), SaveFilterKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashFilterRestore").Device(DEVICE_CPU), RestoreFilterKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashFilterInterceptGradient").Device(DEVICE_CPU), InterceptKernel);
REGISTER_KERNEL_BUILDER(Name("MonolithHashFilterInterceptGradientGradient").Device(DEVICE_CPU),
                        InterceptGradientKernel);

}  // namespace
}  // namespace mexport
