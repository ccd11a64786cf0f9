#include "core/table_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/byte_buffer.h"
#include "core/error.h"
#include "core/file.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/record_format.h"
#include "core/table_frames.h"
#include "core/wire.h"

namespace mexport {
namespace {

using record_format::kHeaderBytes;
using record_format::kLengthBytes;
using record_format::LoadCrc;
using record_format::LoadLength;
using record_format::MaskedCrc;

// Stays in a core's second-level cache between the checksum and the decoding.
constexpr std::size_t kChunkBytes = std::size_t{256} << 10;
// Rows of a task: enough to make starting one cheap, few enough to keep all threads busy to the end.
constexpr std::size_t kTaskRows = std::size_t{1} << 16;

// Rows of one file that one thread decodes.
struct Task {
  std::size_t file;
  std::uint64_t offset;
  std::size_t rows;
  std::uint64_t frame;  // the size of each record with its framing, 0 where they were counted
  std::size_t first_row = 0;
};

// The records of a file turned out to have more than one size.
struct SizesDiffer {
  std::size_t file;
};

class OffsetSource final : public ByteSource {
 public:
  OffsetSource(const File& file, std::uint64_t offset) : file_(file), offset_(offset) {}

  std::size_t ReadSome(std::uint8_t* buffer, std::size_t size) override {
    const std::size_t n = file_.ReadAt(offset_, buffer, size);
    offset_ += n;
    return n;
  }
  bool Ready() const override { return true; }
  std::optional<std::uint64_t> Remaining() const override {
    const std::uint64_t size = file_.Size();
    return size > offset_ ? size - offset_ : 0;
  }

 private:
  const File& file_;
  std::uint64_t offset_;
};

// The record at `offset`, by the reader that knows every kind of damage.
void ReadCarefully(const File& file, std::uint64_t offset,
                   const std::function<void(std::span<const std::uint8_t>)>& use) {
  RecordReader reader(std::make_unique<OffsetSource>(file, offset), file.path(), kMaxEntryBytes);
  try {
    if (const auto record = reader.Peek()) return use(*record);
  } catch (const Error& error) {
    throw Error(error.kind(), error.what(), file.path(), static_cast<std::int64_t>(offset));
  } catch (const WireError& error) {
    throw Error(ErrorKind::kTable, error.what(), file.path(), static_cast<std::int64_t>(offset));
  }
  throw Error(ErrorKind::kTable, "the file changed while it was read", file.path(), static_cast<std::int64_t>(offset));
}

// A window that moves forwards over a file.
class Window {
 public:
  Window(const File& file, std::uint64_t offset) : file_(file), offset_(offset), buffer_(kChunkBytes) {}

