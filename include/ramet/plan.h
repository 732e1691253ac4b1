/// Decides what every tensor of a clone will be, before anything is allocated.
///
/// Input: a Graph, its Catalog and Rules. Output: a Plan. All errors about rules come from here; a plan that exists can
/// be carried out. Makes no tensor and reads no data.
#pragma once

#include <ramet/catalog.h>
#include <ramet/rules.h>

namespace ramet::core {

using RuleId = uint32_t;
using BlockId = uint32_t;

/// Bytes [begin, end) of a block's source, which stand from byte `at` on in the block.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t at = 0;
};

/// One storage of the clone: what was one storage stays one (per part, mode, device and dtype).
struct Block {
  c10::StorageImpl* source = nullptr;
  at::Device device = at::kCPU;                     ///< The clone's; at::kMeta: nothing is allocated, nothing copied.
  at::ScalarType from = at::kByte, to = at::kByte;  ///< Different where the items are converted.
  int64_t bytes = 0;                                ///< To allocate: of the clone's storage, unless that is lazy.
  uint32_t first = 0;                               ///< Its ranges are [first, first + count) of Plan::ranges.
  uint32_t count = 0;
  bool lazy = false;  ///< The clone's storage holds the source's memory, all of it, until either is written.
};

/// What becomes of one tensor.
struct Decision {
  Mode mode = Mode::copy;
  bool held = false;       ///< Beneath a kept module, or kept itself: the source's own tensor.
  bool trains = false;     ///< Requires grad, though the source's is no leaf: a parameter slot of the source holds it.
  RuleId rule = none;      ///< The rule that decided; `none` for the default.
  uint32_t freeze = none;  ///< The selection of Rules::freeze that names it.
  const char* copied = nullptr;  ///< Why it is copied although its rule says lazy.
  BlockId block = none;          ///< For what is made of bytes; `none`: shared, aliased, or cloned by its own means.
  int64_t offset = 0;            ///< Of its first element in the block, in bytes.
  bool moves = false;            ///< To Plan::device.
  at::ScalarType dtype = at::ScalarType::Undefined;  ///< What it becomes, if not what the source is.
};

struct Plan {
  std::vector<Decision> tensors;  ///< By TensorId.
  std::vector<Block> blocks;
  std::vector<Range> ranges;
  std::vector<NodeId> init;  ///< The modules to be initialised (see init.h), in order: children before their parents.
  std::optional<at::Device> device;
  bool grads = false;  ///< Copies get copies of the gradients.
};

/// Plans a clone of `graph` under `rules`.
///
/// For one slot the narrower rule wins: the higher rank; among types and among modules the one within the other. What
/// the highest rank decides for one slot of a tensor holds for all that are tied to it, views included. A storage of
/// which less than half is in use is compacted to the ranges that are. What untie made (a tensor of a part of its own)
/// is copied where its rule would share or alias it; what cannot be lazy is copied, and Decision::copied says why.
/// Throws PlanError for rules that disagree, with every path and both rules, and for modes, freeze, grads, device and
/// dtype where they cannot apply; UncloneableError for a refused node that no boundary holds. Pure, but for this: what
/// is differentiable must be planned, and cloned, where gradients are enabled. Safe to call at once from several
/// threads.
Plan plan(const Graph& graph, const Catalog& catalog, const Rules& rules);

/// The slots with a tensor that at least one of the rules' modes names, whichever rule wins.
std::vector<SlotId> named_slots(const Graph& graph, const Rules& rules);

}  // namespace ramet::core
