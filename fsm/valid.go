package fsm

import (
	"fmt"
	"maps"
	"slices"
)

// invalid says why the State cannot work under a Spec, "" if it can. Whether a
// Spec makes sense to its user is the configuration's business; this is what
// Apply and Slice rely on.
func (s *Spec) invalid() string {
	seen := make(map[string]bool)
	for _, id := range slices.Sorted(maps.Keys(s.Systems)) { // the answer must not depend on the map's order
		sys := s.Systems[id]
		if why := sys.invalid(); why != "" {
			return fmt.Sprintf("system %q: %s", id, why)
		}
		for _, item := range sys.Items {
			for _, a := range item.Addrs {
				if a = addressOf(a); seen[a] {
					return fmt.Sprintf("address %s belongs to more than one item, or to one twice", a)
				}
				seen[a] = true
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Servers)) {
		server := s.Servers[id]
		if why := server.invalid(); why != "" {
			return fmt.Sprintf("server %q: %s", id, why)
		}
	}
	if _, ok := s.Servers[""]; ok {
		return "a server has no name"
	}
	return ""
}

func (s *System) invalid() string {
	switch {
	case s.Name == "":
		return "it has no name"
	case s.Split < Shard || s.Split > Nothing:
		return "its type is unknown"
	case s.Guarantee != AtLeastOne && s.Guarantee != AtMostOne:
		return "its guarantee is unknown"
	case s.Split == Replicate && s.Guarantee == AtMostOne:
		return "every member holds a replicated item: at-most-one cannot be promised"
	}
	if why := s.invalidAction(); why != "" {
		return why
	}
	if why := s.invalidPlacing(); why != "" {
		return why
	}
	for i, item := range s.Items {
		switch {
		case item.ID == "":
			return "an item has no id"
		case i > 0 && s.Items[i-1].ID == item.ID:
			return fmt.Sprintf("item %q is there twice", item.ID)
		case i > 0 && s.Items[i-1].ID > item.ID:
			return fmt.Sprintf("item %q is out of order", item.ID)
		}
		if why := s.invalidAddrs(item); why != "" {
			return why
		}
		if why := item.invalidPlacing(); why != "" {
			return why
		}
	}
	return ""
}

// addresses is whose each address is, whatever its bits.
func (s *Spec) addresses() map[string]Key {
	out := make(map[string]Key)
	for id, sys := range s.Systems {
		for _, item := range sys.Items {
			for _, a := range item.Addrs {
				out[addressOf(a)] = Key{System: id, Item: item.ID}
			}
		}
	}
	return out
}

// clash names an address of an item that another item's entry still names: its
// holder may still have it plumbed (L9 "Addresses").
func (c *change) clash() string {
	mine := c.next.spec.addresses()
	if len(mine) == 0 {
		return ""
	}
	why := ""
	c.slots.Root().Walk(func(_ []byte, slot *Slot) bool {
		for _, e := range slot.Outstanding {
			for _, a := range e.Addrs {
				if k, ok := mine[addressOf(a)]; ok && (k.System != slot.System || k.Item != slot.Item) {
					why = fmt.Sprintf("address %s of %s/%s: %s may still hold it for %s/%s", addressOf(a), k.System, k.Item, e.Member, slot.System, slot.Item)
					return true
				}
			}
		}
		return false
	})
	return why
}