  std::uint64_t offset() const { return offset_; }
  const std::uint8_t* data() const { return buffer_.data() + begin_; }
  // Whether the window holds `size` bytes from offset(); reads on if it must. REQUIRES: size is backed by the file
  bool Has(std::size_t size) {
    if (end_ - begin_ >= size) return true;
    std::memmove(buffer_.data(), data(), end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    if (size > buffer_.capacity()) buffer_.Resize(size);
    end_ += file_.ReadAt(offset_ + end_, buffer_.data() + end_, buffer_.capacity() - end_);
    return end_ >= size;
  }
  void Pass(std::uint64_t size) {
    offset_ += size;
    if (size <= end_ - begin_) {
      begin_ += static_cast<std::size_t>(size);
    } else {
      begin_ = end_ = 0;
    }
  }

 private:
  const File& file_;
  std::uint64_t offset_;
  ByteBuffer buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

class TableReader {
 public:
  TableReader(const std::vector<std::string>& paths, const std::optional<EntryLayout>& want, std::size_t threads)
      : threads_(threads), uniform_(paths.size(), true) {
    for (const std::string& path : paths) {
      files_.push_back(File::OpenForRead(path));
      sizes_.push_back(files_.back().Size());
    }
    if (want) decoder_.emplace(*want);
    for (std::size_t i = 0; i < files_.size() && !decoder_; ++i) {
      if (sizes_[i] == 0) continue;
      ReadCarefully(files_[i], 0,
                    [&](std::span<const std::uint8_t> record) { decoder_.emplace(LearnEntryLayout(record)); });
    }
  }

  EntryBatch Read() {
    if (!decoder_) return {};
    for (;;) {
      try {
        return ReadOnce();
      } catch (const SizesDiffer& found) {
        uniform_[found.file] = false;
      }
    }
  }

 private:
  EntryBatch ReadOnce() {
    std::vector<std::vector<Task>> planned(files_.size());
    RunTasks(files_.size(), threads_, [&](std::size_t i) { planned[i] = uniform_[i] ? Guess(i) : Count(i); });
    std::vector<Task> tasks;
    std::size_t rows = 0;
    for (std::vector<Task>& of_file : planned) {
      for (Task& task : of_file) {
        task.first_row = rows;
        rows += task.rows;
        tasks.push_back(task);
      }
    }
    EntryBatch batch(decoder_->layout());
    batch.Reserve(rows);
    RunTasks(tasks.size(), threads_, [&](std::size_t i) { Decode(tasks[i], batch.target()); });
    batch.SetRows(rows);
    return batch;
  }

  // Takes all records to be as large as the first, which is so where all timestamps have one size.
  std::vector<Task> Guess(std::size_t i) const {
    std::vector<Task> tasks;
    if (sizes_[i] == 0) return tasks;
    std::uint64_t frame = 0;
    ReadCarefully(files_[i], 0, [&](std::span<const std::uint8_t> record) { frame = record.size() + kFrameBytes; });
    if (frame < decoder_->MinEntryBytes() + kFrameBytes) RefuseShort(i, 0);
    if (sizes_[i] % frame != 0) throw SizesDiffer{i};
    const auto rows = static_cast<std::size_t>(sizes_[i] / frame);
    for (std::size_t row = 0; row < rows; row += kTaskRows) {
      tasks.push_back({i, row * frame, std::min(kTaskRows, rows - row), frame});
    }
    return tasks;
  }

  // Walks over the headers.
  std::vector<Task> Count(std::size_t i) const {
    std::vector<Task> tasks;
    Window window(files_[i], 0);
    HeaderCheck check;
    while (window.offset() < sizes_[i]) {
      const std::uint64_t left = sizes_[i] - window.offset();
      if (left < kFrameBytes || !window.Has(kHeaderBytes) || !check.Accept(window.data()) ||
          LoadLength(window.data()) > left - kFrameBytes) {
        RefuseChanged(i, window.offset());
      }
      const std::uint64_t length = LoadLength(window.data());
      if (length < decoder_->MinEntryBytes()) RefuseShort(i, window.offset());
      if (tasks.empty() || tasks.back().rows == kTaskRows) {
        PollInterrupt();
        tasks.push_back({i, window.offset(), 0, 0});
      }
      ++tasks.back().rows;
      window.Pass(length + kFrameBytes);
    }
    return tasks;
  }

  // A record too short for the layout fails before anybody makes room for as many entries as there are such records.
  [[noreturn]] void RefuseShort(std::size_t i, std::uint64_t offset) const {
    EntryBatch one(decoder_->layout());
    one.Reserve(1);
    ReadCarefully(files_[i], offset,
                  [&](std::span<const std::uint8_t> record) { decoder_->Decode(record, one.target(), 0); });
    RefuseChanged(i, offset);
  }

  // Tells what is wrong with the record at `offset`.
  [[noreturn]] void RefuseChanged(std::size_t i, std::uint64_t offset) const {
    ReadCarefully(files_[i], offset, [](std::span<const std::uint8_t>) {});
    throw Error(ErrorKind::kTable, "the file changed while it was read", files_[i].path(),
                static_cast<std::int64_t>(offset));
  }

  void Decode(const Task& task, const EntryTarget& target) const {
    const File& file = files_[task.file];
    const std::uint64_t end = sizes_[task.file];
    Window window(file, task.offset);
    HeaderCheck check;
    for (std::size_t row = task.first_row; row < task.first_row + task.rows; ++row) {
      const std::uint64_t offset = window.offset();
      const bool header = end - offset >= kFrameBytes && window.Has(kHeaderBytes) && check.Accept(window.data());
      // Damage is a reason to count as well: counting tells where it is.
      if (task.frame != 0 && (!header || LoadLength(window.data()) != task.frame - kFrameBytes)) {
        throw SizesDiffer{task.file};
      }
      if (!header || LoadLength(window.data()) > end - offset - kFrameBytes) RefuseChanged(task.file, offset);
      const auto size = static_cast<std::size_t>(LoadLength(window.data()));
      if (!window.Has(size + kFrameBytes)) RefuseChanged(task.file, offset);
      const std::uint8_t* const data = window.data() + kHeaderBytes;
      if (LoadCrc(data + size) != MaskedCrc(data, size)) RefuseChanged(task.file, offset);
      try {
        decoder_->Decode({data, size}, target, row);
      } catch (const WireError& error) {
        throw Error(ErrorKind::kTable, error.what(), file.path(), static_cast<std::int64_t>(offset));
      }
      window.Pass(size + kFrameBytes);
    }
  }

  std::size_t threads_;
  std::vector<File> files_;
  std::vector<std::uint64_t> sizes_;
  std::vector<bool> uniform_;
  std::optional<EntryDecoder> decoder_;
};

}  // namespace

EntryBatch ReadTableFiles(const std::vector<std::string>& paths, const std::optional<EntryLayout>& want,
                          std::size_t threads) {
  return TableReader(paths, want, threads).Read();
}

}  // namespace mexport
