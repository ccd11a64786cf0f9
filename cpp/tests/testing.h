// What the tests share: bytes, files that go away, a sink in memory, errors by kind and text.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/byte_stream.h"
#include "core/error.h"

namespace mexport {

inline std::span<const std::uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string AsString(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// "00 ff": bytes as the format pages show them.
inline std::string FromHex(std::string_view text) {
  std::string bytes;
  int digits = 0;
  unsigned value = 0;
  for (const char c : text) {
    if (c == ' ' || c == '\n') continue;
    value = value << 4 | static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    if (++digits % 2 == 0) bytes.push_back(static_cast<char>(value));
  }
  return bytes;
}

// Bytes without a pattern, the same in every run.
inline std::string Noise(std::size_t size, std::uint64_t seed = 1) {
  std::string bytes(size, '\0');
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mexport_test_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { std::filesystem::remove_all(path_); }

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteAll(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Keeps what it drains, piece by piece, and which calls came.
class MemorySink final : public ByteSink {
 public:
  struct Log {
    std::vector<std::string> pieces;
    std::string calls;  // f: Flush, s: Sync, c: Close

    std::string bytes() const {
      std::string all;
      for (const std::string& piece : pieces) all += piece;
      return all;
    }
  };

  explicit MemorySink(Log* log, std::size_t capacity = 1 << 16) : ByteSink(capacity), log_(log) {}

  void Flush() override { End('f'); }
  void Sync() override { End('s'); }
  void Close() override { End('c'); }

 private:
  void Drain(std::span<const std::uint8_t> bytes) override { log_->pieces.push_back(AsString(bytes)); }
  void End(char call) {
    DrainBuffer();
    log_->calls.push_back(call);
  }

  Log* log_;
};

inline std::unique_ptr<MemorySource> Source(std::string_view bytes, std::vector<std::size_t> pieces = {},
                                            bool knows_size = true) {
  return std::make_unique<MemorySource>(AsBytes(bytes), std::move(pieces), knows_size);
}

// The Error that `work` throws; a failure of the test, and an error of an impossible kind, if there is none.
template <typename Work>
Error Caught(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "got no mexport::Error";
  return Error(static_cast<ErrorKind>(-1), "none");
}

// How GoogleTest shows one.
inline void PrintTo(const Error& error, std::ostream* out) {
  *out << "kind " << static_cast<int>(error.kind()) << ", '" << error.what() << "', offset " << error.offset();
}

MATCHER_P2(Is, kind, text, "") { return arg.kind() == kind && std::string(arg.what()).find(text) != std::string::npos; }

MATCHER_P3(IsAt, kind, text, offset, "") {
  return arg.kind() == kind && std::string(arg.what()).find(text) != std::string::npos && arg.offset() == offset;
}

}  // namespace mexport
