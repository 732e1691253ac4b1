/// Decides what tie, untie and assign change in a model: in which slots, and what each is to hold.
///
/// Input: a Graph and the user's paths. Output: Changes, which a front carries out. All errors come from here, before
/// anything is changed. Reads no tensor data.
#pragma once

#include <ramet/graph.h>

namespace ramet::core {

/// What only a front knows of its objects.
class Objects {
 public:
  virtual ~Objects() = default;

  /// Whether two modules are of exactly the same type.
  virtual bool same_type(NodeId a, NodeId b) const = 0;
  virtual std::string type_name(NodeId module) const = 0;

  /// Whether a tensor may be put in a parameter slot, though none holds it yet.
  virtual bool is_parameter(NodeId tensor) const = 0;

  /// Whether a plain object cannot be changed, only replaced where it is held: a tuple, a weak reference.
  virtual bool is_immutable(NodeId object) const = 0;
};

/// What a slot refers to as `old`, by itself or from within an immutable object, is to become `Changes::sources[now]`.
struct Change {
  SlotId slot = none;
  NodeId old = none;
  uint32_t now = 0;
};

struct Changes {
  /// By Change::now. Of tie: what takes the place of the old; of untie: of which a copy does; of assign, whose tensor
  /// of the same index does.
  std::vector<NodeId> sources;
  std::vector<Change> slots;
};

/// Puts what `paths[0]` names, a tensor or a module, in every slot that holds what one of the others names. Plain
/// references follow, and so do all other names of a tensor or module that is replaced.
Changes tie(const Graph& graph, const Objects& objects, const std::vector<std::string>& paths);

/// Gives each named slot a copy of what it holds. Plain references follow the first of the registered slots that their
/// module has for the same object.
///
/// Throws PlanError if one is not tied to anything, or is reached through a module that has two names; UncloneableError
/// if a module holds what cannot be copied.
Changes untie(const Graph& graph, const Objects& objects, const std::vector<std::string>& paths);

/// Unties all slots but the first of every tie.
Changes untie_all(const Graph& graph, const Objects& objects);

/// A tensor to be put into slots. One that autograd does not know is data: for a parameter slot it becomes a tensor of
/// its own over the same memory, with the requires_grad of what the slot held.
struct Given {
  at::Tensor value;
  bool is_parameter = false;  ///< To be put in a parameter slot as it is, whatever its requires_grad.
};

/// Puts `given[i]` in every slot that holds the tensor that `paths[i]` names; of one tensor on the meta device, the
/// device need not agree.
Changes assign(const Graph& graph, const Objects& objects, const std::vector<std::string>& paths,
               std::vector<Given>& given);

/// The same for all parameters, each once, in the order of `named_parameters`.
Changes assign(const Graph& graph, const Objects& objects, std::vector<Given>& given);

/// Makes a clone of the root independent: what is not beneath the root is held, and what is ties with nothing else.
void set_apart(Graph& graph);

}  // namespace ramet::core
