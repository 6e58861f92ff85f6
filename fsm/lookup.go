package fsm

import (
	"slices"
	"strings"
)

// slotted is the system of a key that has a slot: an item of a system whose
// items are divided, at a rank that it has.
func (s *Spec) slotted(k Key) (System, bool) {
	sys, ok := s.Systems[k.System]
	if !ok || !sys.divided() || k.Rank < 0 || k.Rank >= sys.Ranks() {
		return System{}, false
	}
	_, ok = sys.find(k.Item)
	return sys, ok
}

// item is what the Spec says of an item, whether it has a slot or not.
func (s *Spec) item(k Key) (Item, bool) {
	sys := s.Systems[k.System]
	return sys.find(k.Item)
}

// serves reports whether a server's list names the system. One that is to be taken
// out serves nothing any more.
func (s *Spec) serves(m MemberID, id SystemID) bool {
	server := s.Servers[m]
	_, ok := slices.BinarySearch(server.Systems, id)
	return ok && !server.Removing
}

func (s *System) find(id ItemID) (Item, bool) {
	i, ok := slices.BinarySearchFunc(s.Items, Item{ID: id}, compareItems)
	if !ok {
		return Item{}, false
	}
	return s.Items[i], true
}

// divided reports whether the system's items have slots.
func (s *System) divided() bool { return s.Split == Shard || s.Split == ChooseOne }

// gated reports whether a holder with or without the kernel's gate lets go by
// itself when its lease ends. A hook's effect nobody takes back but the hook, nor a
// program's but the program.
func (s *System) gated(gate bool) bool {
	return gate && s.Guarantee == AtMostOne && s.Action == ActionIP && (s.IP == nil || !s.IP.NoGate)
}

func (s *System) recipe() Recipe {
	return Recipe{Action: s.Action, Down: s.Down, Config: s.Config, StopTimeout: s.StopTimeout}
}

func (r Recipe) equal(o Recipe) bool {
	return r.Action == o.Action && r.Down == o.Down && string(r.Config) == string(o.Config) && r.StopTimeout == o.StopTimeout
}

func compareItems(a, b Item) int { return strings.Compare(string(a.ID), string(b.ID)) }
