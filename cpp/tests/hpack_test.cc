#include "core/hpack.h"

#include <algorithm>

#include "core/http2_error.h"
#include "tests/testing.h"

namespace mexport {
namespace {

constexpr std::size_t kUnlimited = 1 << 20;

HeaderList Decode(HpackDecoder* decoder, std::string_view hex) {
  HeaderList list;
  EXPECT_TRUE(decoder->Decode(FromHex(hex), kUnlimited, &list));
  return list;
}

// Whether the blocks, one after the other, end in kCompressionError with that text.
void ExpectRefused(const std::vector<std::string>& blocks, const char* text, std::size_t table = 4096) {
  HpackDecoder decoder(table);
  HeaderList list;
  try {
    for (const std::string& block : blocks) decoder.Decode(block, kUnlimited, &list);
    ADD_FAILURE() << "got no Http2Error, want " << text;
  } catch (const Http2Error& error) {
    EXPECT_EQ(error.code(), Http2Code::kCompressionError);
    EXPECT_THAT(error.what(), testing::HasSubstr(text));
  }
}

struct Step {
  const char* plain;    // RFC 7541, appendix C
  const char* huffman;  // the same list with Huffman codes
  HeaderList list;
  std::size_t table_bytes;
};

const std::vector<Step> kRequests = {
    {"82 86 84 41 0f 7777772e6578616d706c652e636f6d",
     "82 86 84 41 8c f1e3c2e5f23a6ba0ab90f4ff",
     {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "www.example.com"}},
     57},
    {"82 86 84 be 58 08 6e6f2d6361636865",
     "82 86 84 be 58 86 a8eb10649cbf",
     {{":method", "GET"},
      {":scheme", "http"},
      {":path", "/"},
      {":authority", "www.example.com"},
      {"cache-control", "no-cache"}},
     110},
    {"82 87 85 bf 40 0a 637573746f6d2d6b6579 0c 637573746f6d2d76616c7565",
     "82 87 85 bf 40 88 25a849e95ba97d7f 89 25a849e95bb8e8b4bf",
     {{":method", "GET"},
      {":scheme", "https"},
      {":path", "/index.html"},
      {":authority", "www.example.com"},
      {"custom-key", "custom-value"}},
     164},
};

const std::vector<Step> kResponses = {
    {"48 03 333032 58 07 70726976617465 61 1d 4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
     "6e 17 68747470733a2f2f7777772e6578616d706c652e636f6d",
     "48 82 6402 58 85 aec3771a4b 61 96 d07abe941054d444a8200595040b8166e082a62d1bff 6e 91 "
     "9d29ad171863c78f0b97c8e9ae82ae43d3",
     {{":status", "302"},
      {"cache-control", "private"},
      {"date", "Mon, 21 Oct 2013 20:13:21 GMT"},
      {"location", "https://www.example.com"}},
     222},
    {"48 03 333037 c1 c0 bf",
     "48 83 640eff c1 c0 bf",
     {{":status", "307"},
      {"cache-control", "private"},
      {"date", "Mon, 21 Oct 2013 20:13:21 GMT"},
      {"location", "https://www.example.com"}},
     222},
    {"88 c1 61 1d 4d6f6e2c203231204f637420323031332032303a31333a323220474d54 c0 5a 04 677a6970 77 38 "
     "666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b207665"
     "7273696f6e3d31",
     "88 c1 61 96 d07abe941054d444a8200595040b8166e084a62d1bff c0 5a 83 9bd9ab 77 ad "
     "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
     {{":status", "200"},
      {"cache-control", "private"},
      {"date", "Mon, 21 Oct 2013 20:13:22 GMT"},
      {"location", "https://www.example.com"},
      {"content-encoding", "gzip"},
      {"set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"}},
     215},
};

TEST(Hpack, DecodesTheExamplesOfTheRfc) {
  for (const auto& [steps, table] : {std::pair{kRequests, 4096u}, std::pair{kResponses, 256u}}) {
    for (const auto form : {&Step::plain, &Step::huffman}) {
      HpackDecoder decoder(table);
      for (const Step& step : steps) {
        EXPECT_EQ(Decode(&decoder, step.*form), step.list) << step.*form;
        EXPECT_EQ(decoder.table_bytes(), step.table_bytes);
      }
    }
  }
  HpackDecoder decoder;
  EXPECT_EQ(Decode(&decoder, "04 0c 2f73616d706c652f70617468"), (HeaderList{{":path", "/sample/path"}}));
  EXPECT_EQ(Decode(&decoder, "10 08 70617373776f7264 06 736563726574"), (HeaderList{{"password", "secret"}}));
  EXPECT_EQ(Decode(&decoder, "82"), (HeaderList{{":method", "GET"}}));
  EXPECT_EQ(decoder.table_fields(), 0u);
  EXPECT_EQ(Decode(&decoder, "40 0a 637573746f6d2d6b6579 0d 637573746f6d2d686561646572"),
            (HeaderList{{"custom-key", "custom-header"}}));
  EXPECT_EQ(decoder.table_bytes(), 55u);
}

TEST(Hpack, DecodesWhatItEncodes) {
  HeaderList list = {
      {":method", "POST"}, {":status", "200"}, {":path", "/a/B"}, {"x-new", ""}, {"content-type", "text"}};
  for (const std::size_t size : {126u, 127u, 128u, 254u, 255u, 256u, 16511u, 70000u}) {
    list.push_back({"n" + Noise(size), Noise(size, size)});
  }
  std::string block(1, hpack::kTableSizeZero);
  hpack::EncodeHeaders(list, &block);
  HpackDecoder decoder;
  HeaderList again;
  EXPECT_TRUE(decoder.Decode(block, kUnlimited, &again));
  EXPECT_EQ(again, list);
  EXPECT_EQ(decoder.table_fields(), 0u);
}

TEST(Hpack, EncodesByTheStaticTable) {
  std::string block;
  hpack::EncodeHeaders({{":method", "POST"}, {":status", "299"}, {"user-agent", "x"}, {"te", "y"}}, &block);
  EXPECT_EQ(block, FromHex("83 08 03 323939 0f 2b 01 78 00 02 7465 01 79"));
}

TEST(Hpack, EvictsTheOldestAndWhatIsTooLarge) {
  HpackDecoder decoder(100);
  // "a: 1" counts 34: two of them fit.
  Decode(&decoder, "40 01 61 01 31  40 01 62 01 32");
  EXPECT_EQ(Decode(&decoder, "be bf"), (HeaderList{{"b", "2"}, {"a", "1"}}));
  Decode(&decoder, "40 01 63 01 33");
  EXPECT_EQ(Decode(&decoder, "be bf"), (HeaderList{{"c", "3"}, {"b", "2"}}));
  // A name may come from a field that its own insertion drives out.
  EXPECT_EQ(Decode(&decoder, "7f 00 30 " + std::string(96, '3')).front().name, "b");
  EXPECT_EQ(decoder.table_fields(), 1u);
  Decode(&decoder, "40 01 64 45 " + std::string(138, '3'));
  EXPECT_EQ(decoder.table_fields(), 0u);
  EXPECT_EQ(decoder.table_bytes(), 0u);
}

TEST(Hpack, SizesOfTheTable) {
  HpackDecoder decoder(100);
  Decode(&decoder, "40 01 61 01 31  40 01 62 01 32");
  Decode(&decoder, "3f 08");  // 39
  EXPECT_EQ(decoder.table_fields(), 1u);
  Decode(&decoder, "20 3f 45");  // 0, then 100 again
  EXPECT_EQ(decoder.table_fields(), 0u);
  ExpectRefused({FromHex("3f 46")}, "beyond the setting", 100);
  ExpectRefused({FromHex("82 20")}, "within a block");
}

TEST(Hpack, RefusesWhatIsWrong) {
  ExpectRefused({FromHex("80")}, "index 0");
  ExpectRefused({FromHex("be")}, "beyond the table");
  ExpectRefused({FromHex("7e 01 31")}, "beyond the table");
  ExpectRefused({FromHex("ff 80 80 80 80 80 00")}, "32 bits");
  ExpectRefused({FromHex("ff ff ff ff ff 7f")}, "32 bits");
  ExpectRefused({FromHex("40 01 61 7f ff ff ff ff 07")}, "cut");
  ExpectRefused({FromHex("00 81 fe")}, "Huffman");             // 7 bits of 1, then a 0
  ExpectRefused({FromHex("00 82 1f ff")}, "Huffman");          // a byte of padding
  ExpectRefused({FromHex("00 84 ff ff ff ff")}, "end in it");  // the code of the end
}

TEST(Hpack, RefusesABlockThatIsCut) {
  // Of one field: a block may well end between two.
  for (const char* const hex :
       {"40 0a 637573746f6d2d6b6579 0d 637573746f6d2d686561646572", "40 88 25a849e95ba97d7f 89 25a849e95bb8e8b4bf"}) {
    const std::string block = FromHex(hex);
    for (std::size_t size = 1; size < block.size(); ++size) ExpectRefused({block.substr(0, size)}, "cut");
  }
}

TEST(Hpack, DecodesEveryHuffmanCode) {
  // The codes of 0 to 255, and ones.
  const std::string codes = FromHex(
      "ffc7fffd8fffffe2fffffe3fffffe4fffffe5fffffe6fffffe7fffffe8ffffeafffffff3fffffa7fffffabffffffdfffffeb"
      "fffffecfffffedfffffeefffffefffffff0ffffff1ffffff2fffffffbfffffcffffffd3fffffd7fffffdbfffffdffffffe3f"
      "ffffe7fffffebfffffed4fe3f9ffaffcabf1febfafefe7fdfd2cbb00089969b71d79fb9f7fff20ffbff3ff50ddbd7f061c58"
      "f265cd9f469d5af66dddbf871e5f9cff7ff7fffc3ff9ffe45fff4719242cb34e6e9d68a6a3d7dac426defe3cfaf7fffbfe7f"
      "fbffdffffffcfffe6ffff4bfff9ffffa3fffd3ffff53fffd5ffffb3fffeb7fffdaffffb7ffff73fffeeffffdeffffebffffb"
      "fffffd9ffffdbfffebffffe0ffffeeffffc3ffff8bffff1ffffe4fffee7fffb1ffff97fffd9ffffcdffff9fffffbffffdaff"
      "feeffff4ffffb7fffee7fffe8ffffd3fffdeffffd5fffeeffffbdffffe1fffdfffff7fffff5ffffecffff07fff87fffe0fff"
      "f17fffedffff87ffff77fffeffffeaffff8bfffe3ffff93ffff87fffcbffff37ffff1fffff83ffffe1fffebfffe3ffff3fff"
      "ff2ffffa3ffffd9fffff17ffffc7fffff27ffffdefffffbffffff2fffff8fffffb7fff97fff8fffffe6fffffc1fffff87fff"
      "fe7fffffc5ffffe5fffe4ffff2fffffd1fffff4ffffffefffffe3fffffc9fffff97fffb3ffffcffffb7fffcdffff4ffff9ff"
      "ffd1ffffcffffeaffffafffffddffffeffffff4fffff5fffffabffffa7ffffd7fffff9bffffecfffffb7fffff3fffffe8fff"
      "ffd3fffffabfffff5fffffff7ffffecfffffdbfffffbbfffff7ffffff0fffffbbf");
  std::string text;
  hpack::DecodeHuffman(codes, &text);
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(text, all);
}

TEST(Hpack, KeepsNoMoreThanTheLimitButGoesOn) {
  // A field of 4000 bytes, and one byte for each copy.
  HpackDecoder decoder;
  std::string bomb = FromHex("40 01 61 7f a1 1e") + std::string(4000, 'x') + std::string(60000, '\xbe');
  bomb += FromHex("40 01 62 01 32");
  HeaderList list;
  EXPECT_FALSE(decoder.Decode(bomb, 65536, &list));
  EXPECT_EQ(list.size(), 16u);
  EXPECT_EQ(Decode(&decoder, "be"), (HeaderList{{"b", "2"}}));
}

}  // namespace
}  // namespace mexport
