#include "tf_ops/push_request.h"

#include "core/embedding_table.h"
#include "core/entry_codec.h"
#include "tf_ops/predict_message.h"

namespace mexport {
namespace {

constexpr std::int64_t kNoVersion = -1;

std::string IdAlias(const PushTable& table) { return table.name + "_id"; }
std::string ValueAlias(const PushTable& table) { return table.name + "_value"; }
constexpr char kId[] = "id";
constexpr char kIdSplit[] = "id_split";
constexpr char kFlatValue[] = "flat_value";

std::int64_t Signed(std::size_t size) { return static_cast<std::int64_t>(size); }

}  // namespace

std::size_t PushBatch::ids() const {
  std::size_t n = 0;
  for (const PushTable& table : tables) n += table.ids.size();
  return n;
}

std::size_t PushBatch::Bytes() const {
  std::size_t bytes = PredictHeaderBytes(model, kNoVersion, signature);
  std::size_t n = 0;
  std::size_t id_bytes = 0;
  std::size_t floats = 0;
  std::vector<std::int64_t> splits{0};
  for (const PushTable& table : tables) {
    const std::size_t rows = table.ids.size();
    const std::size_t dim = table.rows->dim();
    const std::size_t size = Int64ValueBytes(table.ids.data(), rows);
    if (!together) {
      bytes += Int64sBytes(IdAlias(table), {Signed(rows)}, size);
      bytes += FloatsBytes(ValueAlias(table), {Signed(rows), Signed(dim)}, rows * dim);
    }
    n += rows;
    id_bytes += size;
    floats += rows * dim;
    splits.push_back(Signed(n));
  }
  if (!together) return bytes;
  return bytes + Int64sBytes(kId, {Signed(n)}, id_bytes) +
         Int64sBytes(kIdSplit, {Signed(splits.size())}, Int64ValueBytes(splits.data(), splits.size())) +
         FloatsBytes(kFlatValue, {Signed(floats)}, floats);
}

PushRange RangeOf(const PushTable& table, std::size_t part, std::size_t parts) {
  const std::size_t rows = table.ids.size() / parts;
  return {part * rows, part + 1 == parts ? table.ids.size() : (part + 1) * rows};
}

std::string MakePushRequest(const PushBatch& batch, std::size_t part, std::size_t parts) {
  PredictRequestWriter writer(batch.model, kNoVersion, batch.signature);
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> splits{0};
  std::vector<float> values;
  for (const PushTable& table : batch.tables) {
    const PushRange range = RangeOf(table, part, parts);
    const std::size_t dim = table.rows->dim();
    const std::size_t n = range.end - range.begin;
    if (!batch.together) {
      ids.clear();
      values.clear();
    }
    const std::size_t id_begin = ids.size();
    const std::size_t value_begin = values.size();
    ids.insert(ids.end(), table.ids.data() + range.begin, table.ids.data() + range.end);
    values.resize(value_begin + n * dim);
    table.rows->Lookup(AsIds({ids.data() + id_begin, n}), values.data() + value_begin);
    splits.push_back(Signed(ids.size()));
    if (batch.together) continue;
    writer.AddInt64s(IdAlias(table), {Signed(n)}, ids.data(), n);
    writer.AddFloats(ValueAlias(table), {Signed(n), Signed(dim)}, values.data(), values.size());
  }
  if (batch.together) {
    writer.AddInt64s(kId, {Signed(ids.size())}, ids.data(), ids.size());
    writer.AddInt64s(kIdSplit, {Signed(splits.size())}, splits.data(), splits.size());
    writer.AddFloats(kFlatValue, {Signed(values.size())}, values.data(), values.size());
  }
  return std::move(writer).Take();
}

}  // namespace mexport
