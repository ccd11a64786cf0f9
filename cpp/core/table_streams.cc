// Tables that are read record by record: compressed files, several tables in a file, pieces.
#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/table_reader.h"
#include "core/wire.h"

namespace mexport {
namespace {

// Between two looks whether somebody wants an end.
constexpr std::size_t kPollRows = 256;

// Runs `work` on the record at the reader's offset and says where what it throws comes from.
template <typename Work>
auto WithPlace(const std::string& path, std::uint64_t offset, Work work) {
  try {
    return work();
  } catch (const WireError& error) {
    throw Error(ErrorKind::kTable, error.what(), path, static_cast<std::int64_t>(offset));
  }
}

EntryDecoder MakeDecoder(std::span<const std::uint8_t> record, const std::string& path, std::uint64_t offset) {
  return WithPlace(path, offset, [&] { return EntryDecoder(LearnEntryLayout(record)); });
}

void AppendEntry(const EntryDecoder& decoder, std::span<const std::uint8_t> record, const std::string& path,
                 std::uint64_t offset, EntryBatch& batch) {
  batch.ReserveOneMore();
  WithPlace(path, offset, [&] { decoder.Decode(record, batch.target(), batch.rows()); });
  batch.SetRows(batch.rows() + 1);
}

[[noreturn]] void FailTooFew(const RecordReader& reader, const std::string& path, std::uint64_t got,
                             std::uint64_t want) {
  throw Error(ErrorKind::kTable,
              "entries: got " + std::to_string(got) + ", want " + std::to_string(want) + " more by the meta file", path,
              static_cast<std::int64_t>(reader.offset()));
}

[[noreturn]] void FailTooMany(const RecordReader& reader, const std::string& path, std::uint64_t want) {
  throw Error(ErrorKind::kTable, "entries: got more than the " + std::to_string(want) + " of the meta file", path,
              static_cast<std::int64_t>(reader.offset()));
}

// Damage behind entries that were read waits for the next call, which meets it again.
template <typename Fill>
void FillOrThrow(const EntryBatch& batch, Fill fill) {
  try {
    fill();
  } catch (const Error&) {
    if (batch.rows() == 0) throw;
  } catch (const IoError&) {
    if (batch.rows() == 0) throw;
  }
}

// What one file adds to one table.
struct Piece {
  std::optional<EntryDecoder> decoder;
  EntryBatch batch;
  std::uint64_t first_offset = 0;

  void Add(std::span<const std::uint8_t> record, const std::string& path, std::uint64_t offset) {
    if (!decoder) decoder.emplace(MakeDecoder(record, path, offset));
    if (batch.capacity() == 0) {
      batch = EntryBatch(decoder->layout());
      first_offset = offset;
    }
    AppendEntry(*decoder, record, path, offset, batch);
  }
};

// Joins the pieces of one table, which come in the order of the files; takes their memory.
EntryBatch Join(const std::vector<std::string>& paths, std::vector<Piece*> pieces) {
  std::size_t rows = 0;
  const Piece* first = nullptr;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = *pieces[i];
    rows += piece.batch.rows();
    if (piece.batch.rows() == 0) continue;
    if (first == nullptr) first = &piece;
    if (!(piece.batch.layout() == first->batch.layout())) {
      throw Error(ErrorKind::kTable, "the layout of the entries is not that of the files before", paths[i],
                  static_cast<std::int64_t>(piece.first_offset));
    }
  }
  if (first == nullptr) return {};
  if (rows == first->batch.rows()) return std::move(const_cast<Piece*>(first)->batch);
  EntryBatch all(first->batch.layout());
  all.Reserve(rows);
  for (Piece* piece : pieces) {
    all.Append(piece->batch);
    piece->batch = {};
  }
  return all;
}

}  // namespace

EntryBatch ReadTableStreams(const std::vector<std::string>& paths, const std::optional<EntryLayout>& want,
                            const OpenRecords& open, std::size_t threads) {
  std::vector<Piece> pieces(paths.size());
  RunTasks(paths.size(), threads, [&](std::size_t i) {
    if (want) pieces[i].decoder.emplace(*want);
    const std::shared_ptr<RecordReader> reader = open(paths[i]);
    while (const auto record = reader->Peek()) {
      pieces[i].Add(*record, paths[i], reader->offset());
      reader->Skip();
      if (pieces[i].batch.rows() % kPollRows == 0) PollInterrupt();
    }
  });
  std::vector<Piece*> all;
  for (Piece& piece : pieces) all.push_back(&piece);
  return Join(paths, std::move(all));
}

