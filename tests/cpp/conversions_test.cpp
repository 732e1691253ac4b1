/// Device and dtype in a plan: who changes, what follows, what is refused.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <ramet/errors.h>
#include <ramet/materialize.h>

#include "hand_made_rules.h"

namespace ramet::core {
namespace {

using testing::HasSubstr;
using testing::StrEq;

constexpr auto unchanged = at::ScalarType::Undefined;

Plan to_dtype(const HandMade& made, at::ScalarType dtype, const Asked& asked = {}) {
  Rules rules = rules_for(made.graph, asked);
  rules.dtype = dtype;
  return plan(made.graph, catalog(made.graph), rules);
}

std::string error_of(const HandMade& made, at::ScalarType dtype, const Asked& asked = {}) {
  return message<PlanError>([&] { to_dtype(made, dtype, asked); });
}

TEST(ConversionsTest, RegisteredFloatingTensorsChangeAndWhatIsTiedToThem) {
  const at::Tensor base = at::ones(8);
  HandMade made;
  made.module("").tensor("w", base).tensor("n", at::ones(2, at::kLong)).tensor("part", base.slice(0, 1, 3));
  made.tensor("plain", at::ones(2));
  made.slots("", {{parameter, "w", "w"}, {buffer, "n", "n"}, {state, "part", "part"}, {state, "plain", "plain"}});
  const Plan result = to_dtype(made, at::kDouble);
  EXPECT_EQ(result.tensors[0].dtype, at::kDouble);
  EXPECT_EQ(result.tensors[1].dtype, unchanged);
  EXPECT_EQ(result.tensors[2].dtype, at::kDouble);
  EXPECT_EQ(result.tensors[3].dtype, unchanged);
  EXPECT_EQ(result.blocks[result.tensors[0].block].bytes, 64);
  EXPECT_EQ(result.tensors[2].offset, 8);
}

TEST(ConversionsTest, WhatHasTheDtypeAlreadyIsLeftAlone) {
  const Plan result = to_dtype(flat({{"w", at::ones(2)}}), at::kFloat, {{Mode::share, "True"}});
  EXPECT_EQ(result.tensors[0].dtype, unchanged);
}

TEST(ConversionsTest, AnOptimizersStateFollowsItsParameter) {
  HandMade made;
  made.module("").tensor("w", at::ones(2)).tensor("momentum", at::ones(2)).tensor("step", at::ones({}));
  made.slots("", {{parameter, "w", "w"}, {state, "momentum", "momentum"}, {state, "step", "step"}});
  made.graph.tensors[1].follows = made.graph.tensors[2].follows = 0;
  made.graph.tensors[1].follows_dtype = true;
  EXPECT_EQ(to_dtype(made, at::kHalf).tensors[1].dtype, at::kHalf);
  EXPECT_EQ(to_dtype(made, at::kHalf).tensors[2].dtype, unchanged);
  EXPECT_EQ(to_dtype(made, at::kFloat).tensors[1].dtype, unchanged);
  Rules rules;
  rules.device = at::kMeta;
  const auto tensors = materialize(made.graph, plan(made.graph, catalog(made.graph), rules), 1)[0];
  for (const at::Tensor& tensor : tensors) EXPECT_TRUE(tensor.is_meta());
}

TEST(ConversionsTest, StateOfAMetaParameterIsMetaToo) {
  HandMade made;
  made.module("").tensor("w", at::ones(2)).tensor("momentum", at::ones(2));
  made.slots("", {{parameter, "w", "w"}, {SlotKind::back, "momentum", "momentum"}});
  made.graph.tensors[1].follows = 0;
  const Plan result = plan(made.graph, catalog(made.graph), rules_for(made.graph, {{Mode::meta, "w"}}));
  EXPECT_EQ(result.tensors[1].mode, Mode::meta);
}

TEST(ConversionsTest, WhatStaysTheSourcesOwnCannotChange) {
  EXPECT_THAT(error_of(flat({{"w", at::ones(2)}}), at::kHalf, {{Mode::share, "w"}}),
              StrEq("clone: slot 'w' (cpu, Float): dtype=Half cannot apply to it: it would have to change, and it is "
                    "shared: move the source before, or copy it"));
  EXPECT_THAT(error_of(flat({{"w", at::ones(2)}}), at::kHalf, {{Mode::alias, "w"}}), HasSubstr("it is aliased"));
  HandMade kept = flat({{"w", at::ones(2)}});
  kept.graph.nodes[kept["w"]].fate = Fate::held;
  EXPECT_THAT(error_of(kept, at::kHalf), HasSubstr("it is kept"));
}

TEST(ConversionsTest, ComplexDoesNotBecomeReal) {
  const HandMade made = flat({{"w", at::ones(2, at::kComplexFloat)}});
  EXPECT_THAT(
      error_of(made, at::kFloat),
      StrEq("clone: slot 'w' (cpu, ComplexFloat): dtype=Float cannot apply to it: it is complex, and would lose "
            "its imaginary part: use a complex dtype"));
  EXPECT_EQ(to_dtype(made, at::kComplexDouble).tensors[0].dtype, at::kComplexDouble);
}

TEST(ConversionsTest, OneOfTwoDtypesOverTheSameBytesDoesNotChange) {
  const at::Tensor bits = at::ones(4, at::kInt);
  EXPECT_THAT(error_of(flat({{"bits", bits}, {"floats", bits.view(at::kFloat)}}), at::kHalf),
              StrEq("clone: slot 'floats' (cpu, Float): dtype=Half cannot apply to it: it has bytes in common with "
                    "'bits', which is of another dtype (Float and Int): cast neither, or untie them"));
  EXPECT_THAT(error_of(flat({{"floats", bits.view(at::kFloat)}, {"bits", bits}}), at::kHalf),
              HasSubstr("slot 'bits' (cpu, Int)"));
}

TEST(ConversionsTest, ValuesSurviveStridesOffsetsAndCompaction) {
  const at::Tensor big = at::arange(200000, at::kFloat);
  const std::vector<std::pair<std::string, at::Tensor>> named{
      {"a", big.slice(0, 7, 20)}, {"b", big.slice(0, 9, 40, 3)}, {"c", big.slice(0, 150000, 150012).view({3, 4}).t()}};
  for (const auto dtype : {at::kDouble, at::kBFloat16, at::kComplexDouble}) {
    const HandMade made = flat(named);
    const auto clones = materialize(made.graph, to_dtype(made, dtype), 1)[0];
    for (std::size_t i = 0; i < named.size(); ++i) {
      EXPECT_TRUE(at::equal(clones[i], named[i].second.to(dtype)));
      EXPECT_EQ(clones[i].strides(), named[i].second.strides());
    }
    EXPECT_TRUE(clones[0].is_alias_of(clones[1]));
    EXPECT_LT(clones[0].storage().nbytes(), 4000u);
  }
}

}  // namespace
}  // namespace ramet::core
