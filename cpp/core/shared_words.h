// Plain memory that one thread writes while others read it. Every shared access is atomic and ordered, which costs
// nothing on x86: a load that acquires and a store that releases are plain moves there.
//
// That is what makes a sequence lock legal C++: a reader that sees any word of a write (acquire) also sees the lock
// word that was stored before it, so its second look at the lock word fails.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mexport {

template <typename Word>
Word LoadShared(Word* from) {
  return std::atomic_ref<Word>(*from).load(std::memory_order_acquire);
}

template <typename Word>
void StoreShared(Word* to, Word value) {
  std::atomic_ref<Word>(*to).store(value, std::memory_order_release);
}

namespace internal {

template <typename Word>
std::size_t CopyWordsFromShared(std::uint8_t* from, std::size_t bytes, std::uint8_t* to) {
  std::size_t done = 0;
  for (; done + sizeof(Word) <= bytes; done += sizeof(Word)) {
    const Word word = LoadShared(reinterpret_cast<Word*>(from + done));
    std::memcpy(to + done, &word, sizeof(Word));
  }
  return done;
}

template <typename Word>
void CopyWordsToShared(const std::uint8_t* from, std::size_t bytes, std::uint8_t* to) {
  for (std::size_t done = 0; done < bytes; done += sizeof(Word)) {
    Word word;
    std::memcpy(&word, from + done, sizeof(Word));
    StoreShared(reinterpret_cast<Word*>(to + done), word);
  }
}

}  // namespace internal

// Copies the first `bytes` of a shared row. A row is always accessed in words of one size, which `stride` tells.
// REQUIRES: `from` is aligned to 8 if 8 divides `stride`, else to 4; bytes <= stride
inline void CopyFromShared(std::uint8_t* from, std::size_t stride, std::size_t bytes, std::uint8_t* to) {
  std::size_t done;
  if (stride % 8 == 0) {
    done = internal::CopyWordsFromShared<std::uint64_t>(from, bytes, to);
    if (done < bytes) {
      const std::uint64_t word = LoadShared(reinterpret_cast<std::uint64_t*>(from + done));
      std::memcpy(to + done, &word, bytes - done);
    }
  } else {
    done = internal::CopyWordsFromShared<std::uint32_t>(from, bytes, to);
    if (done < bytes) {
      const std::uint32_t word = LoadShared(reinterpret_cast<std::uint32_t*>(from + done));
      std::memcpy(to + done, &word, bytes - done);
    }
  }
}

// Stores a whole row. REQUIRES: `from` holds `stride` bytes; alignment as above.
inline void CopyToShared(const std::uint8_t* from, std::size_t stride, std::uint8_t* to) {
  if (stride % 8 == 0) {
    internal::CopyWordsToShared<std::uint64_t>(from, stride, to);
  } else {
    internal::CopyWordsToShared<std::uint32_t>(from, stride, to);
  }
}

}  // namespace mexport
