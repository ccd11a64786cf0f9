#include "tf_ops/kernels/tensorflow_platform.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/core/platform/snappy.h"

namespace mexport {
namespace {

void Check(const absl::Status& status, const std::string& path) {
  if (status.ok()) return;
  const std::string message(status.message());
  const bool named = message.find(path) != std::string::npos;
  throw OpError(static_cast<int>(status.code()), named ? message : path + ": " + message);
}

class TensorFlowInput final : public InputFile {
 public:
  TensorFlowInput(std::string path, std::unique_ptr<tensorflow::RandomAccessFile> file, std::uint64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}

  std::size_t ReadAt(std::uint64_t offset, std::uint8_t* buffer, std::size_t size) override {
    absl::string_view got;
    const absl::Status status = file_->Read(offset, got, absl::MakeSpan(reinterpret_cast<char*>(buffer), size));
    // What there is before the end comes with a status of its own.
    if (!absl::IsOutOfRange(status)) Check(status, path_);
    if (got.data() != reinterpret_cast<char*>(buffer)) std::memmove(buffer, got.data(), got.size());
    return got.size();
  }
  std::uint64_t Size() const override { return size_; }

 private:
  std::string path_;
  std::unique_ptr<tensorflow::RandomAccessFile> file_;
  std::uint64_t size_;
};

class TensorFlowOutput final : public OutputFile {
 public:
  TensorFlowOutput(std::string path, std::unique_ptr<tensorflow::WritableFile> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  void Append(const void* data, std::size_t size) override {
    Check(file_->Append(absl::string_view(static_cast<const char*>(data), size)), path_);
  }
  void Sync() override { Check(file_->Sync(), path_); }
  void Close() override { Check(file_->Close(), path_); }

 private:
  std::string path_;
  std::unique_ptr<tensorflow::WritableFile> file_;
};

}  // namespace

std::unique_ptr<InputFile> TensorFlowPlatform::OpenForRead(const std::string& path) {
  std::uint64_t size = 0;
  Check(env_->GetFileSize(path, &size), path);
  std::unique_ptr<tensorflow::RandomAccessFile> file;
  Check(env_->NewRandomAccessFile(path, &file), path);
  return std::make_unique<TensorFlowInput>(path, std::move(file), size);
}

std::unique_ptr<OutputFile> TensorFlowPlatform::Create(const std::string& path) {
  std::unique_ptr<tensorflow::WritableFile> file;
  Check(env_->NewWritableFile(path, &file), path);
  return std::make_unique<TensorFlowOutput>(path, std::move(file));
}

std::vector<std::string> TensorFlowPlatform::List(const std::string& folder) {
  const std::string path = folder.empty() ? "." : folder;
  std::vector<std::string> names;
  const absl::Status status = env_->GetChildren(path, &names);
  if (absl::IsNotFound(status)) return {};
  Check(status, path);
  return names;
}

void TensorFlowPlatform::CreateFolder(const std::string& path) { Check(env_->RecursivelyCreateDir(path), path); }

void TensorFlowPlatform::Rename(const std::string& from, const std::string& to) {
  Check(env_->RenameFile(from, to), from);
}

void TensorFlowPlatform::Remove(const std::string& path) { Check(env_->DeleteFile(path), path); }

void TensorFlowPlatform::SnappyCompress(const std::uint8_t* data, std::size_t size, std::string* out) {
  if (!tensorflow::port::Snappy_Compress(reinterpret_cast<const char*>(data), size, out)) {
    throw OpError(OpError::kUnimplemented, "this tensorflow was built without snappy");
  }
}

bool TensorFlowPlatform::SnappyUncompress(const std::uint8_t* block, std::size_t block_size, std::uint8_t* out,
                                          std::size_t size) {
  const char* const from = reinterpret_cast<const char*>(block);
  std::size_t claimed = 0;
  return tensorflow::port::Snappy_GetUncompressedLength(from, block_size, &claimed) && claimed == size &&
         tensorflow::port::Snappy_Uncompress(from, block_size, reinterpret_cast<char*>(out));
}

void TensorFlowPlatform::CheckCancelled() {
  if (cancellation_ != nullptr && cancellation_->IsCancelled()) {
    throw OpError(OpError::kCancelled, "the step was cancelled");
  }
}

}  // namespace mexport
