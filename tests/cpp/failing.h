/// The text of an error.
#pragma once

#include <c10/util/Exception.h>

#include <string>

namespace ramet {

/// What `run` throws, without the backtrace; empty if it throws nothing.
template <class Run>
std::string failing(const Run& run) {
  try {
    run();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

}  // namespace ramet
