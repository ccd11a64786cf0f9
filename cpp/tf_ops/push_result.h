// What targets said to a push: a parameter_sync.PushResult as JSON, as protobuf writes it with the names of the schema.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mexport {

struct PushResponse {
  std::int32_t status_code = 0;  // gRPC's
  std::string error_message;
  std::string target;
  std::int32_t update_num = 0;
};

std::string PushResultJson(const std::vector<PushResponse>& responses);

}  // namespace mexport
