package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// rich is a State in which every field of every record is set.
func rich(t testing.TB) *State {
	d := founded(t)
	d.s = d.s.WithVoters(Voters{Index: 3, IDs: []VoterID{"a/1", "b/1", "c/1"}})
	m := d.move(oneX, "a")
	m.Home = "a"
	d.must(Assign{Moves: []Move{m, d.move(oneY, "a"), d.move(leastX, "b"), d.move(ipX, "a")}, At: 7})
	d.acquire(oneX, ipX)
	d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneY, Token: d.slot(oneY).Token, Err: "exit status 1"}}})
	d.give("b", oneX, ipX)
	d.must(Force{Claims: []Claim{d.claim("a", oneX)}})
	d.must(d.respec(func(s *Spec) { delete(s.Systems, "least"); s.Timing.Lease = time.Second }))
	d.must(Leave{Member: "c", Epoch: d.epoch("c")})
	g := d.bye("c", oneX)
	d.must(Down{Member: "c", Epoch: d.epoch("c"), Goodbye: &g, Evidence: []Vote{{Voter: "b/1", Silent: 350}}})
	d.must(d.moved("b"))
	d.must(Report{Member: "a", Epoch: d.epoch("a"), Seen: []Sighting{{Key: ipX, Token: d.slot(ipX).Token, Answer: "0e:00:00:00:00:01 answers"}}})
	return d.s
}

func read(t testing.TB, raw []byte) *State {
	t.Helper()
	s, err := Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return s
}

// placed is a State with all that came with replicas, brakes and programs.
func placed(t testing.TB) *State {
	d := founded(t, func(s *Spec) {
		*s = placedSpec()
		on("one", func(s *System) { s.NoBrake = true })(s)
	})
	d.give("a", Key{System: "least", Item: "1", Rank: 1}, oneX)
	d.must(Report{Member: "c", Epoch: d.epoch("c"), Programs: &Programs{Systems: []SystemID{"least"}}, At: second(0)})
	d.must(d.respec(func(s *Spec) {
		*s = placedSpec()
		on("one", func(s *System) { s.Delay = time.Second })(s)
	}))
	d.cause(oneX, "c", CauseFailed, second(1))
	d.fails(oneX, second(2))
	d.lose("a", second(3))
	d.lose("b", second(4))
	if c := d.memberOf("c"); len(d.s.Brakes()) == 0 || len(d.s.BrakedSlots()) != 1 || len(c.Programs) != 1 || d.memberOf("a").Lost == 0 {
		t.Fatalf("something is not there:\n%s", textOf(d.s))
	}
	return d.s
}

func TestGoldenSnapshot(t *testing.T) {
	t.Run("before replicas", func(t *testing.T) { goldenSnapshot(t, "snapshot-v1", rich(t)) })
	t.Run("with replicas", func(t *testing.T) { goldenSnapshot(t, "snapshot-v1-replicas", placed(t)) })
}

func goldenSnapshot(t *testing.T, name string, s *State) {
	t.Helper()
	raw := golden(t, name, snapshot(t, s))
	got := read(t, raw)
	if err := Check(got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshot(t, got), raw) {
		t.Fatal("what was read is written otherwise")
	}
	for want := range s.Slots() {
		have, _ := got.Slot(want.Key)
		if entries(have) != entries(want) {
			t.Errorf("\n got %s\nwant %s", entries(have), entries(want))
		}
	}
	for id, want := range s.Members() {
		if have, _ := got.Member(id); fmt.Sprintf("%+v", have) != fmt.Sprintf("%+v", want) {
			t.Errorf("%+v, want %+v", have, want)
		}
	}
	for id, want := range s.Failures() {
		if have, _ := got.FailureOf(id, want.Key); have != want {
			t.Errorf("%+v, want %+v", have, want)
		}
	}
	if fmt.Sprintf("%+v", got.Journal()) != fmt.Sprintf("%+v", s.Journal()) {
		t.Error("the journals differ")
	}
	if !reflect.DeepEqual(got.Spec(), s.Spec()) || got.Cluster() != s.Cluster() ||
		got.MaxTTL() != s.MaxTTL() || !reflect.DeepEqual(got.Brakes(), s.Brakes()) || len(got.BrakedSlots()) != len(s.BrakedSlots()) || fmt.Sprint(got.Voters()) != fmt.Sprint(s.Voters()) {
		t.Error("the headers differ")
	}
}

// entries is a slot in words, its recipes spelled out.
func entries(s Slot) string {
	set, seen := s.Outstanding, s.Seen
	s.Outstanding, s.Seen = nil, nil
	out := fmt.Sprintf("%+v", s)
	if seen != nil {
		out += fmt.Sprintf(" seen %+v", *seen)
	}
	for _, e := range set {
		if r := e.Recipe; r != nil {
			out += fmt.Sprintf(" by %+v", *r)
			e.Recipe = nil
		}
		out += fmt.Sprintf(" %+v", e)
	}
	return out
}

