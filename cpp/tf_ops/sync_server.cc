#include "tf_ops/sync_server.h"

#include <cstring>
#include <vector>

#include "core/error.h"
#include "tf_ops/platform.h"
#include "tf_ops/predict_message.h"

namespace mexport {
namespace {

using Entries = std::set<std::pair<std::string, std::int64_t>>;

[[noreturn]] void Refuse(const std::string& what) { throw OpError(OpError::kInvalidArgument, what); }

bool EndsWith(std::string_view text, std::string_view end) { return text.ends_with(end); }

TensorMessage TensorOf(const PredictRequestView& request, const std::string& alias, int dtype) {
  const std::string_view* const found = FindTensor(request.inputs, alias);
  if (found == nullptr) Refuse("want an input '" + alias + "'");
  TensorMessage tensor = ReadTensorMessage(*found);
  if (tensor.dtype != dtype) {
    Refuse("input '" + alias + "': got dtype " + std::to_string(tensor.dtype) + ", want " + std::to_string(dtype));
  }
  return tensor;
}

// Tables by their names: <name>_id and <name>_value.
void TakeAlone(const PredictRequestView& request, Entries* entries) {
  constexpr std::string_view kIdEnd = "_id";
  for (const auto& [alias, bytes] : request.inputs) {
    if (!EndsWith(alias, kIdEnd)) continue;
    const std::string name(alias.substr(0, alias.size() - kIdEnd.size()));
    const std::vector<std::int64_t> ids = Int64sOf(TensorOf(request, std::string(alias), kDataTypeInt64));
    const TensorMessage values = TensorOf(request, name + "_value", kDataTypeFloat);
    CountFloats(values);
    if (values.shape.size() != 2 || values.shape[0] != static_cast<std::int64_t>(ids.size())) {
      Refuse("input '" + name + "_value': want a row for each of " + std::to_string(ids.size()) + " ids");
    }
    for (const std::int64_t id : ids) entries->emplace(name, id);
  }
}

// Tables by their places: id, id_split, flat_value.
void TakeTogether(const PredictRequestView& request, Entries* entries) {
  const std::vector<std::int64_t> ids = Int64sOf(TensorOf(request, "id", kDataTypeInt64));
  const std::vector<std::int64_t> splits = Int64sOf(TensorOf(request, "id_split", kDataTypeInt64));
  CountFloats(TensorOf(request, "flat_value", kDataTypeFloat));
  if (splits.empty() || splits.front() != 0 || splits.back() != static_cast<std::int64_t>(ids.size())) {
    Refuse("input 'id_split': want 0 to the number of ids");
  }
  for (std::size_t table = 0; table + 1 < splits.size(); ++table) {
    if (splits[table] > splits[table + 1] || splits[table + 1] > splits.back()) {
      Refuse("input 'id_split': want ascending numbers");
    }
    const std::string name = std::string(request.signature) + " " + std::to_string(table);
    for (std::int64_t i = splits[table]; i < splits[table + 1]; ++i) {
      entries->emplace(name, ids[static_cast<std::size_t>(i)]);
    }
  }
}

}  // namespace

SyncServer::SyncServer(const std::string& address) {
  const auto answer = [this](std::string_view method, std::string_view request, std::string* response) {
    return Answer(method, request, response);
  };
  try {
    server_ = std::make_unique<GrpcServer>(address, answer);
  } catch (const Error& error) {
    Refuse("sync server: " + std::string(error.what()));
  } catch (const IoError& error) {
    throw OpError(OpError::kUnavailable,
                  "sync server: cannot listen on " + address + ": " + std::strerror(error.error_number()));
  }
}

std::int64_t SyncServer::Shutdown() {
  server_->Shutdown();
  const std::lock_guard lock(mutex_);
  return static_cast<std::int64_t>(entries_.size());
}

RpcStatus SyncServer::Answer(std::string_view method, std::string_view request, std::string* response) {
  if (method != kPredictMethod) return {rpc_code::kUnimplemented, "want " + std::string(kPredictMethod)};
  try {
    Take(request);
  } catch (const OpError& error) {
    return {rpc_code::kInvalidArgument, error.what()};
  }
  response->clear();  // a PredictResponse without outputs
  return {};
}

void SyncServer::Take(std::string_view request) {
  const PredictRequestView view = ReadPredictRequest(request);
  Entries came;
  if (EndsWith(view.signature, kRawAssignSuffix)) {
    TakeTogether(view, &came);
  } else {
    TakeAlone(view, &came);
  }
  const std::lock_guard lock(mutex_);
  entries_.merge(came);
}

}  // namespace mexport
