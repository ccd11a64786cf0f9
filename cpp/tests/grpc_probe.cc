// Both ends of core's gRPC as a program, for the tests against another implementation (grpc_oracle_test.py).
//
// `grpc_probe serve ADDRESS` prints its port, answers /probe.Probe/… until its standard input ends, then shuts down.
// `grpc_probe call` reads lines "ADDRESS METHOD DEADLINE_MS MAX_RESPONSE THREADS CALLS SIZE" and SIZE bytes of a
// request each, makes that many calls on so many threads, and prints "CODE COUNT TEXT_SIZE RESPONSE_SIZE", the text and
// the response of the last call; COUNT calls ended with its code.
#include <atomic>
#include <chrono>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/grpc_channel.h"
#include "core/grpc_server.h"

namespace mexport {
namespace {

RpcStatus Answer(std::string_view method, std::string_view request, std::string* response) {
  if (method == "/probe.Probe/Echo") {
    response->assign(request);
    return {};
  }
  if (method == "/probe.Probe/Fail") return {9, std::string(request)};
  if (method == "/probe.Probe/Throw") throw std::runtime_error("thrown: " + std::string(request));
  if (method == "/probe.Probe/Wait") {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(std::string(request))));
    return {};
  }
  return {rpc_code::kUnimplemented, std::string(method)};
}

int Serve(const std::string& address) {
  GrpcServer server(address, Answer);
  std::cout << server.port() << std::endl;
  for (char byte = 0; std::cin.get(byte);) {
  }
  server.Shutdown();
  return 0;
}

int Call() {
  std::map<std::string, GrpcChannel> channels;
  std::string address, method;
  int deadline_ms = 0, thread_count = 0, calls = 0;
  std::size_t max_response = 0, size = 0;
  while (std::cin >> address >> method >> deadline_ms >> max_response >> thread_count >> calls >> size) {
    std::string request(size, '\0');
    std::cin.get();
    std::cin.read(request.data(), static_cast<std::streamsize>(size));
    GrpcChannel& channel = channels.try_emplace(address, address).first->second;
    std::mutex mutex;
    std::map<int, int> counts;
    RpcStatus status;
    std::string response;
    std::vector<std::thread> threads;
    for (int i = 0; i < thread_count; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < calls; ++k) {
          std::string answer;
          RpcStatus one = channel.Call(method, request, std::chrono::milliseconds(deadline_ms), &answer, max_response);
          const std::lock_guard lock(mutex);
          ++counts[one.code];
          status = std::move(one);
          response = std::move(answer);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::cout << status.code << ' ' << counts[status.code] << ' ' << status.message.size() << ' ' << response.size()
              << '\n'
              << status.message << response << std::flush;
  }
  return 0;
}

}  // namespace
}  // namespace mexport

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  if (arguments.size() == 3 && arguments[1] == "serve") return mexport::Serve(arguments[2]);
  if (arguments.size() == 2 && arguments[1] == "call") return mexport::Call();
  std::cerr << "usage: grpc_probe serve ADDRESS | grpc_probe call\n";
  return 2;
}
