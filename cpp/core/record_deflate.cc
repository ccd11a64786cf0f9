#include "core/record_deflate.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace mexport {
namespace {

constexpr std::size_t kSinkBytes = std::size_t{256} << 10;
// What the decoder leaves over it may have to copy, so it is not given much at once.
constexpr std::size_t kDecodeBytes = std::size_t{64} << 10;

const char* Name(DeflateFormat format) { return format == DeflateFormat::kZlib ? "zlib" : "gzip"; }

}  // namespace

DeflateSink::DeflateSink(std::unique_ptr<ByteSink> inner, std::unique_ptr<StreamEncoder> encoder)
    : ByteSink(kSinkBytes), inner_(std::move(inner)), encoder_(std::move(encoder)) {}

void DeflateSink::Flush() {
  DrainBuffer();
  encoder_->Flush(*inner_);
  inner_->Flush();
}

void DeflateSink::Sync() {
  DrainBuffer();
  encoder_->Flush(*inner_);
  inner_->Sync();
}

void DeflateSink::Close() {
  DrainBuffer();
  encoder_->Finish(*inner_);
  inner_->Close();
}

InflateSource::InflateSource(std::unique_ptr<ByteSource> inner, std::unique_ptr<StreamDecoder> decoder,
                             DeflateFormat format)
    : input_(std::move(inner)), decoder_(std::move(decoder)), format_(format) {}

std::size_t InflateSource::ReadSome(std::uint8_t* buffer, std::size_t size) {
  for (;;) {
    if (finished_) {
      if (!input_.Fill(1)) return 0;
      if (format_ == DeflateFormat::kZlib) {
        throw Error(ErrorKind::kRecordCompression, "bytes after the end of the zlib stream");
      }
      decoder_->Reset();
      finished_ = false;
    }
    if (!output_pending_ && !input_.Fill(1)) {
      throw Error(ErrorKind::kRecordTruncated, std::string("the file ends within its ") + Name(format_) + " stream");
    }
    const std::span<const std::uint8_t> in = input_.bytes();
    const StreamDecoder::Step step = decoder_->Decode(in.first(std::min(in.size(), kDecodeBytes)), {buffer, size});
    input_.Consume(step.consumed);
    finished_ = step.finished;
    output_pending_ = !finished_ && step.produced == size;
    if (step.produced > 0) return step.produced;
  }
}

}  // namespace mexport
