package fsm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files that do not exist yet; those that do are never changed")

// sampleCommands has one of each type, every field set.
func sampleCommands() []Command {
	claim := Claim{Key: oneX, Member: "a", Epoch: 7, Token: 9}
	move := Move{Key: Key{System: "one", Item: "x", Rank: 2}, Was: 3, Home: "b", To: "a", Reason: "balance"}
	bye := Goodbye{Member: "a", Host: hostOf("a"), Process: nonce("process"), Epoch: 7, Kept: []Key{oneX, oneY}}
	spec := testSpec()
	spec.Version, spec.Quorum, spec.RemoveOnFailure = 4, 2, true
	spec.Timing.RaftHeartbeat, spec.Timing.RaftElection, spec.Timing.RaftLease = time.Second, 2*time.Second, time.Second/2
	on("one", func(s *System) { s.StartTimeout, s.Delay, s.Rehome = time.Minute, time.Millisecond, true })(&spec)
	// As it was written before there were addresses: these bytes stay.
	on("ip", func(s *System) {
		s.IP, s.Items = nil, []Item{{ID: "x", Addrs: []string{"198.51.100.1"}}, {ID: "y", Addrs: []string{"198.51.100.2"}}}
	})(&spec)
	spec.Servers["a"] = Server{Addr: "192.0.2.1:2200", Role: RoleArbiter, Priority: 3, HasPriority: true, Systems: []SystemID{"one"}}
	return []Command{
		Batch{Commands: [][]byte{Encode(Probe{}), Encode(Settle{Member: "a", Epoch: 1})}},
		Register{
			Member: "a", Nonce: nonce("nonce"), Process: nonce("process"), Replaces: 5, Host: hostOf("a"), Gate: true,
			Wire: [2]uint16{1, 3}, At: 1700000000000,
		},
		Settle{Member: "a", Epoch: 7},
		Down{
			Member: "a", Epoch: 7, Voters: 6, Evidence: []Vote{{Voter: "b/2", Silent: 330}}, Goodbye: &bye,
			Moves: []Move{move}, At: 1700000000000,
		},
		Assign{Moves: []Move{move}, At: 1700000000000},
		Report{
			Member: "a", Epoch: 7, Acquired: []Claim{claim}, Released: []Claim{claim}, Swept: []Claim{claim},
			Failed: []Failure{{Key: oneX, Token: 9, Err: "exit status 1"}}, At: 1700000000000,
		},
		Leave{Member: "a", Epoch: 7, At: 1700000000000},
		Force{Claims: []Claim{claim}},
		Fence{Member: "a", Host: hostOf("a"), UpTo: 7},
		SetSpec{Was: 4, Cluster: "c1", Spec: spec, At: 1700000000000},
		SetSpec{Was: 4, Spec: addressSpec(), At: 1700000000000},
		Report{
			Member: "b", Epoch: 8, Mended: []Key{oneX}, At: 1700000000000,
			Seen: []Sighting{{Key: ipX, Token: 9, OK: true}, {Key: ipX, Token: 9, Answer: "0e:00:00:00:00:01 answers"}},
		},
		Assign{Moves: []Move{{Key: oneX, Was: 3, To: "a", Reason: "balance: 12 against 9", Cause: CauseBalance}}, At: 1700000000000},
		SetSpec{Was: 4, Spec: placedSpec(), At: 1700000000000},
		Report{Member: "b", Epoch: 8, Programs: &Programs{Systems: []SystemID{"one"}}, At: 1700000000000},
		RemoveMember{Member: "a"},
		bye,
		Cleanup{System: "one", Item: "x", At: 9},
		Maintain{System: "one", On: true, At: 10},
		Rotate{Was: 3, Old: "00ff", New: "11ee", Sealed: []byte("new"), Back: []byte("old"), LeftOut: []MemberID{"c"}, At: 11},
		KeyAck{Member: "a", Round: 12, Phase: KeyNew},
		KeyGo{Round: 12, Phase: KeyNew, LeftOut: []MemberID{"c"}, At: 13},
		Probe{},
	}
}

// addressSpec has every field that a system of addresses has.
func addressSpec() Spec {
	spec := testSpec()
	on("ip", func(s *System) {
		s.TakeoverAfter, s.Items[0].Interface = NeverTakeOver, "eth2"
		s.IP = &IP{
			Interface: "eth1", NoGate: true, NoProbe: true,
			Track:  []Track{{Interface: "eth0"}, {Route: "0.0.0.0/0"}},
			Notify: []Notify{{ARPCache: true}, {Hosts: "192.0.2.0/24", Interface: "eth0"}},
		}
	})(&spec)
	return spec
}

