// The kernel of TfServingRemotePredict: asks another server over gRPC, on threads of its own.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/lib/core/threadpool.h"
#include "tf_ops/kernels/kernel_support.h"
#include "tf_ops/predict_message.h"
#include "tf_ops/predict_servers.h"

namespace mexport {
namespace {

using tensorflow::CancellationManager;
using tensorflow::DataType;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::tstring;

constexpr char kThreadsVariable[] = "MONOLITH_GRPC_REMOTE_CALLBACK_THREADS";
constexpr int kDefaultThreads = 10;
constexpr int kMaxThreads = 1024;
// A tensor may be larger than its message: protobuf's tensors repeat the last element where there are too few. What it
// may grow to then is bounded.
constexpr std::uint64_t kMaxExpandedBytes = std::uint64_t{1} << 26;

int CountThreads() {
  const char* const text = std::getenv(kThreadsVariable);
  if (text == nullptr || *text == '\0') return kDefaultThreads;
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  if (*end != '\0' || n < 1 || n > kMaxThreads) {
    throw OpError(OpError::kInvalidArgument,
                  absl::StrCat(kThreadsVariable, ": got '", text, "', want 1 to ", kMaxThreads));
  }
  return static_cast<int>(n);
}

// The threads that wait for servers: as many calls as there are threads are under way at a time. Never destroyed, for
// calls may still run when the process ends.
tensorflow::thread::ThreadPool* CallThreads() {
  static auto* const pool =
      new tensorflow::thread::ThreadPool(tensorflow::Env::Default(), "remote_predict", CountThreads());
  return pool;
}

// What the node says.
struct Settings {
  std::string model;
  std::string old_model;
  int64_t task;
  int64_t version;
  std::string signature;
  int64_t deadline_millis;
  bool fails;
  std::vector<DataType> output_types;
};

struct Answer {
  absl::Status status;
  std::vector<Tensor> outputs;
};

// One run of the op. The first to claim it ends it; nobody else may touch its context.
struct Call {
  std::shared_ptr<const Settings> settings;
  std::vector<std::string> input_aliases;
  std::vector<Tensor> inputs;
  std::vector<std::string> output_aliases;
  std::chrono::steady_clock::time_point deadline;

  OpKernelContext* context;
  tensorflow::AsyncOpKernel::DoneCallback done;
  tensorflow::CancellationToken token = CancellationManager::kInvalidToken;
  std::atomic<bool> claimed{false};

  bool Claim() { return !claimed.exchange(true); }
};

Dimensions ShapeOf(const Tensor& tensor) {
  Dimensions shape;
  for (int i = 0; i < tensor.dims(); ++i) shape.push_back(tensor.dim_size(i));
  return shape;
}

std::string MakeRequest(const Call& call, const std::string& model) {
  const Settings& settings = *call.settings;
  PredictRequestWriter writer(model, settings.version, settings.signature);
  // Once: large requests are not copied as they grow.
  std::size_t room = writer.bytes().size();
  for (const std::string& alias : call.output_aliases) room += alias.size() + 16;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    const Tensor& tensor = call.inputs[i];
    room += call.input_aliases[i].size() + 64 + static_cast<std::size_t>(tensor.dims()) * 16;
    room += tensor.dtype() == tensorflow::DT_STRING ? static_cast<std::size_t>(tensor.NumElements()) * 16
                                                    : tensor.tensor_data().size();
  }
  writer.Reserve(room);
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    const Tensor& tensor = call.inputs[i];
    if (tensor.dtype() == tensorflow::DT_STRING) {
      const auto elements = tensor.flat<tstring>();
      std::vector<std::string_view> views;
      views.reserve(static_cast<std::size_t>(elements.size()));
      for (std::int64_t k = 0; k < elements.size(); ++k) views.emplace_back(elements(k).data(), elements(k).size());
      writer.AddStrings(call.input_aliases[i], ShapeOf(tensor), views);
    } else {
      const auto data = tensor.tensor_data();
      writer.AddContent(call.input_aliases[i], tensor.dtype(), ShapeOf(tensor), {data.data(), data.size()});
    }
    if (writer.bytes().size() > GrpcChannel::kMaxMessageBytes) {
      throw OpError(OpError::kResourceExhausted,
                    absl::StrCat("the request takes more than ", GrpcChannel::kMaxMessageBytes, " bytes"));
    }
  }
  for (const std::string& alias : call.output_aliases) writer.AddOutput(alias);
  return std::move(writer).Take();
}

