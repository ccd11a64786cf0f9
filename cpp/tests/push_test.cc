#include <thread>

#include "tests/testing.h"
#include "tf_ops/platform.h"
#include "tf_ops/push_result.h"
#include "tf_ops/server_map.h"
#include "tf_ops/sync_client.h"
#include "tf_ops/touched_ids.h"

namespace mexport {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

std::string Refusal(const std::string& json) {
  try {
    ParseServerMap(json);
    return "";
  } catch (const OpError& error) {
    EXPECT_EQ(error.code(), OpError::kInvalidArgument);
    return error.what();
  }
}

TEST(ServerMap, IsReadFromJson) {
  EXPECT_THAT(ParseServerMap(" {} "), IsEmpty());
  EXPECT_THAT(ParseServerMap("{\"b\":[],\n\"a:ps_0\" : [ \"h:1\" , \"h:2\" ] }"),
              ElementsAre(Pair("a:ps_0", ElementsAre("h:1", "h:2")), Pair("b", IsEmpty())));
  EXPECT_THAT(ParseServerMap(R"({"\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00":[]})"),
              ElementsAre(Pair("\"\\/\b\f\n\r\tAé€😀", IsEmpty())));
}

TEST(ServerMap, RefusesWhatIsNone) {
  EXPECT_EQ(Refusal(""), "offset 0: want an object of addresses by model");
  EXPECT_EQ(Refusal("{\"a\":1}"), "offset 5: want a list of addresses");
  EXPECT_EQ(Refusal("{\"a\":[],\"a\":[]}"), "offset 8: 'a' comes twice");
  for (const char* text : {"{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":[", "{\"a\":[\"", "{\"a\":[\"h\"",
                           "{\"a\":[]", "{\"a\":[],}", "{\"\\", "{\"\\u12", "{\"\\ud800\":[]}", "{\"\\udc00\":[]}",
                           "{\"\\ud800\\u0041\":[]}", "{\"\x01\":[]}", "{}{}", "nul"}) {
    EXPECT_THAT(Refusal(text), HasSubstr("offset")) << text;
  }
}

TEST(PushResult, IsJson) {
  EXPECT_EQ(PushResultJson({}), "{}");
  EXPECT_EQ(PushResultJson({{14, "a\"\\\n\x01", "h:1", 0}, {0, "", "h:2", 7}}),
            "{\n \"responses\": [\n"
            "  {\n   \"status_code\": 14,\n   \"error_message\": \"a\\\"\\\\\\u000a\\u0001\",\n"
            "   \"target\": \"h:1\",\n   \"update_num\": 0\n  },\n"
            "  {\n   \"status_code\": 0,\n   \"error_message\": \"\",\n"
            "   \"target\": \"h:2\",\n   \"update_num\": 7\n  }\n ]\n}\n");
  const auto message = [](const std::string& text) {
    const std::string json = PushResultJson({{0, text, "", 0}});
    const std::size_t begin = json.find("message\": \"") + 11;
    return json.substr(begin, json.find('"', begin) - begin);
  };
  EXPECT_EQ(message("é€😀"), "é€😀");
  EXPECT_EQ(message("\xff"
                    "a"),
            "\\ufffda");
  EXPECT_EQ(message("\xe2\x82"), "\\ufffd\\ufffd");
  EXPECT_EQ(message("\xc0\x80\xed\xa0\x80"), "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd");
}

TEST(TouchedIds, ComeOnceAndInOrder) {
  TouchedIds touched;
  const std::vector<std::int64_t> ids = {3, -1, INT64_MIN, 3, INT64_MAX, 0};
  touched.Add(ids.data(), ids.size());
  touched.Add(ids.data(), ids.size());
  EXPECT_THAT(touched.Take(), ElementsAre(INT64_MIN, -1, 0, 3, INT64_MAX));
  EXPECT_THAT(touched.Take(), IsEmpty());
}

TEST(TouchedIds, NoneIsLostBetweenThreads) {
  constexpr std::int64_t kEach = 100'000;
  TouchedIds touched;
  std::vector<std::int64_t> taken;
  {
    std::vector<std::jthread> threads;
    for (std::int64_t t = 0; t < 3; ++t) {
      threads.emplace_back([&touched, t] {
        for (std::int64_t i = 0; i < kEach; ++i) {
          const std::int64_t id = t * kEach + i;
          touched.Add(&id, 1);
        }
      });
    }
    for (int i = 0; i < 20; ++i) {
      const std::vector<std::int64_t> some = touched.Take();
      taken.insert(taken.end(), some.begin(), some.end());
    }
  }
  const std::vector<std::int64_t> rest = touched.Take();
  taken.insert(taken.end(), rest.begin(), rest.end());
  EXPECT_EQ(taken.size(), std::size_t{3 * kEach});
  MakeDistinct(&taken);
  EXPECT_EQ(taken.size(), std::size_t{3 * kEach});
}

TEST(ClientConfig, IsRead) {
  const ClientConfig config =
      ParseClientConfig(FromHex("0a 01 6d 12 01 73 1a 03 683a31 1a 03 683a31 1a 03 683a32 20 05 2a 00"));
  EXPECT_EQ(config.model, "m");
  EXPECT_EQ(config.signature, "s");
  EXPECT_THAT(config.targets, ElementsAre("h:1", "h:2"));
  EXPECT_EQ(config.timeout_millis, 5);
  const ClientConfig none = ParseClientConfig("");
  EXPECT_EQ(none.signature, "hashtable_assign");
  EXPECT_EQ(none.timeout_millis, 1000);
  EXPECT_THROW(ParseClientConfig("\x0a\x05"), OpError);
  EXPECT_THROW(ParseClientConfig(FromHex("20 00")), OpError);
}

}  // namespace
}  // namespace mexport
