/// Members with parts, each shown as a Member of its own type: containers, and what may hold one thing or another.
#pragma once

#include <ramet/members.h>

#include <array>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace ramet::detail {

template <class C, class Traits, class A>
struct Member<std::basic_string<C, Traits, A>> {
  static constexpr bool holds = false;
  static constexpr bool known() { return true; }
  static void visit(Visitor&, std::string_view, std::basic_string<C, Traits, A>&) {}
};

template <class T>
struct Member<std::optional<T>> {
  static constexpr bool holds = Member<T>::holds;
  static constexpr bool known() { return Member<T>::known(); }
  static void visit(Visitor& visitor, std::string_view name, std::optional<T>& value) {
    if (value) return Member<T>::visit(visitor, name, *value);
    if constexpr (holds) visitor.empty(name);
  }
};

template <class... Ts>
struct Member<std::variant<Ts...>> {
  static constexpr bool holds = (Member<Ts>::holds || ...);
  static constexpr bool known() { return (Member<Ts>::known() && ...); }
  static void visit(Visitor& visitor, std::string_view name, std::variant<Ts...>& value) {
    if (value.valueless_by_exception()) return visitor.empty(name);
    std::visit(
        [&]<class T>(T& held) {
          Member<T>::visit(visitor, name, held);
          if constexpr (holds && !Member<T>::holds) visitor.empty(name);
        },
        value);
  }
};

/// Makes a group of what has parts: `Parts` tells how to show them.
template <class Parts, class T>
struct GroupMember {
  static void visit(Visitor& visitor, std::string_view name, T& value) {
    if constexpr (Parts::holds) {
      visitor.group(name, &value, [&value](Visitor& inner) { Parts::show(value, inner); });
    }
  }
};

/// Elements are named by their index.
template <class Container, class T>
struct SequenceMember : GroupMember<SequenceMember<Container, T>, Container> {
  static constexpr bool holds = Member<T>::holds;
  static constexpr bool known() { return Member<T>::known(); }
  static void show(Container& container, Visitor& visitor) {
    std::size_t index = 0;
    for (T& element : container) Member<T>::visit(visitor, std::to_string(index++), element);
  }
};

template <class T, class A>
struct Member<std::vector<T, A>> : SequenceMember<std::vector<T, A>, T> {};
template <class T, class A>
struct Member<std::deque<T, A>> : SequenceMember<std::deque<T, A>, T> {};
template <class T, class A>
struct Member<std::list<T, A>> : SequenceMember<std::list<T, A>, T> {};
template <class T, std::size_t n>
struct Member<std::array<T, n>> : SequenceMember<std::array<T, n>, T> {};
template <class T, std::size_t n>
struct Member<T[n]> : SequenceMember<T[n], T> {};

/// Members of different types, named by their index too.
template <class Tuple, class... Ts>
struct TupleMember : GroupMember<TupleMember<Tuple, Ts...>, Tuple> {
  static constexpr bool holds = (Member<Ts>::holds || ...);
  static constexpr bool known() { return (Member<Ts>::known() && ...); }
  static void show(Tuple& tuple, Visitor& visitor) {
    std::size_t index = 0;
    std::apply([&](Ts&... parts) { (Member<Ts>::visit(visitor, std::to_string(index++), parts), ...); }, tuple);
  }
};

template <class A, class B>
struct Member<std::pair<A, B>> : TupleMember<std::pair<A, B>, A, B> {};
template <class... Ts>
struct Member<std::tuple<Ts...>> : TupleMember<std::tuple<Ts...>, Ts...> {};

template <class Key>
constexpr bool known_key() {
  static_assert(Member<const Key>::known(),
                "ramet: the elements of a set and the keys of a map cannot be rebound in place: hold what refers to "
                "something in a vector, or as the values of a map");
  return true;
}

template <class Set>
struct SetMember {
  static constexpr bool holds = false;
  static constexpr bool known() { return known_key<typename Set::key_type>(); }
  static void visit(Visitor&, std::string_view, Set&) {}
};

template <class... Ts>
struct Member<std::set<Ts...>> : SetMember<std::set<Ts...>> {};
template <class... Ts>
struct Member<std::unordered_set<Ts...>> : SetMember<std::unordered_set<Ts...>> {};

/// A key that no path can have stands as a dot does in one.
template <class Key>
std::string key_text(const Key& key) {
  if constexpr (std::integral<Key>) {
    return std::to_string(key);
  } else if constexpr (std::convertible_to<const Key&, std::string_view>) {
    return std::string(std::string_view(key));
  } else {
    return ".";
  }
}

/// Values are named by their key.
template <class Map, class Key, class T>
struct MapMember : GroupMember<MapMember<Map, Key, T>, Map> {
  static constexpr bool holds = Member<T>::holds;
  static constexpr bool known() { return known_key<Key>() && Member<T>::known(); }
  static void show(Map& map, Visitor& visitor) {
    for (auto& [key, value] : map) Member<T>::visit(visitor, key_text(key), value);
  }
};

template <class K, class T, class... Rest>
struct Member<std::map<K, T, Rest...>> : MapMember<std::map<K, T, Rest...>, K, T> {};
template <class K, class T, class... Rest>
struct Member<std::unordered_map<K, T, Rest...>> : MapMember<std::unordered_map<K, T, Rest...>, K, T> {};

template <class K, class T>
struct Member<torch::OrderedDict<K, T>> : GroupMember<Member<torch::OrderedDict<K, T>>, torch::OrderedDict<K, T>> {
  static constexpr bool holds = Member<T>::holds;
  static constexpr bool known() { return known_key<K>() && Member<T>::known(); }
  static void show(torch::OrderedDict<K, T>& dict, Visitor& visitor) {
    for (auto& item : dict) Member<T>::visit(visitor, key_text(item.key()), item.value());
  }
};

}  // namespace ramet::detail
