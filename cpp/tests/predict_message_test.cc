#include "tf_ops/predict_message.h"

#include "tests/testing.h"
#include "tf_ops/platform.h"

namespace mexport {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// What a reader says of bytes; "" if it takes them.
template <typename Work>
std::string Trouble(const Work& work) {
  try {
    work();
    return "";
  } catch (const OpError& error) {
    EXPECT_EQ(error.code(), OpError::kInternal);
    return error.what();
  }
}

TEST(PredictRequest, IsWhatProtobufWrites) {
  PredictRequestWriter writer("m", 3, "s");
  const std::vector<std::int64_t> ids = {-1, 300};
  writer.AddInt64s("i", {2}, ids.data(), ids.size());
  const std::vector<float> floats = {1.0f, 0.0f};
  writer.AddFloats("f", {2, 0}, floats.data(), floats.size());
  writer.AddStrings("t", {1, 2}, {"", "ab"});
  writer.AddContent("c", 6, {}, "x");
  writer.AddOutput("o");
  EXPECT_EQ(writer.bytes(), FromHex("0a0a 0a016d 12020803 1a0173"
                                    "121b 0a0169 1216 0809 1204 12020802 520c ffffffffffffffffff01 ac02"
                                    "1219 0a0166 1214 0801 1206 12020802 1200 2a08 0000803f 00000000"
                                    "1217 0a0174 1212 0807 1208 12020801 12020802 4200 4202 6162"
                                    "120c 0a0163 1207 0806 1200 2201 78"
                                    "1a01 6f"));
}

TEST(PredictRequest, IsReadBack) {
  PredictRequestWriter writer("m", -1, "s");
  const std::vector<std::int64_t> ids = {-1, 300, 0};
  writer.AddInt64s("i", {3}, ids.data(), ids.size());
  const std::vector<float> floats = {1.0f, 0.0f};
  writer.AddFloats("f", {2, 1}, floats.data(), floats.size());
  writer.AddContent("c", kDataTypeInt64, {1}, std::string_view("\1\0\0\0\0\0\0\0", 8));
  writer.AddInt64s("none", {0}, nullptr, 0);
  const PredictRequestView view = ReadPredictRequest(writer.bytes());
  EXPECT_EQ(view.model, "m");
  EXPECT_EQ(view.signature, "s");
  const auto tensor = [&](const char* alias) { return ReadTensorMessage(*FindTensor(view.inputs, alias)); };
  EXPECT_EQ(Int64sOf(tensor("i")), ids);
  EXPECT_THAT(tensor("f").shape, ElementsAre(2, 1));
  EXPECT_EQ(tensor("f").floats, std::string_view(reinterpret_cast<const char*>(floats.data()), 8));
  EXPECT_EQ(CountFloats(tensor("f")), 2u);
  EXPECT_THAT(Int64sOf(tensor("c")), ElementsAre(1));
  EXPECT_TRUE(Int64sOf(tensor("none")).empty());
  EXPECT_EQ(FindTensor(view.inputs, "other"), nullptr);
}

TEST(PredictRequest, SizesAreThoseOfWhatIsWritten) {
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{15}, std::size_t{1000}}) {
    std::vector<std::int64_t> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<std::int64_t>(i * i) - 7;
    const std::vector<float> floats(n * 3);
    const auto rows = static_cast<std::int64_t>(n);
    PredictRequestWriter writer("model", 200, "");
    EXPECT_EQ(writer.bytes().size(), PredictHeaderBytes("model", 200, ""));
    writer.AddInt64s("ids", {rows}, ids.data(), n);
    writer.AddFloats("values", {rows, 3}, floats.data(), floats.size());
    EXPECT_EQ(writer.bytes().size(), PredictHeaderBytes("model", 200, "") +
                                         Int64sBytes("ids", {rows}, Int64ValueBytes(ids.data(), n)) +
                                         FloatsBytes("values", {rows, 3}, floats.size()));
  }
}

TEST(TensorMessage, BytesThatAreNone) {
  const auto trouble = [](std::string_view hex) { return Trouble([&] { Int64sOf(ReadTensorMessage(FromHex(hex))); }); };
  EXPECT_EQ(trouble("08 09 12 04 12 02 08 01 52 01 05"), "");
  EXPECT_THAT(trouble("08"), HasSubstr("offset"));
  EXPECT_THAT(trouble("12 00 12 00"), HasSubstr("two shapes"));
  EXPECT_THAT(trouble("12 02 18 01"), HasSubstr("unknown rank"));
  EXPECT_THAT(trouble("12 0d 12 0b 08 ffffffffffffffffff01"), HasSubstr("got a dimension of -1"));
  EXPECT_THAT(trouble("12 16 12 09 08 8080808080808040 12 09 08 8080808080808040"), HasSubstr("too many elements"));
  EXPECT_THAT(trouble("12 04 12 02 08 02 52 01 05"), HasSubstr("got 1 integers, want 2"));
  EXPECT_THAT(trouble("12 04 12 02 08 01 52 01 85"), HasSubstr("broken integer"));
  EXPECT_THAT(trouble("12 04 12 02 08 01 22 01 85"), HasSubstr("broken int64"));
  EXPECT_THAT(Trouble([] { CountFloats(ReadTensorMessage(FromHex("12 04 12 02 08 01 2a 00"))); }),
              HasSubstr("want 1 floats"));
}

TEST(PredictResponse, TheLastOfTwoEntriesCounts) {
  const std::string bytes = FromHex("0a 07 0a 01 78 12 02 08 01  12 00  0a 07 0a 01 78 12 02 08 03");
  const NamedTensors tensors = ReadPredictResponse(bytes);
  EXPECT_THAT(tensors, ElementsAre(Pair("x", FromHex("0801")), Pair("x", FromHex("0803"))));
  EXPECT_EQ(*FindTensor(tensors, "x"), FromHex("0803"));
  EXPECT_THAT(Trouble([] { ReadPredictResponse(FromHex("0a 04 12 00 12 00")); }), HasSubstr("two values"));
}

TEST(PredictResponse, DamagedBytesAreTold) {
  PredictRequestWriter writer("m", 1, "s");
  const std::vector<std::int64_t> ids = {1, 2, 3};
  writer.AddInt64s("i", {3}, ids.data(), ids.size());
  const auto read = [](std::string_view bytes) {
    for (const auto& [alias, tensor] : ReadPredictRequest(bytes).inputs) Int64sOf(ReadTensorMessage(tensor));
  };
  for (std::size_t end = 0; end < writer.bytes().size(); ++end) {
    // On a heap of its own, so that a sanitizer sees a step beyond the end.
    const std::string cut(writer.bytes(), 0, end);
    const std::vector<char> heap(cut.begin(), cut.end());
    Trouble([&] { read({heap.data(), heap.size()}); });
  }
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const std::string noise = Noise(3, seed);
    std::string broken = writer.bytes();
    broken[static_cast<unsigned char>(noise[0]) % broken.size()] = noise[1];
    broken[static_cast<unsigned char>(noise[2]) % broken.size()] = noise[1];
    Trouble([&] { read(broken); });
  }
}

}  // namespace
}  // namespace mexport
