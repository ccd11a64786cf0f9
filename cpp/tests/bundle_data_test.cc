#include "core/bundle_data.h"

#include <thread>

#include "core/crc32c.h"
#include "tests/testing.h"

namespace mexport {
namespace {

TensorPlace Place(const AppendedTensor& tensor, TensorLayout layout = TensorLayout::kFixed,
                  std::uint64_t elements = 0) {
  return {.layout = layout, .offset = tensor.offset, .size = tensor.size, .elements = elements, .name = "t"};
}

std::uint32_t Masked(std::string_view bytes) { return MaskCrc(Crc32c(bytes.data(), bytes.size())); }

TEST(BundleData, ReadsBackWhatWasAppended) {
  const TempDir dir;
  const std::string path = dir / "data";
  // Sizes around the buffer, and one tensor larger than it.
  const std::vector<std::string> tensors = {
      Noise(10), "", Noise(kBundleChunkSize - 11), Noise(kBundleChunkSize + 1), Noise(1), Noise(3 * kBundleChunkSize)};
  BundleDataWriter writer(path, 0);
  std::vector<AppendedTensor> places;
  std::string want;
  for (const std::string& tensor : tensors) {
    places.push_back(writer.Append(tensor.data(), tensor.size()));
    EXPECT_EQ(places.back().offset, want.size());
    EXPECT_EQ(places.back().crc, Masked(tensor));
    want += tensor;
  }
  const AppendedTensor strings = writer.AppendStrings({"ab", ""});
  want += FromHex("02 00 78 27 0b 34 61 62");
  writer.Close();
  EXPECT_EQ(ReadAll(path), want);

  const BundleDataReader reader(path);
  EXPECT_EQ(reader.size(), want.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::string got(tensors[i].size(), '\0');
    EXPECT_EQ(reader.Read(Place(places[i]), got.data()), places[i].crc);
    EXPECT_EQ(got, tensors[i]);
    EXPECT_EQ(reader.Check(Place(places[i])), places[i].crc);
  }
  std::string stored;
  EXPECT_EQ(reader.ReadStored(Place(strings, TensorLayout::kStrings, 2), &stored), strings.crc);
  EXPECT_EQ(strings.crc, 0x4db08891u);
  EXPECT_EQ(reader.Check(Place(strings, TensorLayout::kStrings, 2)), strings.crc);

  // Copies, over the buffer's end.
  BundleDataWriter copy(dir / "copy", want.size());
  for (const AppendedTensor& place : places) EXPECT_EQ(copy.AppendFrom(reader, Place(place)).crc, place.crc);
  EXPECT_EQ(copy.AppendFrom(reader, Place(strings, TensorLayout::kStrings, 2)).crc, strings.crc);
  copy.Close();
  EXPECT_EQ(ReadAll(dir / "copy"), want);
}

TEST(BundleDataWriter, ReservedSpaceIsCutOff) {
  const TempDir dir;
  BundleDataWriter writer(dir / "f", 1 << 20);
  writer.Append("abc", 3);
  writer.Close();
  EXPECT_EQ(ReadAll(dir / "f"), "abc");
  EXPECT_THAT(Caught([&] { writer.Append("d", 1); }), Is(ErrorKind::kInvalidArgument, "is closed"));
  EXPECT_THAT(Caught([&] { writer.Close(); }), Is(ErrorKind::kInvalidArgument, "is closed"));
}

TEST(BundleDataReader, NoPlaceBeyondTheFile) {
  const TempDir dir;
  WriteAll(dir / "f", "abcdef");
  const BundleDataReader reader(dir / "f");
  BundleDataWriter writer(dir / "g", 0);
  const TensorBox box(1, {UINT32_MAX}, {0}, {1});
  char byte = 0;
  std::string stored;
  for (const auto& [offset, size] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 7}, {6, 1}, {7, 0}, {1, UINT64_MAX}, {UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX}, {5, UINT64_MAX - 4}}) {
    const TensorPlace place{.layout = TensorLayout::kFixed, .offset = offset, .size = size, .elements = 0, .name = "t"};
    const auto offset_in_error = static_cast<std::int64_t>(offset);
    const auto beyond = IsAt(ErrorKind::kBundle, "tensor 't' ends beyond the file", offset_in_error);
    EXPECT_THAT(Caught([&] { reader.Read(place, &byte); }), beyond);
    EXPECT_THAT(Caught([&] { reader.ReadBox(place, box, &byte); }), beyond);
    EXPECT_THAT(Caught([&] { reader.ReadStored(place, &stored); }), beyond);
    EXPECT_THAT(Caught([&] { reader.Check(place); }), beyond);
    EXPECT_THAT(Caught([&] { writer.AppendFrom(reader, place); }), beyond);
  }
  EXPECT_EQ(reader.Check({.offset = 6, .name = "t"}), Masked(""));
}

TEST(BundleDataReader, NoticesAFileThatShrinks) {
  const TempDir dir;
  WriteAll(dir / "f", "abcdef");
  const BundleDataReader reader(dir / "f");
  std::filesystem::resize_file(dir / "f", 3);
  char bytes[6];
  EXPECT_THAT(Caught([&] { reader.Read({.size = 6, .name = "t"}, bytes); }),
              Is(ErrorKind::kBundle, "became shorter while it was read"));
}

TEST(BundleDataReader, ReadsBoxesOverChunks) {
  const TempDir dir;
  const std::string tensor = Noise(3000 * 1001);
  WriteAll(dir / "f", "xx" + tensor);
  const BundleDataReader reader(dir / "f");
  const TensorPlace place{.offset = 2, .size = tensor.size(), .elements = 0, .name = "t"};
  std::string want;
  for (std::size_t row = 100; row < 2900; ++row) want += tensor.substr(row * 1001 + 1, 1000);
  std::string got(want.size(), '\0');
  EXPECT_EQ(reader.ReadBox(place, TensorBox(1, {3000, 1001}, {100, 1}, {2800, 1000}), got.data()), Masked(tensor));
  EXPECT_TRUE(got == want);
  EXPECT_THAT(Caught([&] { reader.ReadBox(place, TensorBox(1, {3000, 1000}, {0, 0}, {1, 1}), got.data()); }),
              Is(ErrorKind::kInvalidArgument, "the shape does not match the size"));
}

TEST(BundleData, ThreadsShareAWriterAndAReader) {
  const TempDir dir;
  BundleDataWriter writer(dir / "f", 0);
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 50;
  std::vector<std::vector<std::pair<std::string, AppendedTensor>>> made(kThreads);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < kEach; ++i) {
          std::string tensor = Noise(1 + (i * 7001 + t) % 40'000, t * kEach + i);
          const AppendedTensor place = writer.Append(tensor.data(), tensor.size());
          made[t].emplace_back(std::move(tensor), place);
        }
      });
    }
  }
  writer.Close();
  const BundleDataReader reader(dir / "f");
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (const auto& [tensor, place] : made[t]) {
        std::string got(tensor.size(), '\0');
        EXPECT_EQ(reader.Read(Place(place), got.data()), place.crc);
        EXPECT_TRUE(got == tensor);
      }
    });
  }
}

}  // namespace
}  // namespace mexport