// The tensor of one output of a response.
Tensor ReadOutput(std::string_view bytes, DataType want) {
  const TensorMessage message = ReadTensorMessage(bytes);
  if (message.dtype != want) {
    const std::string got = tensorflow::DataType_IsValid(message.dtype)
                                ? tensorflow::DataTypeString(static_cast<DataType>(message.dtype))
                                : std::to_string(message.dtype);
    throw OpError(OpError::kFailedPrecondition,
                  absl::StrCat("got dtype ", got, ", want ", tensorflow::DataTypeString(want)));
  }
  TensorShape shape;
  const absl::Status made = TensorShape::BuildTensorShape(message.shape, &shape);
  if (!made.ok()) throw OpError(OpError::kInternal, std::string(made.message()));
  const auto size = static_cast<std::uint64_t>(std::max(tensorflow::DataTypeSize(want), 1));
  if (message.elements > message.bytes.size() && message.elements > kMaxExpandedBytes / size) {
    throw OpError(OpError::kInternal,
                  absl::StrCat("got a shape of ", message.elements, " elements in ", message.bytes.size(), " bytes"));
  }
  // The elements as they lie in memory.
  const std::string_view elements =
      want == tensorflow::DT_FLOAT && message.content.empty() ? message.floats : message.content;
  if (want != tensorflow::DT_STRING && elements.size() == message.elements * size) {
    Tensor tensor(want, shape);
    if (!tensor.IsInitialized()) throw OpError(OpError::kResourceExhausted, "out of memory");
    const auto data = tensor.tensor_data();
    // Of a bool only 0 and 1 are values.
    if (want == tensorflow::DT_BOOL) {
      bool* to = tensor.flat<bool>().data();
      for (const char c : elements) *to++ = c != 0;
    } else if (!elements.empty()) {
      std::memcpy(const_cast<char*>(data.data()), elements.data(), elements.size());
    }
    return tensor;
  }
  if (want != tensorflow::DT_STRING && !message.content.empty()) {
    throw OpError(OpError::kInternal,
                  absl::StrCat("got ", message.content.size(), " bytes of content, want ", message.elements * size));
  }
  tensorflow::TensorProto proto;
  Tensor tensor;
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) || !tensor.FromProto(proto)) {
    throw OpError(OpError::kInternal, "got bytes that are no tensor of its shape and type");
  }
  return tensor;
}

std::vector<Tensor> ReadOutputs(const Call& call, const std::string& response) {
  const NamedTensors named = ReadPredictResponse(response);
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < call.output_aliases.size(); ++i) {
    const std::string& alias = call.output_aliases[i];
    const std::string_view* const found = FindTensor(named, alias);
    if (found == nullptr) {
      std::vector<std::string> names;
      for (const auto& [name, bytes] : named) names.push_back(absl::StrCat("'", std::string(name), "'"));
      std::sort(names.begin(), names.end());
      if (names.size() > 8) names.resize(8);
      std::string got = names.empty() ? "none" : "";
      for (const std::string& name : names) absl::StrAppend(&got, got.empty() ? "" : ", ", name);
      throw OpError(OpError::kFailedPrecondition,
                    absl::StrCat("response: no output '", alias, "': got ", got, named.size() > 8 ? ", …" : ""));
    }
    const absl::Status read = Try([&] { outputs.push_back(ReadOutput(*found, call.settings->output_types[i])); });
    if (!read.ok()) {
      throw OpError(static_cast<int>(read.code()), absl::StrCat("response: output '", alias, "': ", read.message()));
    }
  }
  return outputs;
}

// Blocks until a server has answered or the deadline is over.
Answer Ask(const Call& call) {
  const Settings& settings = *call.settings;
  std::string model = settings.model;
  std::string address;
  Answer answer;
  answer.status = Try([&] {
    const PredictRoute route = PredictServers::Get().Find(settings.model, settings.old_model, settings.task);
    model = route.model;
    const PredictAnswer said = CallPredict(route, MakeRequest(call, route.model), call.deadline);
    address = said.address;
    if (!said.status.ok()) throw OpError(said.status.code, said.status.message);
    answer.outputs = ReadOutputs(call, said.response);
  });
  if (!answer.status.ok()) {
    answer.status =
        absl::Status(answer.status.code(),
                     absl::StrCat("remote predict of model '", model, "'", address.empty() ? "" : " at ", address,
                                  ", signature '", settings.signature, "': ", answer.status.message()));
    answer.outputs.clear();
    for (const DataType type : settings.output_types) answer.outputs.emplace_back(type, TensorShape({0}));
  }
  return answer;
}

// Sets the outputs of a call that was claimed, and ends it.
void Finish(const Call& call, const Answer& answer) {
  OpKernelContext* const context = call.context;
  if (call.token != CancellationManager::kInvalidToken) {
    context->cancellation_manager()->TryDeregisterCallback(call.token);
  }
  if (!answer.status.ok() && call.settings->fails) {
    context->SetStatus(answer.status);
    call.done();
    return;
  }
  context->SetStatus(Try([&] {
    Output(context, 0, {})->scalar<int32_t>()() = static_cast<int32_t>(answer.status.code());
    Output(context, 1, {})->scalar<tstring>()() =
        tstring(answer.status.message().data(), answer.status.message().size());
    for (std::size_t i = 0; i < answer.outputs.size(); ++i) {
      context->set_output(static_cast<int>(i) + 2, answer.outputs[i]);
    }
  }));
  call.done();
}

std::vector<std::string> AliasesOf(const Tensor& tensor, std::size_t want, const char* what) {
  if (tensor.dims() != 1 || static_cast<std::size_t>(tensor.NumElements()) != want) {
    throw OpError(OpError::kInvalidArgument, absl::StrCat(what, ": got shape ", tensor.shape().DebugString(), ", want ",
                                                          want, " aliases, one for each tensor"));
  }
  std::vector<std::string> aliases;
  const auto elements = tensor.vec<tstring>();
  for (std::size_t i = 0; i < want; ++i) aliases.emplace_back(elements(static_cast<std::int64_t>(i)));
  return aliases;
}

