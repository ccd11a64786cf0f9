// The messages of tensorflow.serving.PredictionService.Predict, written and read by hand:
// docs/formats/predict.md.
//
// This header is C++17: see platform.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mexport {

constexpr char kPredictMethod[] = "/tensorflow.serving.PredictionService/Predict";
constexpr char kRawAssignSuffix[] = "/raw_assign";

// Of tensorflow.DataType.
constexpr int kDataTypeFloat = 1;
constexpr int kDataTypeString = 7;
constexpr int kDataTypeInt64 = 9;

using Dimensions = std::vector<std::int64_t>;

// Appends to a PredictRequest; the order of the calls is that of the fields.
class PredictRequestWriter {
 public:
  // A negative version is none: the server's newest.
  PredictRequestWriter(std::string_view model, std::int64_t version, std::string_view signature);

  void Reserve(std::size_t bytes) { bytes_.reserve(bytes); }
  // Elements as they lie in memory, in tensor_content.
  void AddContent(std::string_view alias, int dtype, const Dimensions& shape, std::string_view content);
  void AddStrings(std::string_view alias, const Dimensions& shape, const std::vector<std::string_view>& elements);
  // Elements in int64_val and float_val.
  void AddInt64s(std::string_view alias, const Dimensions& shape, const std::int64_t* values, std::size_t n);
  void AddFloats(std::string_view alias, const Dimensions& shape, const float* values, std::size_t n);
  // Asks for this output; without any, for all.
  void AddOutput(std::string_view alias);

  const std::string& bytes() const { return bytes_; }
  std::string Take() && { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// How many bytes the writer's constructor, AddInt64s() and AddFloats() append. `value_bytes` is what the values take.
std::size_t PredictHeaderBytes(std::string_view model, std::int64_t version, std::string_view signature);
std::size_t Int64sBytes(std::string_view alias, const Dimensions& shape, std::size_t value_bytes);
std::size_t FloatsBytes(std::string_view alias, const Dimensions& shape, std::size_t n);
// What values take in int64_val.
std::size_t Int64ValueBytes(const std::int64_t* values, std::size_t n);

// A TensorProto, as far as it can be told without knowing all types of elements.
struct TensorMessage {
  std::string_view bytes;  // the whole message
  int dtype = 0;
  Dimensions shape;
  // The product of the dimensions.
  std::uint64_t elements = 1;
  std::string_view content;
  // The value of the one field of float_val, if it has only that and no other.
  std::string_view floats;
};

// Throws OpError(kInternal) for bytes that are no message, and for a shape that is none or unknown. Names an offset.
TensorMessage ReadTensorMessage(std::string_view bytes);
// The values of an int64 tensor in either form. Throws as above, and when they are not as many as the shape says.
std::vector<std::int64_t> Int64sOf(const TensorMessage& tensor);
// How many floats a float tensor has in either form; the same errors.
std::uint64_t CountFloats(const TensorMessage& tensor);

using NamedTensors = std::vector<std::pair<std::string_view, std::string_view>>;

// The outputs of a PredictResponse by alias; of several for one alias the last. Views into `response`.
NamedTensors ReadPredictResponse(std::string_view response);

struct PredictRequestView {
  std::string_view model;
  std::string_view signature;
  NamedTensors inputs;
};

PredictRequestView ReadPredictRequest(std::string_view request);

// Null if there is none.
const std::string_view* FindTensor(const NamedTensors& tensors, std::string_view alias);

}  // namespace mexport
