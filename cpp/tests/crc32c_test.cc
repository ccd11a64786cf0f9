#include "core/crc32c.h"

#include <thread>

#include "core/crc32c_polynomial.h"
#include "tests/testing.h"

namespace mexport {
namespace {

// One bit at a time, straight from the definition.
std::uint32_t Reference(std::uint32_t crc, std::string_view bytes) {
  crc = ~crc;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? crc32c_polynomial::kPolynomial : 0);
  }
  return ~crc;
}

class EachCrc32c : public testing::TestWithParam<Crc32cImplementation> {};

INSTANTIATE_TEST_SUITE_P(Crc32c, EachCrc32c,
                         testing::ValuesIn(Crc32cImplementations().begin(), Crc32cImplementations().end()),
                         [](const auto& param_info) {
                           std::string name = param_info.param.name;
                           std::erase(name, '.');
                           return name;
                         });

TEST_P(EachCrc32c, MatchesPublishedVectors) {
  const auto crc = [](const std::string& bytes) { return GetParam().extend(0, bytes.data(), bytes.size()); };
  std::string up;
  for (int i = 0; i < 32; ++i) up.push_back(static_cast<char>(i));
  EXPECT_EQ(crc(""), 0u);
  EXPECT_EQ(crc("123456789"), 0xe3069283u);
  // RFC 3720, B.4
  EXPECT_EQ(crc(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc(up), 0x46dd794eu);
  EXPECT_EQ(crc(std::string(up.rbegin(), up.rend())), 0x113fdb5cu);
}

TEST_P(EachCrc32c, MatchesDefinitionAtEverySizeAndAlignment) {
  const std::string noise = Noise(1200);
  for (std::size_t size = 0; size <= 1100; size += size < 300 ? 1 : 7) {
    for (const std::size_t start : {0u, 1u, 3u, 7u, 8u, 15u, 33u, 63u}) {
      const std::string_view bytes = std::string_view(noise).substr(start, size);
      ASSERT_EQ(GetParam().extend(0xdeadbeef, bytes.data(), bytes.size()), Reference(0xdeadbeef, bytes))
          << size << " bytes from " << start;
    }
  }
}

TEST_P(EachCrc32c, IsTheSameHoweverTheBytesAreSplit) {
  // Large enough for every stride of the vector code, its remainders included.
  const std::string noise = Noise(100'003);
  const std::uint32_t whole = Reference(0, noise);
  ASSERT_EQ(GetParam().extend(0, noise.data(), noise.size()), whole);
  for (std::size_t split = 1; split < noise.size(); split += split < 600 ? 1 : 1979) {
    const std::uint32_t head = GetParam().extend(0, noise.data(), split);
    ASSERT_EQ(GetParam().extend(head, noise.data() + split, noise.size() - split), whole) << "split at " << split;
  }
}

TEST(Crc32c, UsesTheFastestImplementation) {
  const std::string noise = Noise(5000);
  EXPECT_STREQ(Crc32cImplementations().front().name, "portable");
  EXPECT_EQ(Crc32c(noise.data(), noise.size()), Reference(0, noise));
  EXPECT_EQ(ExtendCrc32c(7, noise.data(), noise.size()), Reference(7, noise));
}

TEST(Crc32c, ThreadsMayMakeTheFirstCall) {
  const std::string noise = Noise(4096);
  std::vector<std::uint32_t> results(8);
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t& result : results) {
      threads.emplace_back([&] { result = Crc32c(noise.data(), noise.size()); });
    }
  }
  EXPECT_THAT(results, testing::Each(Reference(0, noise)));
}

TEST(Crc32c, MasksAreInverse) {
  EXPECT_EQ(MaskCrc(0), kCrcMaskDelta);
  EXPECT_EQ(MaskCrc(0x8c28b28a), 0x07980329u);  // of a record of length 0: docs/formats/tfrecord.md
  for (const std::uint32_t crc : {0u, 1u, 0x7fffu, 0x8000u, 0xe3069283u, 0xffffffffu}) {
    EXPECT_EQ(UnmaskCrc(MaskCrc(crc)), crc);
    EXPECT_NE(MaskCrc(crc), crc);
  }
}

TEST(Crc32cPolynomial, PowersAddUp) {
  using crc32c_polynomial::Multiply;
  using crc32c_polynomial::PowerOfX;
  EXPECT_EQ(PowerOfX(0), crc32c_polynomial::kOne);
  EXPECT_EQ(PowerOfX(32), crc32c_polynomial::kPolynomial);
  EXPECT_EQ(Multiply(PowerOfX(1000), PowerOfX(23)), PowerOfX(1023));
}

}  // namespace
}  // namespace mexport
