#include "core/socket_address.h"

#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "core/error.h"

namespace mexport {
namespace {

constexpr std::string_view kUnix = "unix:";

bool IsPort(std::string_view text, bool listening) {
  unsigned port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  return error == std::errc() && stop == end && port <= 65535 && (listening || port > 0);
}

// Whether the name system may be asked for it.
bool IsHost(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != '[' && c != ']'; });
}

}  // namespace

SocketAddress SocketAddress::Parse(const std::string& text, bool listening) {
  SocketAddress address;
  address.text = text;
  bool good = false;
  if (text.starts_with(kUnix)) {
    address.path = text.substr(kUnix.size());
    good = !address.path.empty() && address.path.size() < sizeof(sockaddr_un::sun_path) &&
           address.path.find('\0') == std::string::npos;
  } else if (const std::size_t colon = text.rfind(':'); colon != std::string::npos) {
    address.host = text.substr(0, colon);
    address.port = text.substr(colon + 1);
    const bool bracketed = address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']';
    if (bracketed) address.host = address.host.substr(1, address.host.size() - 2);
    // The colons of a bare IPv6 address would leave the port to guessing.
    good = (bracketed || address.host.find(':') == std::string::npos) && (listening || !address.host.empty()) &&
           IsHost(address.host) && IsPort(address.port, listening);
  }
  if (!good) {
    throw Error(ErrorKind::kInvalidArgument, "address: got '" + text + "', want host:port, [ipv6]:port or unix:path");
  }
  return address;
}

}  // namespace mexport
