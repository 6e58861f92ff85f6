package server

import (
	"fmt"
	"slices"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// withShare reads how much a new server is to have, and what is said of it, as a
// file says it.
func withShare(server *fsm.Server, in api.MemberAdd) error {
	switch {
	case in.Weight < 0 || in.Weight > fsm.MaxWeight:
		return refusedf(fmt.Sprintf("from 1 to %d; without one it is 1", fsm.MaxWeight), "the weight cannot be %d", in.Weight)
	case in.Capacity < 0 || in.Capacity > fsm.MaxCapacity:
		return refusedf(fmt.Sprintf("from 1 to %d; without one there is no limit", fsm.MaxCapacity), "the capacity cannot be %d", in.Capacity)
	case in.Zone != "" && !fsm.GoodZone(in.Zone):
		return refusedf(fmt.Sprintf("at most %d bytes that can be printed", fsm.MaxName), "the zone cannot be %q", in.Zone)
	}
	if in.Weight > 1 { // 1 is what nothing said means, and both are written alike
		server.Weight = in.Weight
	}
	server.Capacity, server.Zone = in.Capacity, in.Zone
	for _, name := range sortedKeys(in.Tags) {
		value := in.Tags[name]
		if !fsm.GoodTagName(name) {
			return refusedf(fmt.Sprintf("letters, digits and ._-/ are good, at most %d of them", fsm.MaxName), "a tag cannot be called %q", name)
		}
		if !fsm.GoodTagValue(value) {
			return refusedf(`a short text; "*" means any where a system selects`, "the value of tag %s cannot be %q", name, value)
		}
		server.Tags = append(server.Tags, fsm.Tag{Name: name, Value: value})
	}
	return nil
}

func sameShare(a, b fsm.Server) bool {
	return a.Share() == b.Share() && a.Capacity == b.Capacity && a.Zone == b.Zone && slices.Equal(a.Tags, b.Tags)
}

func tagsOf(server fsm.Server) map[string]string {
	if len(server.Tags) == 0 {
		return nil
	}
	out := make(map[string]string, len(server.Tags))
	for _, t := range server.Tags {
		out[t.Name] = t.Value
	}
	return out
}
