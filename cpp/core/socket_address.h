// Where a peer is: "host:port", "[::1]:port", ":port" to listen on every interface, "unix:/path".
#pragma once

#include <string>

namespace mexport {

struct SocketAddress {
  // Throws Error(kInvalidArgument) for what has none of these forms. `listening`: the host may be empty and the port 0.
  static SocketAddress Parse(const std::string& text, bool listening);

  bool is_path() const { return !path.empty(); }

  std::string text;
  std::string path;  // of a unix socket; empty otherwise
  std::string host;
  std::string port;
};

}  // namespace mexport
