package fsm

import (
	"errors"
	"fmt"
	"sync"
)

// partVersion is the first byte of a Part.
const partVersion = 1

// partBody is a Part as it is written: each system by itself, so that one that many
// are told of need be written only once.
type partBody struct {
	Member    MemberID
	At, Since Index
	Head      *PartHead     `codec:",omitempty"`
	Systems   [][]byte      `codec:",omitempty"`
	Dropped   []SystemID    `codec:",omitempty"`
	Members   []PartMember  `codec:",omitempty"`
	Gone      []MemberID    `codec:",omitempty"`
	Slots     []Slot        `codec:",omitempty"`
	Left      []Key         `codec:",omitempty"`
	Failures  []PartFailure `codec:",omitempty"`
	Mended    []PartClaim   `codec:",omitempty"`
}

// Encode writes a Part: its version and a msgpack body. Equal Parts give equal bytes.
func (p Part) Encode() []byte { return new(PartEncoder).Encode(p) }

// PartEncoder writes Parts for many members, and a system that all of them are told of
// once. Its zero value may be used, by any number at once.
type PartEncoder struct {
	mu      sync.Mutex
	written map[SystemID]writtenSystem // the newest of each
}

// writtenSystem is a system and its bytes.
type writtenSystem struct {
	sys System
	raw []byte
}

// Encode writes a Part as Part.Encode does.
func (e *PartEncoder) Encode(p Part) []byte {
	body := partBody{
		Member: p.Member, At: p.At, Since: p.Since, Head: p.Head, Dropped: p.Dropped, Members: p.Members, Gone: p.Gone,
		Slots: p.Slots, Left: p.Left, Failures: p.Failures, Mended: p.Mended,
	}
	for i := range p.Systems {
		body.Systems = append(body.Systems, e.system(p.Systems[i]))
	}
	return append([]byte{partVersion}, mustMarshal(body)...)
}

func (e *PartEncoder) system(sys System) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if have, ok := e.written[sys.Name]; ok && have.sys.Rehome == sys.Rehome && have.sys.like(sys) {
		return have.raw
	}
	raw := mustMarshal(sys)
	if e.written == nil {
		e.written = make(map[SystemID]writtenSystem)
	}
	e.written[sys.Name] = writtenSystem{sys, raw}
	return raw
}

// mustMarshal writes plain data, which cannot fail: as of a command.
func mustMarshal(v any) []byte {
	raw, err := marshal(v)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode a part: %v", err))
	}
	return raw
}

// DecodePart reads what Encode wrote, and keeps nothing of b.
func DecodePart(b []byte) (Part, error) {
	switch {
	case len(b) == 0:
		return Part{}, errors.New("decode a part: empty")
	case b[0] != partVersion:
		return Part{}, fmt.Errorf("decode a part: version %d is unknown, this program knows %d", b[0], partVersion)
	}
	var body partBody
	if err := unmarshal(b[1:], &body); err != nil {
		return Part{}, fmt.Errorf("decode a part: %w", err)
	}
	p := Part{
		Member: body.Member, At: body.At, Since: body.Since, Head: body.Head, Dropped: body.Dropped, Members: body.Members,
		Gone: body.Gone, Slots: body.Slots, Left: body.Left, Failures: body.Failures, Mended: body.Mended,
	}
	for _, raw := range body.Systems {
		var sys System
		if err := unmarshal(raw, &sys); err != nil {
			return Part{}, fmt.Errorf("decode a part: a system: %w", err)
		}
		p.Systems = append(p.Systems, sys)
	}
	return p, nil
}
