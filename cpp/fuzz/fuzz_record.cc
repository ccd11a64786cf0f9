// Record files, plain and in snappy blocks. Input: a byte of flags, a byte for the size of pieces, the file.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/byte_stream.h"
#include "core/record_format.h"
#include "core/record_reader.h"
#include "core/record_snappy.h"
#include "core/record_writer.h"
#include "fuzz/fuzzing.h"
#include "tests/literal_snappy.h"

namespace mexport {
namespace {

enum Flags : std::uint8_t { kSnappy = 1, kKnowsSize = 2, kRepair = 4, kSmallLimit = 8 };

class StringSink final : public ByteSink {
 public:
  explicit StringSink(std::string* out) : ByteSink(64), out_(out) {}
  void Flush() override { DrainBuffer(); }
  void Sync() override { DrainBuffer(); }
  void Close() override { DrainBuffer(); }

 private:
  void Drain(std::span<const std::uint8_t> bytes) override {
    out_->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string* out_;
};

struct Outcome {
  std::vector<std::string> records;
  std::uint64_t offset = 0;
  std::string error;

  bool operator==(const Outcome&) const = default;
};

class Case {
 public:
  Case(std::uint8_t flags, std::uint8_t piece, std::string file)
      : flags_(flags), piece_(piece), file_(std::move(file)) {}

  RecordReader Open() const {
    std::vector<std::size_t> pieces;
    if (piece_ > 0) pieces.assign(file_.size() / piece_ + 1, piece_);
    const std::span bytes(reinterpret_cast<const std::uint8_t*>(file_.data()), file_.size());
    std::unique_ptr<ByteSource> source = std::make_unique<MemorySource>(bytes, pieces, (flags_ & kKnowsSize) != 0);
    const std::uint64_t limit = (flags_ & kSmallLimit) != 0 ? 100 : UINT64_MAX;
    if ((flags_ & kSnappy) != 0) {
      source = std::make_unique<SnappySource>(std::move(source), std::make_unique<LiteralSnappy>(), limit);
    }
    return RecordReader(std::move(source), "p", limit);
  }

  Outcome OneByOne() const {
    Outcome outcome;
    RecordReader reader = Open();
    const auto read = [&] {
      while (const auto record = reader.Peek()) {
        outcome.records.emplace_back(reinterpret_cast<const char*>(record->data()), record->size());
        reader.Skip();
      }
    };
    outcome.error = ErrorOf(read);
    MEXPORT_FUZZ_CHECK(ErrorOf(read) == outcome.error);
    outcome.offset = reader.offset();
    return outcome;
  }

  Outcome InBatches() const {
    Outcome outcome;
    RecordReader reader = Open();
    outcome.error = ErrorOf([&] {
      for (;;) {
        const RecordColumns columns = reader.ReadBatch(3, 50);
        if (columns.offsets.size() == 1) return;
        for (std::size_t i = 0; i + 1 < columns.offsets.size(); ++i) {
          const auto size = static_cast<std::size_t>(columns.offsets[i + 1] - columns.offsets[i]);
          std::string& record = outcome.records.emplace_back(size, '\0');
          if (size > 0) std::memcpy(record.data(), columns.data.data() + columns.offsets[i], size);
        }
      }
    });
    outcome.offset = reader.offset();
    return outcome;
  }

 private:
  std::uint8_t flags_;
  std::uint8_t piece_;
  std::string file_;
};

std::string Write(const std::vector<std::string>& records, bool snappy) {
  std::string file;
  std::unique_ptr<ByteSink> sink = std::make_unique<StringSink>(&file);
  if (snappy) sink = std::make_unique<SnappySink>(std::move(sink), std::make_unique<LiteralSnappy>());
  RecordWriter writer(std::move(sink));
  for (const std::string& record : records) writer.Write(record.data(), record.size());
  writer.Close();
  return file;
}

void Run(const std::uint8_t* data, std::size_t size) {
  FuzzInput input(data, size);
  const std::uint8_t flags = input.TakeByte();
  const std::uint8_t piece = input.TakeByte();
  std::string file(input.rest());
  if ((flags & kRepair) != 0) {
    RepairRecords(&file);
    if ((flags & kSnappy) != 0) {
      // Right records, then right blocks around them.
      std::string blocks;
      SnappySink sink(std::make_unique<StringSink>(&blocks), std::make_unique<LiteralSnappy>());
      sink.Append(file.data(), file.size());
      sink.Close();
      file = std::move(blocks);
    }
  }
  const Case the_case(flags, piece, file);
  const Outcome outcome = the_case.OneByOne();
  MEXPORT_FUZZ_CHECK(the_case.InBatches() == outcome);
  const std::string again = Write(outcome.records, false);
  MEXPORT_FUZZ_CHECK(again.size() == outcome.offset);
  if ((flags & kSnappy) == 0) {
    // A plain file has one form: what was read is what is written again.
    MEXPORT_FUZZ_CHECK(file.compare(0, again.size(), again) == 0);
    MEXPORT_FUZZ_CHECK(!outcome.error.empty() || again.size() == file.size());
  } else {
    const Outcome round_trip = Case(flags, piece, Write(outcome.records, true)).OneByOne();
    MEXPORT_FUZZ_CHECK(round_trip.records == outcome.records && round_trip.error.empty());
  }
}

}  // namespace
}  // namespace mexport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mexport::Run(data, size);
  return 0;
}
