// Which addresses serve which model, as JSON: {"<model>": ["<host>:<port>", …], …}
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mexport {

using ServerMap = std::map<std::string, std::vector<std::string>>;

// Throws OpError(kInvalidArgument) for text that is no such object; the message names an offset.
ServerMap ParseServerMap(std::string_view json);

}  // namespace mexport
