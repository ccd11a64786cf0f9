// Pushes and remote predictions from many threads, against servers in the process.
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "core/grpc_server.h"
#include "tests/table_testing.h"
#include "tf_ops/predict_message.h"
#include "tf_ops/predict_servers.h"
#include "tf_ops/sync_client.h"
#include "tf_ops/sync_server.h"
#include "tf_ops/table.h"

namespace mexport {
namespace {

using ::testing::HasSubstr;

std::string SgdTable() {
  return AsString(TableMessage({TrainingSegment(1, Alternative(OptimizerKind::kSgd))}).bytes());
}

std::string At(int port) { return "localhost:" + std::to_string(port); }

ClientConfig ConfigFor(std::vector<std::string> targets) {
  ClientConfig config;
  config.model = "m";
  config.signature = "hashtable_assign";
  config.targets = std::move(targets);
  config.timeout_millis = 20'000;
  return config;
}

// Keeps the last value that came for each id of table "t"; refuses every third request.
class Replica {
 public:
  Replica() : server_("localhost:0", [this](auto, std::string_view request, auto) { return Take(request); }) {}

  std::string address() const { return At(server_.port()); }
  std::map<std::int64_t, float> values() {
    const std::lock_guard lock(mutex_);
    return values_;
  }

 private:
  RpcStatus Take(std::string_view request) {
    const std::lock_guard lock(mutex_);
    if (++requests_ % 3 == 0) return {rpc_code::kInternal, "not now"};
    const PredictRequestView view = ReadPredictRequest(request);
    const std::vector<std::int64_t> ids = Int64sOf(ReadTensorMessage(*FindTensor(view.inputs, "t_id")));
    const TensorMessage floats = ReadTensorMessage(*FindTensor(view.inputs, "t_value"));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      std::memcpy(&values_[ids[i]], floats.floats.data() + i * sizeof(float), sizeof(float));
    }
    return {};
  }

  std::mutex mutex_;
  std::map<std::int64_t, float> values_;
  int requests_ = 0;
  GrpcServer server_;
};

TEST(SyncClient, ReplicasEndUpWithWhatTrainingMade) {
  constexpr int kThreads = 3;
  constexpr std::int64_t kIds = 50;
  constexpr int kRounds = 40;
  Replica left;
  Replica right;
  Table table("t", SgdTable(), nullptr);
  SyncClient client(ConfigFor({left.address(), right.address()}));
  client.Track(&table);
  std::atomic<int> training{kThreads};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        const float rate = 1.0f;
        const float gradient = -1.0f;
        for (int round = 0; round < kRounds; ++round) {
          for (std::int64_t id = 0; id < kIds; ++id) {
            table.Optimize({&id, 1}, {&gradient, 1}, {{&rate, 1}, 0, 0, false});
          }
        }
        --training;
      });
    }
    threads.emplace_back([&] {
      while (training > 0) client.Push(nullptr);
    });
  }
  // What was refused comes with the next push.
  for (int i = 0; i < 2; ++i) client.Push(nullptr);
  for (Replica* replica : {&left, &right}) {
    const std::map<std::int64_t, float> values = replica->values();
    ASSERT_EQ(values.size(), std::size_t{kIds});
    for (const auto& [id, value] : values) EXPECT_EQ(value, kThreads * kRounds) << id;
  }
  EXPECT_EQ(client.Push(nullptr), "{}");
}

TEST(SyncClient, ForgetsTablesThatAreGone) {
  SyncServer server("localhost:0");
  SyncClient client(ConfigFor({At(server.port())}));
  const std::int64_t id = 1;
  std::int32_t existed;
  {
    std::vector<Table> tables{Table("a", SgdTable(), nullptr), Table("b", SgdTable(), nullptr)};
    client.Track("gone", &tables);
    tables[0].Reinitialize({&id, 1}, &existed);
  }
  EXPECT_EQ(client.Push(nullptr), "{}");
  Table table("t", SgdTable(), nullptr);
  client.Track(&table);
  table.Reinitialize({&id, 1}, &existed);
  EXPECT_THAT(client.Push(nullptr), HasSubstr("\"update_num\": 1"));
  EXPECT_EQ(server.Shutdown(), 1);
}

TEST(PredictServers, TheMapMayChangeWhileItIsUsed) {
  const auto echo = [](std::string_view, std::string_view request, std::string* response) {
    *response = request;
    return RpcStatus();
  };
  GrpcServer left("localhost:0", echo);
  GrpcServer right("localhost:0", echo);
  PredictServers& servers = PredictServers::Get();
  const auto map = [](int port) { return "{\"m\": [\"" + At(port) + "\"]}"; };
  servers.Set(map(left.port()).c_str());
  std::atomic<int> asking{3};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          const PredictRoute route = servers.Find("m", "", -1);
          const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
          const PredictAnswer answer = CallPredict(route, "hello", deadline);
          EXPECT_TRUE(answer.status.ok()) << answer.status.message;
          EXPECT_EQ(answer.response, "hello");
        }
        --asking;
      });
    }
    for (int i = 0; asking > 0; ++i) servers.Set(map(i % 2 == 0 ? right.port() : left.port()).c_str());
  }
  servers.Set(nullptr);
}

}  // namespace
}  // namespace mexport
