/// How two tensors relate. Private to the core.
#pragma once

#include <ramet/relation.h>

#include <string_view>
#include <vector>

namespace ramet::core {

/// "shared", "aliased", "equal" or "different", as ramet::RelationRow explains them. Throws for no kind of tensor, but
/// for what `equal_wrappers` throws.
std::string_view compare(const at::Tensor& a, const at::Tensor& b, const Equal& equal_wrappers);

/// The plain views of bytes that a tensor consists of: itself, the parts of a sparse one, the whole storage of another
/// that has one; none if there is nothing behind it that can be seen (meta, wrappers).
std::vector<at::Tensor> plain_parts(const at::Tensor& tensor);

}  // namespace ramet::core
