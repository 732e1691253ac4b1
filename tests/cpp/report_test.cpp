/// Catalogs and plans as users read them: rows, reasons, bytes, look-ups by path, printed tables.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ramet/errors.h>
#include <ramet/report.h>

#include <sstream>

#include "hand_made.h"
#include "hand_made_rules.h"

namespace ramet {
namespace {

using core::buffer;
using core::child;
using core::HandMade;
using core::message;
using core::Mode;
using core::parameter;
using core::Rules;
using core::rules_for;
using core::state;
using testing::ElementsAre;
using testing::HasSubstr;

// embed.weight is head.weight, and cache refers to it; a window into it, and a module with two names.
HandMade tied() {
  HandMade made;
  const at::Tensor weight = at::ones({16, 16});
  made.module("").module("embed").module("head").module("block");
  made.tensor("w", weight).tensor("window", weight[3]).tensor("v", at::ones(2));
  made.slots("", {{child, "embed", "embed"},
                  {child, "head", "head"},
                  {child, "block", "block"},
                  {child, "again", "block"},
                  {state, "cache", "w"}});
  made.slots("embed", {{parameter, "weight", "w"}});
  made.slots("head", {{parameter, "weight", "w"}, {parameter, "bias", ""}, {buffer, "window", "window"}});
  made.slots("block", {{parameter, "v", "v"}});
  return made;
}

Catalog catalog_of(const HandMade& made) { return Catalog(made.graph); }

Plan plan_of(const HandMade& made, const Rules& rules = {}) {
  return Plan(made.graph, rules, core::plan(made.graph, core::catalog(made.graph), rules));
}

template <class Report>
std::string printed(const Report& report) {
  std::ostringstream out;
  out << report;
  return out.str();
}

std::vector<std::string> modes(const Plan& plan) {
  std::vector<std::string> result;
  for (const PlanRow& row : plan) result.push_back(row.path + " " + row.mode + " " + row.why);
  return result;
}

TEST(CatalogReportTest, TiesHaveKindNamesAndBytesInCommon) {
  const Catalog catalog = catalog_of(tied());
  ASSERT_EQ(catalog.size(), 2u);
  EXPECT_EQ(catalog[0].kind, "storage");
  EXPECT_THAT(catalog[0].names, ElementsAre("embed.weight", "head.weight", "head.window"));
  EXPECT_EQ(catalog[0].nbytes, 64);
  EXPECT_EQ(catalog[1].kind, "module");
  EXPECT_THAT(catalog[1].names, ElementsAre("block", "again"));
  EXPECT_EQ(catalog[1].nbytes, 8);
}

TEST(CatalogReportTest, ATieIsFoundByAnyOfItsPaths) {
  const Catalog catalog = catalog_of(tied());
  for (const char* path : {"embed.weight", "head.weight", "cache"}) EXPECT_EQ(catalog.find(path), &catalog[0]) << path;
  EXPECT_EQ(catalog.find("again"), &catalog[1]);
  for (const char* path : {"embed", "block.v", "again.v", "head.bias", ""}) {
    EXPECT_EQ(catalog.find(path), nullptr) << path;
  }
  EXPECT_EQ(&catalog["head.window"], &catalog[0]);
}

TEST(CatalogReportTest, AWrongPathIsAnErrorThatNamesTheNearest) {
  const Catalog catalog = catalog_of(tied());
  EXPECT_THAT(message<PlanError>([&] { catalog.find("head.wieght"); }),
              HasSubstr("there is no 'head.wieght'; the nearest names are 'head.weight', "));
  EXPECT_EQ(message<PlanError>([&] { catalog["embed"]; }), "catalog: 'embed' is not tied to anything");
}

TEST(CatalogReportTest, ACatalogOutlivesItsModel) {
  const at::Tensor weight = at::ones(4);
  const Catalog catalog = [&] {
    HandMade made = core::flat({{"a", weight}});
    made.slots("", {{parameter, "b", "a"}});
    return catalog_of(made);
  }();
  EXPECT_EQ(weight.use_count(), 1u);
  EXPECT_THAT(catalog["b"].names, ElementsAre("a", "b"));
}

TEST(CatalogReportTest, PrintsATable) {
  EXPECT_EQ(printed(catalog_of(tied())),
            "kind     bytes  names\n"
            "storage  64 B   embed.weight, head.weight, head.window\n"
            "module   8 B    block, again\n");
  EXPECT_EQ(printed(catalog_of(core::flat({{"a", at::ones(1)}}))), "no ties\n");
}

TEST(PlanReportTest, EveryTensorSlotHasARowWithTheRuleThatDecided) {
  const HandMade made = tied();
  EXPECT_THAT(modes(plan_of(made, rules_for(made.graph, {{Mode::share, "embed"}, {Mode::copy, "True"}}))),
              ElementsAre("embed.weight share share='embed'", "head.weight share share='embed'",
                          "head.window share share='embed'", "block.v copy copy=True", "cache share share='embed'"));
}

TEST(PlanReportTest, BytesAreCountedOnceAndNoneAreForWhatIsShared) {
  const HandMade made = tied();
  const Plan plan = plan_of(made);
  EXPECT_EQ(plan.nbytes(), 1024 + 8);
  EXPECT_EQ(plan.find("embed.weight")->nbytes, 1024);
  EXPECT_EQ(plan.find("head.weight")->nbytes, 0);
  EXPECT_EQ(plan.find("head.window")->nbytes, 0);
  EXPECT_EQ(plan.find("block.v")->nbytes, 8);
  EXPECT_EQ(plan.find("block.v")->why, "default");
  EXPECT_EQ(plan.find("again.v"), nullptr);
  EXPECT_EQ(plan_of(made, rules_for(made.graph, {{Mode::share, "True"}})).nbytes(), 0);
}

TEST(PlanReportTest, TensorsWithoutPlainBytesCountTheirOwn) {
  const HandMade made = core::flat({{"meta", at::empty({100}, at::kMeta)},
                                    {"quantized", at::quantize_per_tensor(at::rand({5}), 0.1, 3, at::kQUInt8)},
                                    {"empty", at::empty({0})}});
  const Plan plan = plan_of(made);
  EXPECT_EQ(plan.find("meta")->nbytes, 0);
  EXPECT_EQ(plan.find("quantized")->nbytes, 5);
  EXPECT_EQ(plan.nbytes(), 5);
}

TEST(PlanReportTest, WhatIsKeptSaysByWhichRule) {
  HandMade made = core::model();
  const at::Tensor base = at::ones(8);
  made.graph.tensors[made.tensor_id("dw")].value = base;
  made.graph.tensors[made.tensor_id("stat")].value = base[0];
  Rules rules;
  rules.keep.push_back({core::Rank::module, parameter, "'decoder'", {made["decoder"]}, {}});
  rules.keep.push_back({core::Rank::module, parameter, "'list'", {made["list"]}, {}});
  for (const char* name : {"decoder", "dw", "list", "plain"}) {
    made.graph.nodes[made[name]].fate = core::Fate::held;
  }
  EXPECT_THAT(modes(plan_of(made, rules)),
              ElementsAre("stat keep tied to what is kept", "encoder.w copy default", "encoder.inner.w copy default",
                          "encoder.inner.b copy default", "decoder keep keep='decoder'",
                          "decoder.w keep keep='decoder'", "list keep keep='list'", "list.0 keep keep='list'"));
}

TEST(PlanReportTest, PrintsATableThatEndsWithTheTotal) {
  const HandMade made = core::flat({{"weight", at::ones({16, 16})}, {"b", at::ones(2)}});
  EXPECT_EQ(printed(plan_of(made, rules_for(made.graph, {{Mode::share, "b"}}))),
            "path    mode   bytes    why\n"
            "weight  copy   1.0 KiB  default\n"
            "b       share  0 B      share='b'\n"
            "2 slots, 1.0 KiB to allocate\n");
}

}  // namespace
}  // namespace ramet
