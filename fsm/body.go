package fsm

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// specBody is a Spec as it is written: lists sorted by name where Spec has maps.
// go-msgpack decodes all structs of a map into one value, so that what they
// refer to ends up shared (its "immutable" kinds include structs).
type specBody struct {
	Version         Index
	Timing          Timing
	Quorum          int
	RemoveOnFailure bool
	Servers         []Server
	Systems         []System
}

// setSpecBody is SetSpec as it is written.
type setSpecBody struct {
	Was     Index
	Cluster string
	Spec    specBody
	At      int64
}

func (s *Spec) body() specBody {
	b := specBody{Version: s.Version, Timing: s.Timing, Quorum: s.Quorum, RemoveOnFailure: s.RemoveOnFailure}
	for _, id := range slices.Sorted(maps.Keys(s.Servers)) {
		server := s.Servers[id]
		server.Name = id
		b.Servers = append(b.Servers, server)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Systems)) {
		sys := s.Systems[id]
		sys.Name = id
		b.Systems = append(b.Systems, sys)
	}
	return b
}

// spec is the Spec of a body that nobody else refers to, in the one order in
// which a State keeps it.
func (b *specBody) spec() (*Spec, error) {
	s := &Spec{
		Version: b.Version, Timing: b.Timing, Quorum: b.Quorum, RemoveOnFailure: b.RemoveOnFailure,
		Servers: make(map[MemberID]Server, len(b.Servers)), Systems: make(map[SystemID]System, len(b.Systems)),
	}
	for _, server := range b.Servers {
		if _, twice := s.Servers[server.Name]; twice {
			return nil, fmt.Errorf("server %q is there twice", server.Name)
		}
		slices.Sort(server.Systems)
		slices.SortStableFunc(server.Tags, compareTags)
		s.Servers[server.Name] = server
	}
	for _, sys := range b.Systems {
		if _, twice := s.Systems[sys.Name]; twice {
			return nil, fmt.Errorf("system %q is there twice", sys.Name)
		}
		slices.SortStableFunc(sys.Items, compareItems)
		slices.SortStableFunc(sys.Select, compareMatches)
		for i := range sys.Select {
			slices.Sort(sys.Select[i].Values)
		}
		slices.Sort(sys.With)
		slices.Sort(sys.Apart)
		s.Systems[sys.Name] = sys
	}
	return s, nil
}

func encodeSetSpec(c SetSpec) ([]byte, error) {
	return marshal(setSpecBody{Was: c.Was, Cluster: c.Cluster, Spec: c.Spec.body(), At: c.At})
}

func decodeSetSpec(b []byte) (Command, error) {
	var body setSpecBody
	if err := unmarshal(b, &body); err != nil {
		return nil, err
	}
	spec, err := body.Spec.spec()
	if err != nil {
		return nil, err
	}
	return SetSpec{Was: body.Was, Cluster: body.Cluster, Spec: *spec, At: body.At}, nil
}

// headerRecord begins a snapshot.
type headerRecord struct {
	Cluster string
	Spec    specBody
	Voters  Voters
	MaxTTL  time.Duration
	// Maintained are the systems under maintenance, sorted; "" is all.
	Maintained []SystemID `codec:",omitempty"`
	Keys       *Keys      `codec:",omitempty"`
	Brakes     []Brake    `codec:",omitempty"` // sorted
}

type memberRecord struct {
	ID     MemberID
	Member Member
}

type failureRecord struct {
	ID      MemberID
	Failure Failure
}

type endRecord struct{ Records uint64 }
