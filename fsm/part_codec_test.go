package fsm

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// samplePart has every field set.
func samplePart() Part {
	entry := Entry{
		Member: "b", Epoch: 3, Token: 5, Host: hostOf("b"), Addrs: []string{"198.51.100.1/24"}, Gated: true, AtMostOne: true, Void: true,
		Recipe: &Recipe{Action: ActionHooks, Down: "down", Config: []byte("{}"), StopTimeout: 1},
	}
	spec := addressSpec()
	return Part{
		Member: "a", At: 12, Since: 10,
		Head: &PartHead{
			Cluster: "c1", Version: 4, Timing: spec.Timing, Quorum: 2, RemoveOnFailure: true,
			Servers: []Server{{Name: "a", Addr: "192.0.2.1:2200", Role: RoleAgent, Systems: []SystemID{"one"}}},
			Voters:  Voters{Index: 2, IDs: []VoterID{"b/1"}}, MaxTTL: 3, Maintained: []SystemID{""},
			Heirs: []SystemID{"one"},
			Keys: &Keys{
				Round: 11, Phase: KeyBoth, At: 1700000000000, Old: "mark-1", New: "mark-2", Sealed: []byte("sealed"), Back: []byte("back"),
				Acked: []MemberID{"a"},
			},
		},
		Systems: []System{spec.Systems["ip"].told("ip")},
		Dropped: []SystemID{"gone"},
		Members: []PartMember{{"a", Member{Epoch: 7, Nonce: nonce("n"), Process: nonce("p"), Host: hostOf("a"), Up: true, Settled: true, FirstTTL: 1}}},
		Gone:    []MemberID{"c"},
		Slots: []Slot{{
			Key: ipX, Home: "a", Owner: "a", Token: 9, Previous: "b", Reason: "why", Gated: true, AtMostOne: true, Acquired: 7,
			Outstanding: []Entry{entry}, Seen: &Seen{By: "b", Token: 9, OK: true},
		}},
		Left:     []Key{oneX},
		Failures: []PartFailure{{"a", Failure{Key: oneY, Token: 3, Err: "exit status 1"}}},
		Mended:   []PartClaim{{"b", ipX}},
	}
}

func TestGoldenPart(t *testing.T) {
	p := samplePart()
	back, err := DecodePart(golden(t, "part-v1", p.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, p) {
		t.Fatalf("got\n%+v\nwant\n%+v", back, p)
	}
}

// An encoder for many writes what each would write by itself, also after a system has
// changed.
func TestPartEncoder(t *testing.T) {
	d := founded(t)
	d.give("a", oneX)
	var e PartEncoder
	check := func() {
		t.Helper()
		for _, m := range []MemberID{"a", "b", "a"} {
			p := d.s.Part(m, d.at)
			if !bytes.Equal(e.Encode(p), p.Encode()) {
				t.Fatalf("%s would be told something else: %+v", m, p)
			}
		}
	}
	check()
	d.must(d.respec(on("one", func(s *System) { s.Items = append(s.Items, Item{ID: "z"}) })))
	check()
	d.must(d.respec(on("one", func(s *System) { s.StopTimeout++ })))
	check()
}

func TestDecodePartRefuses(t *testing.T) {
	raw := samplePart().Encode()
	cases := map[string]struct {
		raw []byte
		why string
	}{
		"empty":           {nil, "empty"},
		"another version": {append([]byte{9}, raw[1:]...), "version 9 is unknown, this program knows 1"},
		"cut off":         {raw[:len(raw)-3], "decode a part"},
		"too long":        {append(slices.Clone(raw), 0), "1 bytes too many"},
	}
	for name, c := range cases {
		if _, err := DecodePart(c.raw); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: want %q, got %v", name, c.why, err)
		}
	}
}

// FuzzDecodePart: whatever comes in is refused, or is a Part that is written as it
// was understood; adding it to what was read fails or not, and nothing else happens.
func FuzzDecodePart(f *testing.F) {
	d := founded(f)
	d.give("a", oneX, ipX)
	d.give("b", oneX, ipX)
	f.Add(samplePart().Encode())
	f.Add(d.s.Part("a", 10).Encode())
	f.Add(d.s.Part("b", 10).Encode())
	a, err := New().WithPart(d.s.Part("a", 10))
	if err != nil {
		f.Fatal(err)
	}
	before := snapshot(f, a)
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := DecodePart(raw)
		if err != nil {
			return
		}
		again, err := DecodePart(p.Encode())
		if err != nil || !bytes.Equal(again.Encode(), p.Encode()) {
			t.Fatalf("%+v becomes %+v, %v", p, again, err)
		}
		for _, s := range []*State{New(), a} {
			if next, err := s.WithPart(p); err == nil {
				_ = next.Slice(p.Member, 1, "m", p.At)
			}
		}
		if !bytes.Equal(snapshot(t, a), before) {
			t.Fatal("what was read before has changed")
		}
	})
}