func TestSnapshotOfNothing(t *testing.T) {
	raw := snapshot(t, New())
	if s := read(t, raw); !bytes.Equal(snapshot(t, s), raw) || Check(s) != nil {
		t.Fatal("it does not come back")
	}
}

// A State that was read goes on as the one that was written.
func TestApplyAfterRead(t *testing.T) {
	d := founded(t)
	d.give("a", oneX, ipX)
	d.give("b", oneX)
	s := read(t, snapshot(t, d.s))
	for _, c := range []Command{d.moved("a"), d.registration("b"), Down{Member: "c", Epoch: d.epoch("c")}} {
		d.must(c)
		next, _, err := s.Apply(d.at, Encode(c))
		if err != nil {
			t.Fatal(err)
		}
		if s = next; !bytes.Equal(snapshot(t, s), snapshot(t, d.s)) {
			t.Fatalf("they differ after %T", c)
		}
	}
}

// No single byte may be cut off, altered or added without being noticed.
func TestReadRejectsDamage(t *testing.T) {
	raw := snapshot(t, rich(t))
	step := 1
	if testing.Short() {
		step = 13
	}
	for n := 0; n < len(raw); n += step {
		if _, err := Read(bytes.NewReader(raw[:n])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut off after %d bytes: %v", n, err)
		}
	}
	for i := 0; i < len(raw); i += step {
		if i >= len(snapshotMagic) && i < len(snapshotMagic)+4 {
			continue // the version: see below
		}
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(raw)
			bad[i] ^= flip
			if _, err := Read(bytes.NewReader(bad)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d altered: %v", i, err)
			}
		}
	}
	if _, err := Read(bytes.NewReader(append(bytes.Clone(raw), 0))); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a byte too many: %v", err)
	}
	newer := bytes.Clone(raw)
	newer[len(snapshotMagic)+3]++
	if _, err := Read(bytes.NewReader(newer)); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("a newer version: %v", err)
	}
}

// tamper writes a snapshot of other records with a sum that is right.
func tamper(t *testing.T, records ...any) []byte {
	t.Helper()
	out := binary.BigEndian.AppendUint32([]byte(snapshotMagic), snapshotVersion)
	for i := 0; i < len(records); i += 2 {
		body, err := marshal(records[i+1])
		if err != nil {
			t.Fatal(err)
		}
		out = binary.AppendUvarint(append(out, byte(records[i].(int))), uint64(len(body)))
		out = append(out, body...)
	}
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

func TestReadRejectsWhatWriteNeverWrites(t *testing.T) {
	header := headerRecord{}
	member := memberRecord{ID: "a", Member: Member{Epoch: 1}}
	slot := Slot{Key: oneX, Owner: "a", Token: 1}
	for _, tc := range []struct {
		name    string
		records []any
		want    string
	}{
		{"another count", []any{recordHeader, header, recordEnd, endRecord{Records: 2}}, "1 records of 2"},
		{"no header", []any{recordMember, member, recordEnd, endRecord{Records: 1}}, "out of order"},
		{"two headers", []any{recordHeader, header, recordHeader, header, recordEnd, endRecord{Records: 2}}, "out of order"},
		{"an order of its own", []any{recordHeader, header, recordSlot, slot, recordMember, member}, "out of order"},
		{"an unknown record", []any{recordHeader, header, 9, member}, "kind 9"},
		{"a member twice", []any{recordHeader, header, recordMember, member, recordMember, member}, "twice"},
		{"a slot twice", []any{recordHeader, header, recordSlot, slot, recordSlot, slot}, "twice"},
		{"a slot that says nothing", []any{recordHeader, header, recordSlot, Slot{Key: oneX}}, "says nothing"},
		{"a failure of nobody", []any{recordHeader, header, recordFailure, failureRecord{ID: "a"}}, "not registered"},
		{"an impossible spec", []any{recordHeader, headerRecord{Spec: specBody{Systems: []System{{Name: "x"}}}}}, "type is unknown"},
		{"a system twice", []any{recordHeader, headerRecord{Spec: specBody{Systems: []System{{Name: "x"}, {Name: "x"}}}}}, "twice"},
		{"another body", []any{recordHeader, member}, "no matching struct field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(tamper(t, tc.records...)))
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v", err)
			}
		})
	}
	ok := tamper(t, recordHeader, header, recordMember, member, recordSlot, slot, recordEnd, endRecord{Records: 3})
	if _, err := Read(bytes.NewReader(ok)); err != nil {
		t.Fatalf("the frame itself is refused: %v", err)
	}
}

// A length that is not true costs no memory.
func TestReadTrustsNoLength(t *testing.T) {
	raw := append(binary.BigEndian.AppendUint32([]byte(snapshotMagic), snapshotVersion), recordHeader)
	big := binary.AppendUvarint(bytes.Clone(raw), maxRecord)
	if n := testing.AllocsPerRun(1, func() { _, _ = Read(bytes.NewReader(big)) }); n > 200 {
		t.Fatalf("%v allocations", n)
	}
	huge := binary.AppendUvarint(bytes.Clone(raw), 1<<60)
	if _, err := Read(bytes.NewReader(huge)); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	endless := append(bytes.Clone(raw), bytes.Repeat([]byte{0xff}, 20)...)
	if _, err := Read(bytes.NewReader(endless)); err == nil {
		t.Fatal("a length without end")
	}
}

