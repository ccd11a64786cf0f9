// TensorFlow's files and snappy for the ops.
#pragma once

#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/platform/env.h"
#include "tf_ops/platform.h"

namespace mexport {

class TensorFlowPlatform final : public Platform {
 public:
  // Both outlive the platform; `cancellation` may be null.
  TensorFlowPlatform(tensorflow::Env* env, tensorflow::CancellationManager* cancellation)
      : env_(env), cancellation_(cancellation) {}

  std::unique_ptr<InputFile> OpenForRead(const std::string& path) override;
  std::unique_ptr<OutputFile> Create(const std::string& path) override;
  std::vector<std::string> List(const std::string& folder) override;
  void CreateFolder(const std::string& path) override;
  void Rename(const std::string& from, const std::string& to) override;
  void Remove(const std::string& path) override;
  void SnappyCompress(const std::uint8_t* data, std::size_t size, std::string* out) override;
  bool SnappyUncompress(const std::uint8_t* block, std::size_t block_size, std::uint8_t* out,
                        std::size_t size) override;
  void CheckCancelled() override;

 private:
  tensorflow::Env* env_;
  tensorflow::CancellationManager* cancellation_;
};

}  // namespace mexport
