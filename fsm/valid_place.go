package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// What placement is given to work with is bounded, so that it can reckon without
// running over, and an edit cannot ask for more slots than anybody means to have.
const (
	MaxWeight     = 1_000_000
	MaxReplicas   = 64
	MaxPartitions = 1 << 20
)

func compareTags(a, b Tag) int { return strings.Compare(a.Name, b.Name) }

func compareMatches(a, b Match) int { return strings.Compare(a.Tag, b.Tag) }

// invalid says why placement cannot reckon with a server, "" if it can.
func (s *Server) invalid() string {
	switch {
	case s.Weight < 0 || s.Weight > MaxWeight:
		return fmt.Sprintf("its weight is not within 0 and %d", MaxWeight)
	case s.Capacity < 0:
		return "its capacity is negative"
	}
	for i, tag := range s.Tags {
		switch {
		case tag.Name == "":
			return "a tag has no name"
		case i > 0 && s.Tags[i-1].Name == tag.Name:
			return fmt.Sprintf("tag %q is there twice", tag.Name)
		case i > 0 && s.Tags[i-1].Name > tag.Name:
			return fmt.Sprintf("tag %q is out of order", tag.Name)
		}
	}
	return ""
}

// invalidPlacing says why placement cannot work with what a system asks of it.
func (s *System) invalidPlacing() string {
	switch {
	case s.Replicas < 0 || s.Replicas > MaxReplicas:
		return fmt.Sprintf("the number of its replicas is not within 0 and %d", MaxReplicas)
	case s.Ranks() > 1 && s.Split != Shard:
		return "only a system of type shard has a number of replicas"
	case s.Ranks() > 1 && s.Action == ActionIP:
		return "an address is on one member at a time: it has no replicas"
	case s.Failback < NeverFailback:
		return "its failback is negative"
	case s.Mature < 0:
		return "the time until a member is mature is negative"
	case s.RoundMoves < 0 || s.RoundEvery < 0:
		return "the number of moves in a round, or the time between two, is negative"
	case s.KillOnTimeout && s.Action != ActionClient:
		return "only a program that has claimed the system is killed when its time is over"
	}
	if why := s.invalidPartitions(); why != "" {
		return why
	}
	if why := s.invalidSelect(); why != "" {
		return why
	}
	for _, list := range [][]SystemID{s.With, s.Apart} {
		for i, id := range list {
			switch {
			case id == s.Name:
				return "it goes with itself, or apart from itself"
			case i > 0 && list[i-1] >= id:
				return fmt.Sprintf("system %q is named twice, or out of order", id)
			}
		}
	}
	return ""
}

// invalidPartitions: keys map to the items "0" to Count-1, so those are there and no
// others.
func (s *System) invalidPartitions() string {
	p := s.Partitions
	switch {
	case p == nil:
		return ""
	case p.Count < 1 || p.Count > MaxPartitions:
		return fmt.Sprintf("the number of its partitions is not within 1 and %d", MaxPartitions)
	case p.Hash < FNV64a || p.Hash > FNV32a:
		return "the hash of its keys is unknown"
	case len(s.Items) != p.Count:
		return fmt.Sprintf("it has %d items for %d partitions", len(s.Items), p.Count)
	}
	for i := range s.Items {
		n, err := strconv.Atoi(string(s.Items[i].ID))
		if err != nil || n < 0 || n >= p.Count || strconv.Itoa(n) != string(s.Items[i].ID) {
			return fmt.Sprintf("item %q is no partition of %d", s.Items[i].ID, p.Count)
		}
	}
	return ""
}

func (s *System) invalidSelect() string {
	for i, m := range s.Select {
		switch {
		case m.Tag == "":
			return "a tag that is selected by has no name"
		case i > 0 && s.Select[i-1].Tag >= m.Tag:
			return fmt.Sprintf("tag %q is selected by twice, or out of order", m.Tag)
		}
		for j := 1; j < len(m.Values); j++ {
			if m.Values[j-1] >= m.Values[j] {
				return fmt.Sprintf("value %q of tag %q is there twice, or out of order", m.Values[j], m.Tag)
			}
		}
	}
	return ""
}

// invalidPlacing says why placement cannot work with an item.
func (i *Item) invalidPlacing() string {
	if i.Weight < 0 || i.Weight > MaxWeight {
		return fmt.Sprintf("the weight of item %q is not within 0 and %d", i.ID, MaxWeight)
	}
	for n, m := range i.Prefer {
		if m == "" || slices.Contains(i.Prefer[:n], m) {
			return fmt.Sprintf("item %q prefers a member twice, or one without a name", i.ID)
		}
	}
	return ""
}

// unrelated says why systems cannot be placed with or apart from each other, "" if they
// can. A Part has not all of them: there it is not asked.
func (s *Spec) unrelated() string {
	for _, id := range slices.Sorted(maps.Keys(s.Systems)) {
		sys := s.Systems[id]
		for _, other := range slices.Concat(sys.With, sys.Apart) {
			o, known := s.Systems[other]
			switch {
			case !known:
				return fmt.Sprintf("system %q is to be placed by that of %q, which is not there", id, other)
			case !sys.divided() || !o.divided():
				return fmt.Sprintf("system %q is to be placed by that of %q: both must have items that are on one member each", id, other)
			}
		}
		for _, other := range sys.With {
			if _, both := slices.BinarySearch(sys.Apart, other); both {
				return fmt.Sprintf("system %q is to be with %q and apart from it", id, other)
			}
		}
	}
	if circle := s.circle(); circle != nil {
		return "with and apart form a circle: " + strings.Join(circle, ", ")
	}
	return ""
}

// circle is a way from a system by With and Apart back to itself, nil if there is none.
func (s *Spec) circle() []string {
	done := make(map[SystemID]bool)
	var path []SystemID
	var visit func(id SystemID) []string
	visit = func(id SystemID) []string {
		if at := slices.Index(path, id); at >= 0 {
			var out []string
			for _, on := range append(path[at:], id) {
				out = append(out, string(on))
			}
			return out
		}
		if done[id] {
			return nil
		}
		done[id] = true
		path = append(path, id)
		defer func() { path = path[:len(path)-1] }()
		for _, other := range s.relations(id) {
			if found := visit(other); found != nil {
				return found
			}
		}
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(s.Systems)) {
		if found := visit(id); found != nil {
			return found
		}
	}
	return nil
}

// relations are the systems that one is placed by, sorted.
func (s *Spec) relations(id SystemID) []SystemID {
	sys := s.Systems[id]
	out := slices.Concat(sys.With, sys.Apart)
	slices.SortFunc(out, cmp.Compare[SystemID])
	return out
}

// Selects reports whether a server's tags let it hold items of the system.
func (s *System) Selects(server Server) bool {
	if len(s.Select) == 0 {
		return true
	}
	for _, m := range s.Select {
		at, has := slices.BinarySearchFunc(server.Tags, Tag{Name: m.Tag}, compareTags)
		ok := has && (len(m.Values) == 0 || slices.Contains(m.Values, server.Tags[at].Value))
		if ok == s.SelectAny {
			return ok
		}
	}
	return !s.SelectAny
}