// placedSpec has every field that placement goes by.
func placedSpec() Spec {
	spec := testSpec()
	a := spec.Servers["a"]
	a.Weight, a.Capacity, a.Zone, a.Tags = 2, 100, "north", []Tag{{"disk", "ssd"}, {"gpu", ""}}
	spec.Servers["a"] = a
	on("least", func(s *System) {
		claimable(s)
		partitioned(3)(s)
		s.Replicas, s.KillOnTimeout, s.NoBrake = 2, true, true
	})(&spec)
	on("one", func(s *System) {
		s.Items[0].Weight, s.Items[0].Prefer = 3, []MemberID{"b", "a"}
		s.Select, s.SelectAny = []Match{{Tag: "disk", Values: []string{"nvme", "ssd"}}, {Tag: "gpu"}}, true
		s.With, s.Apart = []SystemID{"least"}, []SystemID{"ip"}
		s.Failback, s.Mature, s.RoundMoves, s.RoundEvery = NeverFailback, time.Minute, 10, time.Second
	})(&spec)
	return spec
}

// golden compares with a file of hexadecimal bytes, which from the first release
// on must never change: every version reads what an older one wrote.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	text := hex.EncodeToString(got)
	var lines []string
	for len(text) > 96 {
		lines, text = append(lines, text[:96]), text[96:]
	}
	want := strings.Join(append(lines, text), "\n") + "\n"
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		have = []byte(want)
	} else if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what this program writes:\n%s", path, want)
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(string(have), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestGoldenCommands(t *testing.T) {
	seen := make(map[byte]int)
	for _, c := range sampleCommands() {
		seen[c.Type()]++
		name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", c), "fsm."))
		if n := seen[c.Type()]; n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
		raw := golden(t, name, Encode(c))
		got, err := Decode(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s, ok := c.(SetSpec); ok {
			c = named(s)
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c)
		}
	}
	for kind := range decoders {
		if seen[kind] == 0 {
			t.Errorf("command 0x%02x has no golden file", kind)
		}
	}
}

// named is the command as Decode gives it back: with the names in the values.
func named(c SetSpec) SetSpec {
	for id, s := range c.Spec.Servers {
		s.Name = id
		c.Spec.Servers[id] = s
	}
	for id, s := range c.Spec.Systems {
		s.Name = id
		c.Spec.Systems[id] = s
	}
	return c
}

// Zero values, empty and nil come back as they went.
func TestRoundTripOfZeroes(t *testing.T) {
	for _, c := range sampleCommands() {
		zero := reflect.New(reflect.TypeOf(c)).Elem().Interface().(Command)
		raw := Encode(zero)
		got, err := Decode(raw)
		if err != nil {
			t.Fatalf("%T: %v", c, err)
		}
		if !bytes.Equal(Encode(got), raw) {
			t.Errorf("%T: %x, then %x", c, raw, Encode(got))
		}
	}
	if a, b := Encode(&Settle{Member: "a"}), Encode(Settle{Member: "a"}); !bytes.Equal(a, b) {
		t.Error("a pointer is written otherwise")
	}
	s := SetSpec{Cluster: "c", Spec: testSpec()}
	if !bytes.Equal(Encode(&s), Encode(s)) {
		t.Error("a pointer is written otherwise")
	}
}

// Equal commands give equal bytes, whatever order a map has this time.
func TestEncodeIsDeterministic(t *testing.T) {
	want := Encode(SetSpec{Spec: testSpec()})
	for range 50 {
		if got := Encode(SetSpec{Spec: testSpec()}); !bytes.Equal(got, want) {
			t.Fatal("the bytes differ")
		}
	}
}

func TestDecodeKeepsNothing(t *testing.T) {
	for _, c := range sampleCommands() {
		raw := Encode(c)
		got, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprintf("%+v", got)
		for i := range raw {
			raw[i] ^= 0xff
		}
		if fmt.Sprintf("%+v", got) != before {
			t.Errorf("%T refers to the bytes it was read from", c)
		}
	}
}

// What one item has, another has not: go-msgpack decodes all structs of a map
// into one value, which is why a Spec is written as lists.
func TestDecodeSharesNothing(t *testing.T) {
	spec := Spec{Systems: map[SystemID]System{
		"a": {Config: []byte("a"), Items: []Item{{ID: "x", Addrs: []string{"1"}}}, Rehome: true},
		"b": {Items: []Item{{ID: "x"}}},
		"c": {Config: []byte("c"), Items: []Item{{ID: "y", Addrs: []string{"2", "3"}}}},
	}}
	c, err := Decode(Encode(SetSpec{Spec: spec}))
	if err != nil {
		t.Fatal(err)
	}
	want := named(SetSpec{Spec: spec}).Spec.Systems
	if got := c.(SetSpec).Spec.Systems; !reflect.DeepEqual(got, want) {
		t.Fatalf("\n got %+v\nwant %+v", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	settle := Encode(Settle{Member: "a", Epoch: 7})
	for _, tc := range []struct {
		name    string
		raw     []byte
		unknown bool
		want    string
	}{
		{"nothing", nil, false, "empty"},
		{"type 0", []byte{0, 0x80}, true, "0x00"},
		{"an unknown type", []byte{0x7f, 0x80}, true, "0x7f"},
		{"no body", settle[:1], false, "0x03"},
		{"cut off", settle[:len(settle)-1], false, "0x03"},
		{"something behind it", append(bytes.Clone(settle), 0), false, "1 bytes too many"},
		{"a field of a newer version", bytes.Replace(settle, []byte("Epoch"), []byte("Epoxy"), 1), false, "Epoxy"},
		{"a list for a number", append(bytes.Clone(settle[:len(settle)-1-len("\xa6Member\xa1a")]), 0x90), false, "0x03"},
		{"a server twice", encodeBody(t, TypeSetSpec, setSpecBody{Spec: specBody{Servers: []Server{{Name: "a"}, {Name: "a"}}}}), false, `server "a" is there twice`},
		{"a system twice", encodeBody(t, TypeSetSpec, setSpecBody{Spec: specBody{Systems: []System{{Name: "a"}, {Name: "a"}}}}), false, `system "a" is there twice`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Decode(tc.raw)
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrUnknownCommand) != tc.unknown {
				t.Fatalf("%+v, %v", c, err)
			}
			s := New()
			next, res, err := s.Apply(1, tc.raw)
			if err == nil || errors.Is(err, ErrUnknownCommand) != tc.unknown || next != s || res.Applied {
				t.Fatalf("Apply: %+v, %v", res, err)
			}
			next, res, err = s.Apply(1, Encode(Batch{Commands: [][]byte{Encode(Probe{}), tc.raw}}))
			if err == nil || errors.Is(err, ErrUnknownCommand) != tc.unknown || next != s || res.Applied {
				t.Fatalf("Apply in a batch: %+v, %v", res, err)
			}
		})
	}
}

// encodeBody writes a body that Encode would not.
func encodeBody(t *testing.T, kind byte, body any) []byte {
	t.Helper()
	raw, err := marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{kind}, raw...)
}

