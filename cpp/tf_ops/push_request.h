// The requests of a push: docs/formats/predict.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mexport {

class EmbeddingTable;

// A request that takes more is divided.
constexpr std::size_t kMaxPushBytes = std::size_t{4} << 20;

struct PushTable {
  std::string name;
  const EmbeddingTable* rows;
  std::vector<std::int64_t> ids;
};

// The entries of some tables, for one signature of a model.
struct PushBatch {
  std::string model;
  std::string signature;
  // Whether the tables are known by their places in one list, or by their names.
  bool together;
  std::vector<PushTable> tables;

  std::size_t ids() const;
  // How many bytes all of it takes in one request.
  std::size_t Bytes() const;
  // Into how many requests it goes.
  std::size_t parts() const { return (Bytes() + kMaxPushBytes - 1) / kMaxPushBytes; }
};

// The ids of a table in part `part` of `parts`: as many for each part, and the last one has what is left.
struct PushRange {
  std::size_t begin;
  std::size_t end;
};

PushRange RangeOf(const PushTable& table, std::size_t part, std::size_t parts);
// The request of a part, with the values of the moment.
std::string MakePushRequest(const PushBatch& batch, std::size_t part, std::size_t parts);

}  // namespace mexport
