/// How reports are put: ties by name, tables, and lists of names. Private to the core.
#pragma once

#include <ramet/report.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

namespace ramet {

/// The ties of a graph by the paths of their slots.
std::vector<Tie> named(const std::vector<core::Tie>& ties, const core::Paths& paths);

/// Prints rows of cells, each column as wide as its widest cell; the last column is ragged.
inline void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i) out << row[i] << std::string(widths[i] - row[i].size() + 2, ' ');
    out << row.back() << '\n';
  }
}

/// The names one after the other, each between two `quote`s.
inline std::string joined(const std::vector<std::string>& names, const char* quote) {
  std::string result;
  for (const std::string& name : names) result += (result.empty() ? "" : ", ") + (quote + name + quote);
  return result;
}

}  // namespace ramet