std::vector<EntryBatch> ReadMultiTableFiles(const std::vector<MultiTableFile>& files, std::size_t tables,
                                            const OpenRecords& open, std::size_t threads) {
  std::vector<std::vector<Piece>> pieces(files.size());
  RunTasks(files.size(), threads, [&](std::size_t i) {
    pieces[i].resize(tables);
    const std::string& path = files[i].path;
    const std::shared_ptr<RecordReader> reader = open(path);
    std::uint64_t want = 0;
    for (const TablePart& part : files[i].parts) {
      for (std::uint64_t entry = 0; entry < part.entries; ++entry) {
        const auto record = reader->Peek();
        if (!record) FailTooFew(*reader, path, want + entry, part.entries - entry);
        pieces[i][part.table].Add(*record, path, reader->offset());
        reader->Skip();
        if (entry % kPollRows == 0) PollInterrupt();
      }
      want += part.entries;
    }
    if (reader->Peek()) FailTooMany(*reader, path, want);
  });
  std::vector<std::string> paths;
  for (const MultiTableFile& file : files) paths.push_back(file.path);
  std::vector<EntryBatch> batches;
  for (std::size_t table = 0; table < tables; ++table) {
    std::vector<Piece*> all;
    for (std::vector<Piece>& of_file : pieces) all.push_back(&of_file[table]);
    batches.push_back(Join(paths, std::move(all)));
  }
  return batches;
}

TableIterator::TableIterator(std::vector<std::string> paths, std::optional<EntryLayout> want, OpenRecords open)
    : paths_(std::move(paths)), open_(std::move(open)) {
  if (want) decoder_.emplace(std::move(*want));
}

EntryBatch TableIterator::Next(std::size_t max_rows) {
  EntryBatch batch;
  if (decoder_) batch = EntryBatch(decoder_->layout());
  const auto fill = [&] {
    while (batch.rows() < max_rows) {
      if (!reader_) {
        if (next_path_ == paths_.size()) return;
        reader_ = open_(paths_[next_path_++]);
      }
      const auto record = reader_->Peek();
      if (!record) {
        reader_.reset();
        continue;
      }
      const std::string& path = paths_[next_path_ - 1];
      if (!decoder_) {
        decoder_.emplace(MakeDecoder(*record, path, reader_->offset()));
        batch = EntryBatch(decoder_->layout());
      }
      AppendEntry(*decoder_, *record, path, reader_->offset(), batch);
      reader_->Skip();
    }
  };
  FillOrThrow(batch, fill);
  return batch;
}

MultiTableIterator::MultiTableIterator(std::vector<MultiTableFile> files, std::size_t tables, OpenRecords open)
    : files_(std::move(files)), open_(std::move(open)), decoders_(tables) {}

MultiTableIterator::Chunk MultiTableIterator::Next(std::size_t max_rows) {
  Chunk chunk;
  FillOrThrow(chunk.batch, [&] { Fill(chunk, max_rows); });
  return chunk;
}

void MultiTableIterator::Fill(Chunk& chunk, std::size_t max_rows) {
  while (chunk.batch.rows() < max_rows) {
    if (!reader_) {
      if (next_file_ == files_.size()) return;
      reader_ = open_(files_[next_file_++].path);
      part_ = 0;
      taken_ = before_ = 0;
    }
    const auto& [path, parts] = files_[next_file_ - 1];
    if (part_ == parts.size()) {
      if (reader_->Peek()) FailTooMany(*reader_, path, before_);
      reader_.reset();
      continue;
    }
    const TablePart& part = parts[part_];
    if (taken_ == part.entries) {
      if (chunk.batch.rows() > 0) return;
      before_ += std::exchange(taken_, 0);
      ++part_;
      continue;
    }
    const auto record = reader_->Peek();
    if (!record) FailTooFew(*reader_, path, before_ + taken_, part.entries - taken_);
    std::optional<EntryDecoder>& decoder = decoders_[part.table];
    if (!decoder) decoder.emplace(MakeDecoder(*record, path, reader_->offset()));
    if (chunk.batch.capacity() == 0) chunk = {part.table, EntryBatch(decoder->layout())};
    AppendEntry(*decoder, *record, path, reader_->offset(), chunk.batch);
    reader_->Skip();
    ++taken_;
  }
}

void MultiTableIterator::SkipPart() {
  if (!reader_) return;
  const auto& [path, parts] = files_[next_file_ - 1];
  if (part_ == parts.size()) return;
  for (; taken_ < parts[part_].entries; ++taken_) {
    if (!reader_->Peek()) FailTooFew(*reader_, path, before_ + taken_, parts[part_].entries - taken_);
    reader_->Skip();
  }
}

}  // namespace mexport
