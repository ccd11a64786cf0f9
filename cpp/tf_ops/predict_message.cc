#include "tf_ops/predict_message.h"

#include <cstring>
#include <functional>
#include <span>

#include "core/wire.h"
#include "tf_ops/platform.h"

namespace mexport {
namespace {

// Fields of PredictRequest, PredictResponse, ModelSpec, Int64Value and of an entry of a map.
constexpr std::uint32_t kModelSpec = 1;
constexpr std::uint32_t kInputs = 2;
constexpr std::uint32_t kOutputFilter = 3;
constexpr std::uint32_t kOutputs = 1;
constexpr std::uint32_t kName = 1;
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kSignature = 3;
constexpr std::uint32_t kValue = 1;
constexpr std::uint32_t kMapKey = 1;
constexpr std::uint32_t kMapValue = 2;
// Fields of TensorProto, TensorShapeProto and its Dim.
constexpr std::uint32_t kDtype = 1;
constexpr std::uint32_t kShape = 2;
constexpr std::uint32_t kVersionNumber = 3;
constexpr std::uint32_t kContent = 4;
constexpr std::uint32_t kFloats = 5;
constexpr std::uint32_t kStrings = 8;
constexpr std::uint32_t kInt64s = 10;
constexpr std::uint32_t kDim = 2;
constexpr std::uint32_t kUnknownRank = 3;
constexpr std::uint32_t kDimSize = 1;
// As many as TensorFlow's shapes have.
constexpr std::size_t kMaxDimensions = 254;

std::span<const std::uint8_t> Span(std::string_view bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

std::string_view View(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void AppendVarint(std::string* to, std::uint64_t value) {
  std::uint8_t buffer[10];
  to->append(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(StoreVarint(buffer, value) - buffer));
}

void AppendTag(std::string* to, std::uint32_t field, WireType type) { AppendVarint(to, WireTag(field, type)); }

void AppendLength(std::string* to, std::uint32_t field, std::size_t size) {
  AppendTag(to, field, WireType::kBytes);
  AppendVarint(to, size);
}

void AppendBytes(std::string* to, std::uint32_t field, std::string_view bytes) {
  AppendLength(to, field, bytes.size());
  to->append(bytes);
}

// Of a field of bytes, all field numbers here being less than 16.
std::size_t FieldBytes(std::size_t size) { return 1 + VarintSize(size) + size; }

// Values that are left out where they are none.
std::size_t OptionalBytes(std::size_t size) { return size == 0 ? 0 : FieldBytes(size); }

std::size_t DimBytes(std::int64_t size) { return size == 0 ? 0 : 1 + VarintSize(static_cast<std::uint64_t>(size)); }

std::size_t ShapeBytes(const Dimensions& shape) {
  std::size_t size = 0;
  for (const std::int64_t dim : shape) size += FieldBytes(DimBytes(dim));
  return size;
}

// A tensor of which the values take `values` bytes, with tag and length.
std::size_t TensorBytes(int dtype, const Dimensions& shape, std::size_t values) {
  return 1 + VarintSize(static_cast<std::uint64_t>(dtype)) + FieldBytes(ShapeBytes(shape)) + values;
}

std::size_t EntryBytes(std::string_view alias, std::size_t tensor) {
  return FieldBytes(FieldBytes(alias.size()) + FieldBytes(tensor));
}

// All of an input but the values, which are to follow.
void AppendInput(std::string* to, std::string_view alias, int dtype, const Dimensions& shape, std::size_t values) {
  const std::size_t tensor = TensorBytes(dtype, shape, values);
  AppendLength(to, kInputs, FieldBytes(alias.size()) + FieldBytes(tensor));
  AppendBytes(to, kMapKey, alias);
  AppendLength(to, kMapValue, tensor);
  AppendTag(to, kDtype, WireType::kVarint);
  AppendVarint(to, static_cast<std::uint64_t>(dtype));
  AppendLength(to, kShape, ShapeBytes(shape));
  for (const std::int64_t dim : shape) {
    AppendLength(to, kDim, DimBytes(dim));
    if (dim == 0) continue;
    AppendTag(to, kDimSize, WireType::kVarint);
    AppendVarint(to, static_cast<std::uint64_t>(dim));
  }
}

std::size_t VersionBytes(std::int64_t version) {
  return version == 0 ? 0 : 1 + VarintSize(static_cast<std::uint64_t>(version));
}

std::size_t ModelSpecBytes(std::string_view model, std::int64_t version, std::string_view signature) {
  return OptionalBytes(model.size()) + (version < 0 ? 0 : FieldBytes(VersionBytes(version))) +
         OptionalBytes(signature.size());
}

[[noreturn]] void Refuse(const std::string& what) { throw OpError(OpError::kInternal, what); }

// Throws what the reader throws as an error of the op.
template <typename Work>
auto Reading(const char* what, const Work& work) {
  try {
    return work();
  } catch (const WireError& error) {
    Refuse(std::string(what) + ": offset " + std::to_string(error.offset()) + ": " + error.what());
  }
}

Dimensions ReadShape(WireReader shape) {
  Dimensions dims;
  while (shape.Next()) {
    if (shape.Is(kDim, WireType::kBytes)) {
      if (dims.size() == kMaxDimensions) Refuse("tensor: got more than 254 dimensions");
      std::int64_t size = 0;
      for (WireReader dim = shape.ReadMessage(); dim.Next();) {
        if (dim.Is(kDimSize, WireType::kVarint)) {
          size = static_cast<std::int64_t>(dim.ReadVarint());
        } else {
          dim.Skip();
        }
      }
      if (size < 0) Refuse("tensor: got a dimension of " + std::to_string(size) + ", want at least 0");
      dims.push_back(size);
    } else if (shape.Is(kUnknownRank, WireType::kVarint)) {
      if (shape.ReadVarint() != 0) Refuse("tensor: got a shape of unknown rank");
    } else {
      shape.Skip();
    }
  }
  return dims;
}

std::uint64_t CountElements(const Dimensions& shape) {
  std::uint64_t elements = 1;
  for (const std::int64_t dim : shape) {
    if (dim == 0) return 0;
    const auto size = static_cast<std::uint64_t>(dim);
    if (elements > static_cast<std::uint64_t>(INT64_MAX) / size) Refuse("tensor: got a shape of too many elements");
    elements *= size;
  }
  return elements;
}

// The entries of a map of tensors, which is field `field`; other fields go to `other`, which reads them.
NamedTensors ReadTensors(WireReader& message, std::uint32_t field, const std::function<void(WireReader&)>& other) {
  NamedTensors tensors;
  while (message.Next()) {
    if (!message.Is(field, WireType::kBytes)) {
      other(message);
      continue;
    }
    std::pair<std::string_view, std::string_view> entry;
    bool has_value = false;
    for (WireReader pair = message.ReadMessage(); pair.Next();) {
      if (pair.Is(kMapKey, WireType::kBytes)) {
        entry.first = View(pair.ReadBytes());
      } else if (pair.Is(kMapValue, WireType::kBytes)) {
        // Protobuf would merge them, and no serialiser writes two.
        if (has_value) Refuse("tensor '" + std::string(entry.first) + "': got two values");
        has_value = true;
        entry.second = View(pair.ReadBytes());
      } else {
        pair.Skip();
      }
    }
    tensors.push_back(entry);
  }
  return tensors;
}

}  // namespace

std::size_t PredictHeaderBytes(std::string_view model, std::int64_t version, std::string_view signature) {
  return FieldBytes(ModelSpecBytes(model, version, signature));
}

std::size_t Int64ValueBytes(const std::int64_t* values, std::size_t n) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < n; ++i) size += VarintSize(static_cast<std::uint64_t>(values[i]));
  return size;
}

std::size_t Int64sBytes(std::string_view alias, const Dimensions& shape, std::size_t value_bytes) {
  return EntryBytes(alias, TensorBytes(kDataTypeInt64, shape, OptionalBytes(value_bytes)));
}

std::size_t FloatsBytes(std::string_view alias, const Dimensions& shape, std::size_t n) {
  return EntryBytes(alias, TensorBytes(kDataTypeFloat, shape, OptionalBytes(n * sizeof(float))));
}

PredictRequestWriter::PredictRequestWriter(std::string_view model, std::int64_t version, std::string_view signature) {
  AppendLength(&bytes_, kModelSpec, ModelSpecBytes(model, version, signature));
  if (!model.empty()) AppendBytes(&bytes_, kName, model);
  if (version >= 0) {
    AppendLength(&bytes_, kVersion, VersionBytes(version));
    if (version > 0) {
      AppendTag(&bytes_, kValue, WireType::kVarint);
      AppendVarint(&bytes_, static_cast<std::uint64_t>(version));
    }
  }
  if (!signature.empty()) AppendBytes(&bytes_, kSignature, signature);
}

void PredictRequestWriter::AddContent(std::string_view alias, int dtype, const Dimensions& shape,
                                      std::string_view content) {
  AppendInput(&bytes_, alias, dtype, shape, OptionalBytes(content.size()));
  if (!content.empty()) AppendBytes(&bytes_, kContent, content);
}

void PredictRequestWriter::AddStrings(std::string_view alias, const Dimensions& shape,
                                      const std::vector<std::string_view>& elements) {
  std::size_t size = 0;
  for (const std::string_view element : elements) size += FieldBytes(element.size());
  AppendInput(&bytes_, alias, kDataTypeString, shape, size);
  for (const std::string_view element : elements) AppendBytes(&bytes_, kStrings, element);
}

void PredictRequestWriter::AddInt64s(std::string_view alias, const Dimensions& shape, const std::int64_t* values,
                                     std::size_t n) {
  const std::size_t size = Int64ValueBytes(values, n);
  AppendInput(&bytes_, alias, kDataTypeInt64, shape, OptionalBytes(size));
  if (size == 0) return;
  AppendLength(&bytes_, kInt64s, size);
  for (std::size_t i = 0; i < n; ++i) AppendVarint(&bytes_, static_cast<std::uint64_t>(values[i]));
}

void PredictRequestWriter::AddFloats(std::string_view alias, const Dimensions& shape, const float* values,
                                     std::size_t n) {
  AppendInput(&bytes_, alias, kDataTypeFloat, shape, OptionalBytes(n * sizeof(float)));
  if (n > 0) AppendBytes(&bytes_, kFloats, {reinterpret_cast<const char*>(values), n * sizeof(float)});
}

void PredictRequestWriter::AddOutput(std::string_view alias) { AppendBytes(&bytes_, kOutputFilter, alias); }

TensorMessage ReadTensorMessage(std::string_view bytes) {
  return Reading("tensor", [&] {
    TensorMessage tensor;
    tensor.bytes = bytes;
    bool has_shape = false;
    int value_fields = 0;
    for (WireReader message(Span(bytes)); message.Next();) {
      if (message.Is(kDtype, WireType::kVarint)) {
        tensor.dtype = static_cast<int>(message.ReadVarint());
      } else if (message.Is(kShape, WireType::kBytes)) {
        if (has_shape) Refuse("tensor: got two shapes");
        has_shape = true;
        tensor.shape = ReadShape(message.ReadMessage());
      } else if (message.Is(kContent, WireType::kBytes)) {
        tensor.content = View(message.ReadBytes());
      } else if (message.Is(kFloats, WireType::kBytes)) {
        tensor.floats = View(message.ReadPacked32());
        ++value_fields;
      } else {
        if (message.field() != kVersionNumber) ++value_fields;
        message.Skip();
      }
    }
    if (value_fields != 1) tensor.floats = {};
    tensor.elements = CountElements(tensor.shape);
    return tensor;
  });
}

std::vector<std::int64_t> Int64sOf(const TensorMessage& tensor) {
  std::vector<std::int64_t> values;
  Reading("tensor", [&] {
    if (!tensor.content.empty()) {
      if (tensor.content.size() % sizeof(std::int64_t) != 0) Refuse("tensor: got content of a broken int64");
      values.resize(tensor.content.size() / sizeof(std::int64_t));
      std::memcpy(values.data(), tensor.content.data(), tensor.content.size());
      return;
    }
    const auto read = [&](WireReader& message) { values.push_back(static_cast<std::int64_t>(message.ReadVarint())); };
    for (WireReader message(Span(tensor.bytes)); message.Next();) {
      if (message.Is(kInt64s, WireType::kBytes)) {
        // Packed: varints without tags.
        const std::string_view packed = View(message.ReadBytes());
        for (std::size_t at = 0; at < packed.size();) {
          std::uint64_t value = 0;
          for (unsigned shift = 0;; shift += 7) {
            if (at == packed.size() || shift > 63) Refuse("tensor: int64_val: got a broken integer");
            const auto byte = static_cast<std::uint8_t>(packed[at++]);
            value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
            if (byte < 0x80) break;
          }
          values.push_back(static_cast<std::int64_t>(value));
        }
      } else if (message.Is(kInt64s, WireType::kVarint)) {
        read(message);
      } else {
        message.Skip();
      }
    }
  });
  if (values.size() != tensor.elements) {
    Refuse("tensor: got " + std::to_string(values.size()) + " integers, want " + std::to_string(tensor.elements));
  }
  return values;
}

std::uint64_t CountFloats(const TensorMessage& tensor) {
  std::uint64_t bytes = tensor.content.size();
  if (bytes == 0) {
    Reading("tensor", [&] {
      for (WireReader message(Span(tensor.bytes)); message.Next();) {
        if (message.Is(kFloats, WireType::kBytes)) {
          bytes += message.ReadPacked32().size();
        } else {
          if (message.Is(kFloats, WireType::kFixed32)) bytes += sizeof(float);
          message.Skip();
        }
      }
    });
  }
  if (bytes % sizeof(float) != 0 || bytes / sizeof(float) != tensor.elements) {
    Refuse("tensor: got " + std::to_string(bytes) + " bytes of floats, want " + std::to_string(tensor.elements) +
           " floats");
  }
  return tensor.elements;
}

NamedTensors ReadPredictResponse(std::string_view response) {
  return Reading("response", [&] {
    WireReader message(Span(response));
    return ReadTensors(message, kOutputs, [](WireReader& field) { field.Skip(); });
  });
}

PredictRequestView ReadPredictRequest(std::string_view request) {
  return Reading("request", [&] {
    PredictRequestView view;
    WireReader message(Span(request));
    view.inputs = ReadTensors(message, kInputs, [&](WireReader& field) {
      if (!field.Is(kModelSpec, WireType::kBytes)) {
        field.Skip();
        return;
      }
      for (WireReader spec = field.ReadMessage(); spec.Next();) {
        if (spec.Is(kName, WireType::kBytes)) {
          view.model = View(spec.ReadBytes());
        } else if (spec.Is(kSignature, WireType::kBytes)) {
          view.signature = View(spec.ReadBytes());
        } else {
          spec.Skip();
        }
      }
    });
    return view;
  });
}

const std::string_view* FindTensor(const NamedTensors& tensors, std::string_view alias) {
  for (auto entry = tensors.rbegin(); entry != tensors.rend(); ++entry) {
    if (entry->first == alias) return &entry->second;
  }
  return nullptr;
}

}  // namespace mexport
