/// What the machine allows: the same bytes, from one piece of memory to another whose pages are in place, by all
/// threads.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ramet::bench {

using CopyBytes = void (*)(char* to, const char* from, std::size_t bytes);

struct WayToCopy {
  std::string name;
  CopyBytes copy;
};

/// memcpy, and the non-temporal stores of 16, 32 and 64 bytes that this processor has. Bytes are a multiple of 4096.
std::vector<WayToCopy> ways_to_copy();

/// By as many threads as torch has, each a part.
void copy_in_parallel(const WayToCopy& way, char* to, const char* from, std::size_t bytes);

}  // namespace ramet::bench
