// The errors that core raises. bindings/errors.cc turns each into its Python twin in mexport_pb/errors.py.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace mexport {

enum class ErrorKind {
  kInvalidArgument,
  kRecordLengthCrc,
  kRecordDataCrc,
  kRecordTruncated,
  kRecordTooLarge,
  kRecordCompression,
  kBundle,
  kBundleCrc,
  kTable,
};

constexpr std::int64_t kNoOffset = -1;

// Damaged input or a caller's mistake. The message is a lower-case phrase without path and offset; both are added once,
// when the error reaches Python.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message, std::string path = {}, std::int64_t offset = kNoOffset)
      : std::runtime_error(message), kind_(kind), path_(std::move(path)), offset_(offset) {}

  ErrorKind kind() const { return kind_; }
  const std::string& path() const { return path_; }
  std::int64_t offset() const { return offset_; }

 private:
  ErrorKind kind_;
  std::string path_;
  std::int64_t offset_;
};

// A system call on `path` failed; becomes Python's OSError.
class IoError : public std::runtime_error {
 public:
  IoError(int error_number, std::string path)
      : std::runtime_error("I/O error"), error_number_(error_number), path_(std::move(path)) {}

  int error_number() const { return error_number_; }
  const std::string& path() const { return path_; }

 private:
  int error_number_;
  std::string path_;
};

}  // namespace mexport
