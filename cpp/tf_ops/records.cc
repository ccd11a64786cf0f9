#include "tf_ops/records.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "core/record_codec.h"
#include "core/record_snappy.h"
#include "core/table_reader.h"
#include "core/wire.h"

namespace mexport {
namespace {

// As large as object stores like their requests.
constexpr std::size_t kSinkBytes = std::size_t{1} << 20;

class PlatformSource final : public ByteSource {
 public:
  explicit PlatformSource(std::unique_ptr<InputFile> file) : file_(std::move(file)), size_(file_->Size()) {}

  std::size_t ReadSome(std::uint8_t* buffer, std::size_t size) override {
    const std::size_t n = file_->ReadAt(position_, buffer, size);
    position_ += n;
    return n;
  }
  std::optional<std::uint64_t> Remaining() const override { return size_ > position_ ? size_ - position_ : 0; }
  bool Ready() const override { return true; }

 private:
  std::unique_ptr<InputFile> file_;
  std::uint64_t size_;
  std::uint64_t position_ = 0;
};

class PlatformSink final : public ByteSink {
 public:
  explicit PlatformSink(std::unique_ptr<OutputFile> file) : ByteSink(kSinkBytes), file_(std::move(file)) {}

  void Flush() override { DrainBuffer(); }
  void Sync() override {
    DrainBuffer();
    file_->Sync();
  }
  void Close() override {
    DrainBuffer();
    file_->Close();
  }

 private:
  void Drain(std::span<const std::uint8_t> bytes) override { file_->Append(bytes.data(), bytes.size()); }

  std::unique_ptr<OutputFile> file_;
};

class PlatformSnappy final : public BlockCodec {
 public:
  explicit PlatformSnappy(Platform& platform) : platform_(platform) {}

  std::size_t Compress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    platform_.SnappyCompress(in.data(), in.size(), &block_);
    std::memcpy(out.data(), block_.data(), block_.size());
    return block_.size();
  }
  void Decompress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    if (!platform_.SnappyUncompress(in.data(), in.size(), out.data(), out.size())) {
      throw Error(ErrorKind::kRecordCompression, "damaged snappy block");
    }
  }

 private:
  Platform& platform_;
  std::string block_;
};

int CodeOf(ErrorKind kind, int unparsable) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return OpError::kInvalidArgument;
    case ErrorKind::kTable:
      return unparsable;
    default:
      return OpError::kDataLoss;
  }
}

}  // namespace

std::shared_ptr<RecordReader> OpenRecordReader(Platform& platform, const std::string& path, bool snappy) {
  std::unique_ptr<ByteSource> source = std::make_unique<PlatformSource>(platform.OpenForRead(path));
  if (snappy) {
    source =
        std::make_unique<SnappySource>(std::move(source), std::make_unique<PlatformSnappy>(platform), kMaxEntryBytes);
  }
  return std::make_shared<RecordReader>(std::move(source), path, kMaxEntryBytes);
}

std::shared_ptr<RecordWriter> OpenRecordWriter(Platform& platform, const std::string& path, bool snappy) {
  std::unique_ptr<ByteSink> sink = std::make_unique<PlatformSink>(platform.Create(path));
  if (snappy) {
    sink = std::make_unique<SnappySink>(std::move(sink), std::make_unique<PlatformSnappy>(platform));
  }
  return std::make_shared<RecordWriter>(std::move(sink));
}

void WithOpErrors(const std::string& subject, int unparsable, const std::function<void()>& work) {
  const std::string prefix = subject.empty() ? "" : subject + ": ";
  try {
    work();
  } catch (const OpError& error) {
    throw OpError(error.code(), prefix + error.what());
  } catch (const Error& error) {
    std::string message = prefix;
    if (!error.path().empty()) message += error.path() + ": ";
    if (error.offset() != kNoOffset) message += "offset " + std::to_string(error.offset()) + ": ";
    throw OpError(CodeOf(error.kind(), unparsable), message + error.what());
  } catch (const std::bad_alloc&) {
    throw OpError(OpError::kResourceExhausted, prefix + "out of memory");
  }
}

}  // namespace mexport
