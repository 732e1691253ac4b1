/// Rules as a user would write them, for hand-made graphs; the model that most tests of rules use; what was thrown.
#pragma once

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <ramet/plan.h>

#include "hand_made.h"

namespace ramet::core {

// encoder.inner.{w, b}, encoder.w, decoder.w (with a None bias), buffer stat, plain state list.0.
inline HandMade model() {
  HandMade made;
  made.module("").module("encoder").module("inner").module("decoder").object("list");
  for (const char* name : {"ew", "iw", "ib", "dw", "stat", "plain"}) made.tensor(name, at::ones(4));
  made.slots("", {{child, "encoder", "encoder"},
                  {child, "decoder", "decoder"},
                  {buffer, "stat", "stat"},
                  {state, "list", "list"}});
  made.slots("encoder", {{parameter, "w", "ew"}, {child, "inner", "inner"}});
  made.slots("inner", {{parameter, "w", "iw"}, {parameter, "b", "ib"}});
  made.slots("decoder", {{parameter, "w", "dw"}, {parameter, "bias", ""}});
  made.slots("list", {{state, "0", "plain"}});
  return made;
}

using Asked = std::vector<std::pair<Mode, std::string>>;  // a path, a glob, "True", "Parameter" or "Buffer"

inline Rules rules_for(const Graph& graph, const Asked& asked) {
  const Paths paths(graph);
  Rules rules;
  for (const auto& [mode, text] : asked) {
    Selection where = text == "True"        ? select_all(text)
                      : text == "Parameter" ? select_kind(SlotKind::parameter, text)
                      : text == "Buffer"    ? select_kind(SlotKind::buffer, text)
                                            : select_path(graph, paths, text, "'" + text + "'");
    rules.modes.push_back({mode, std::move(where)});
  }
  return rules;
}

/// What `run` throws, without the stack.
template <class Error>
std::string message(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what_without_backtrace();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace ramet::core