func TestSnapshotPassesErrorsOn(t *testing.T) {
	boom := errors.New("disk full")
	raw := snapshot(t, rich(t))
	for _, n := range []int{0, 5, 20, len(raw) / 2, len(raw) - 2} {
		err := rich(t).Write(&failing{left: n, err: boom})
		if !errors.Is(err, boom) {
			t.Fatalf("write, after %d bytes: %v", n, err)
		}
		_, err = Read(io.MultiReader(bytes.NewReader(raw[:n]), iotest.ErrReader(boom)))
		if !errors.Is(err, boom) || errors.Is(err, ErrDamaged) {
			t.Fatalf("read, after %d bytes: %v", n, err)
		}
	}
	if _, err := Read(io.MultiReader(bytes.NewReader(raw), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Fatalf("read, at the end: %v", err)
	}
	if s, err := Read(iotest.OneByteReader(bytes.NewReader(raw))); err != nil || Check(s) != nil {
		t.Fatal(err)
	}
}

type failing struct {
	left int
	err  error
}

func (w *failing) Write(b []byte) (int, error) {
	if len(b) > w.left {
		return 0, w.err
	}
	w.left -= len(b)
	return len(b), nil
}

func TestJournalIsBounded(t *testing.T) {
	d := founded(t)
	spec := func(s *Spec) {
		var items []Item
		for i := range 2000 {
			items = append(items, Item{ID: ItemID(fmt.Sprintf("%05d", i))})
		}
		on("one", only(items...))(s)
	}
	d.must(d.respec(spec))
	var moves []Move
	for i := range 2000 {
		moves = append(moves, Move{Key: Key{System: "one", Item: ItemID(fmt.Sprintf("%05d", i))}, To: "a"})
	}
	d.must(Assign{Moves: moves, At: 5})
	j := d.s.Journal()
	last := j[len(j)-1]
	if last.Kind != KindMore || last.Reason != "and 1745 more by the same command" || last.Index != d.at || last.At != 5 {
		t.Fatalf("%+v", last)
	}
	if j[0].Kind != KindFounded || j[1].Kind != KindRegistered || j[1].Member != "a" {
		t.Fatalf("the history before it is gone: %+v", j[0])
	}
	for range 1500 {
		d.at++
		next, _, err := d.s.Apply(d.at, Encode(Assign{Moves: []Move{d.move(oneX, "")}}))
		if err != nil {
			t.Fatal(err)
		}
		d.s = next
		d.s, _, _ = d.s.Apply(d.at, Encode(d.registration("a")))
	}
	j = d.s.Journal()
	if len(j) != JournalSize || j[len(j)-1].Index != d.at || j[0].Index != d.at-JournalSize+1 {
		t.Fatalf("%d entries from %d to %d, at %d", len(j), j[0].Index, j[len(j)-1].Index, d.at)
	}
	if got := read(t, snapshot(t, d.s)); len(got.Journal()) != JournalSize {
		t.Fatalf("%d entries come back", len(got.Journal()))
	}
}

// The journal tells a failover in order and in words.
func TestJournalTellsTheStory(t *testing.T) {
	d := founded(t)
	d.give("a", oneX)
	d.acquire(oneX)
	d.down("a", d.move(oneX, "b"))
	d.must(d.registration("a"))
	d.release("a", d.claim("a", oneX))
	d.acquire(oneX)
	var got []string
	for _, e := range d.s.Journal()[4:] {
		got = append(got, fmt.Sprintf("%s %s %s>%s %s", e.Kind, e.Member, e.From, e.To, e.Reason))
	}
	want := []string{
		"moved a >a test", "acquired a >a ", "down a > silent", "moved b a>b test", "registered a > ",
		"released a a> released", "acquired b >b ",
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Fatalf("\n got %q\nwant %q", got, want)
	}
}

// FuzzRead: a State comes only from bytes that Write would write of it.
func FuzzRead(f *testing.F) {
	f.Add(snapshot(f, New()))
	f.Add(snapshot(f, rich(f)))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Damage is found by the sum alone; with the right one the rest is tested.
		if n := len(raw) - 4; n > 0 {
			raw = binary.BigEndian.AppendUint32(bytes.Clone(raw[:n]), crc32.Checksum(raw[:n], castagnoli))
		}
		s, err := Read(bytes.NewReader(raw))
		if err != nil {
			return
		}
		once := snapshot(t, s)
		if again := snapshot(t, read(t, once)); !bytes.Equal(again, once) {
			t.Fatalf("%x\n%x", once, again)
		}
		_ = Check(s) // may not panic
	})
}
