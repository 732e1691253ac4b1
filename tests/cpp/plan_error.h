/// The text of a PlanError.
#pragma once

#include <gtest/gtest.h>
#include <ramet/errors.h>

#include <string>

namespace ramet {

/// What `call` throws, without the backtrace; a failure of the test if that is no PlanError.
template <class Call>
std::string plan_error(const Call& call) {
  try {
    call();
  } catch (const PlanError& error) {
    return error.what_without_backtrace();
  }
  ADD_FAILURE() << "no PlanError";
  return {};
}

}  // namespace ramet