func TestUnknownCommandIsSkipped(t *testing.T) {
	raw := []byte{0xfe, 1, 2, 3}
	c, err := Decode(raw)
	if u, ok := c.(Unknown); err != nil || !ok || u.Kind != 0xfe || !bytes.Equal(Encode(u), raw) {
		t.Fatalf("%+v, %v", c, err)
	}
	s := New()
	next, res, err := s.Apply(1, raw)
	if next != s || res.Applied || err != nil || !strings.Contains(res.Why, "0xfe") {
		t.Fatalf("%+v, %v", res, err)
	}
	d := founded(t)
	res = d.must(Batch{Commands: [][]byte{raw, Encode(Leave{Member: "a", Epoch: d.epoch("a")})}})
	if res.Each[0].Applied || !res.Each[1].Applied || !d.memberOf("a").Leaving {
		t.Fatalf("%+v", res)
	}
}

func TestBatch(t *testing.T) {
	d := founded(t)
	res := d.must(Batch{Commands: [][]byte{
		Encode(Assign{Moves: []Move{d.move(oneX, "a")}}),
		Encode(Assign{Moves: []Move{d.move(oneX, "b")}}), // by now another token
		Encode(Batch{}),
		Encode(Settle{Member: "z"}),
		Encode(d.registration("c")),
	}})
	if len(res.Each) != 5 || len(res.Each[1].Dropped) != 1 || res.Each[2].Applied || res.Each[3].Applied || res.Each[4].Epoch != Epoch(d.at) {
		t.Fatalf("%+v", res)
	}
	d.wantOwner(oneX, "a", Token(d.at))
}

func TestProbeChangesNothing(t *testing.T) {
	s := New()
	next, res, err := s.Apply(5, Encode(Probe{}))
	if next != s || !res.Applied || err != nil {
		t.Fatalf("%+v, %v", res, err)
	}
}

// FuzzDecode: whatever comes in, Decode answers, and what it understood it
// understands again in the same way.
func FuzzDecode(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(Encode(c))
	}
	f.Add([]byte{TypeAssign, 0x82, 0xa2, 'A', 't', 0, 0xa5, 'M', 'o', 'v', 'e', 's', 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Decode(raw)
		if err != nil {
			return
		}
		once := Encode(c)
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("not understood again: %v", err)
		}
		if !bytes.Equal(Encode(again), once) {
			t.Fatalf("%x\n%x", once, Encode(again))
		}
		s, _, err := New().Apply(1, raw)
		if err == nil {
			if err := Check(s); err != nil {
				t.Fatal(err)
			}
		}
	})
}