class RemotePredictKernel final : public tensorflow::AsyncOpKernel {
 public:
  explicit RemotePredictKernel(OpKernelConstruction* context) : AsyncOpKernel(context) {
    auto settings = std::make_shared<Settings>();
    std::vector<DataType> input_types;
    OP_REQUIRES_OK(context, context->GetAttr("T", &input_types));
    OP_REQUIRES_OK(context, context->GetAttr("output_types", &settings->output_types));
    OP_REQUIRES_OK(context, context->GetAttr("model_name", &settings->model));
    OP_REQUIRES_OK(context, context->GetAttr("old_model_name", &settings->old_model));
    OP_REQUIRES_OK(context, context->GetAttr("task", &settings->task));
    OP_REQUIRES_OK(context, context->GetAttr("model_version", &settings->version));
    OP_REQUIRES_OK(context, context->GetAttr("signature_name", &settings->signature));
    OP_REQUIRES_OK(context, context->GetAttr("max_rpc_deadline_millis", &settings->deadline_millis));
    OP_REQUIRES_OK(context, context->GetAttr("fail_op_on_rpc_error", &settings->fails));
    OP_REQUIRES(context, settings->deadline_millis > 0 && settings->deadline_millis <= INT32_MAX,
                absl::InvalidArgumentError(absl::StrCat("max_rpc_deadline_millis: got ", settings->deadline_millis,
                                                        ", want 1 to ", INT32_MAX)));
    for (const std::vector<DataType>* types : {&input_types, &settings->output_types}) {
      for (const DataType type : *types) {
        OP_REQUIRES(context, type == tensorflow::DT_STRING || tensorflow::DataTypeCanUseMemcpy(type),
                    absl::InvalidArgumentError(absl::StrCat("a tensor of type ", tensorflow::DataTypeString(type),
                                                            " cannot go to another server")));
      }
    }
    OP_REQUIRES_OK(context, Try([] { CallThreads(); }));
    settings_ = std::move(settings);
  }

  void ComputeAsync(OpKernelContext* context, DoneCallback done) override {
    const auto call = std::make_shared<Call>();
    call->settings = settings_;
    call->context = context;
    call->done = std::move(done);
    // Time in the queue counts.
    call->deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(settings_->deadline_millis);
    const absl::Status checked = Try([&] { TakeInputs(context, call.get()); });
    if (!checked.ok()) {
      context->SetStatus(checked);
      call->done();
      return;
    }
    CancellationManager* const manager = context->cancellation_manager();
    if (manager != nullptr) {
      const tensorflow::CancellationToken token = manager->get_cancellation_token();
      call->token = token;
      // The server is not told: what it answers is dropped.
      const bool registered = manager->RegisterCallback(token, [call] {
        if (!call->Claim()) return;
        call->context->SetStatus(absl::CancelledError("remote predict: the step was cancelled"));
        call->done();
      });
      if (!registered) {
        context->SetStatus(absl::CancelledError("remote predict: the step was cancelled"));
        call->done();
        return;
      }
    }
    CallThreads()->Schedule([call] {
      if (call->claimed.load()) return;
      const Answer answer = Ask(*call);
      if (call->Claim()) Finish(*call, answer);
    });
  }

 private:
  static void TakeInputs(OpKernelContext* context, Call* call) {
    const int last = context->num_inputs() - 1;
    call->input_aliases = AliasesOf(context->input(0), static_cast<std::size_t>(last - 1), "input_tensor_aliases");
    call->output_aliases =
        AliasesOf(context->input(last), call->settings->output_types.size(), "output_tensor_aliases");
    std::set<std::string> seen;
    for (const std::string& alias : call->input_aliases) {
      if (!seen.insert(alias).second) {
        throw OpError(OpError::kInvalidArgument, absl::StrCat("input_tensor_aliases: '", alias, "' comes twice"));
      }
    }
    for (int i = 1; i < last; ++i) call->inputs.push_back(context->input(i));
  }

  std::shared_ptr<const Settings> settings_;
};

REGISTER_KERNEL_BUILDER(Name("TfServingRemotePredict").Device(tensorflow::DEVICE_CPU), RemotePredictKernel);

}  // namespace
}  // namespace mexport

// For Python, which calls it by ctypes. Sets the map of servers; null takes it back. Returns 0, or what went wrong in
// `message`, cut to `size` bytes with the zero at the end, and 1.
extern "C" __attribute__((visibility("default"))) int mexport_set_predict_servers(const char* json, char* message,
                                                                                  std::size_t size) {
  const absl::Status set = mexport::Try([&] { mexport::PredictServers::Get().Set(json); });
  if (set.ok()) return 0;
  if (size > 0) {
    const std::size_t n = std::min(size - 1, set.message().size());
    std::memcpy(message, set.message().data(), n);
    message[n] = '\0';
  }
  return 1;
}
