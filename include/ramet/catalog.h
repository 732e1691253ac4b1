/// Finds which slots of a graph are tied.
///
/// Input: a Graph. Output: a Catalog. Looks at identity and at byte ranges only; never reads tensor data.
#pragma once

#include <c10/util/SmallVector.h>
#include <ramet/paths.h>

namespace ramet::core {

/// What a tie's slots have in common, from the strongest to the weakest.
enum class TieKind : uint8_t { module, tensor, storage };
std::string_view to_string(TieKind kind);

/// Slots that hold one module, one tensor, or tensors with bytes in common.
struct Tie {
  TieKind kind = TieKind::tensor;
  c10::SmallVector<SlotId, 4> slots;  ///< At least two, in walk order.
  int64_t nbytes = 0;                 ///< The bytes in common; for a module, of all tensors beneath it, each byte once.
};

struct Catalog {
  std::vector<Tie> ties;         ///< In walk order of each tie's first slot. A slot is in one tie at most.
  std::vector<uint32_t> groups;  ///< By TensorId: tensors that have elements in common (transitively) have one number.
};

/// Bytes [begin, end) of its storage from the first to the last that a tensor uses; empty if it has no elements.
struct Extent {
  int64_t begin = 0;
  int64_t end = 0;
};
Extent extent(const at::Tensor& tensor);

/// Whether a tensor is a plain view of bytes: it has a storage, on a device that holds data, and nothing behind it
/// that sizes, strides and an offset do not tell (sparse, opaque and wrapper tensors have).
bool has_bytes(const at::Tensor& tensor);

/// Whether two tensors have an element's bytes in common. Exact for all strides.
bool overlap(const at::Tensor& a, const at::Tensor& b);

/// Groups the graph's tensors by common bytes: Catalog::groups alone, for callers that list nothing.
std::vector<uint32_t> groups(const Graph& graph);

/// Returns every tie of `graph`.
///
/// None, undefined, zero-element tensors and different meta tensors never tie; slices of one storage tie only if they
/// have an element in common. A plain reference to what has a registered slot is not listed, nor are the slots
/// beneath a module's second name. Takes O(slots log slots). Safe to call from several threads at once.
Catalog catalog(const Graph& graph);

/// The same, where the paths of `graph` are at hand already.
Catalog catalog(const Graph& graph, const Paths& paths);

}  // namespace ramet::core
