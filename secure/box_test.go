package secure

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

func TestBoxRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 60, maxName).Draw(t, "name")
		from := Sender{
			Name:     fsm.MemberID(name),
			Instance: rapid.StringN(0, 60, maxName).Draw(t, "instance"),
			Process:  fsm.Nonce{1},
		}
		body := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "body")
		sealed := keysA().Box(from).Seal(body)
		if len(sealed) > len(body)+Overhead {
			t.Fatalf("%d bytes became %d", len(body), len(sealed))
		}
		got, opened, err := keysA().Box(sender("other", 2)).Open(sealed)
		if err != nil || got != from || !bytes.Equal(opened, body) {
			t.Fatalf("got %+v, %q, %v", got, opened, err)
		}
	})
}

// No bit of a datagram can be changed, and no part of it left out.
func TestBoxTampered(t *testing.T) {
	sealed := keysA().Box(sender("n1", 1)).Seal([]byte("body"))
	receiver := keysA().Box(sender("n2", 2))
	for i := range sealed {
		for bit := range 8 {
			forged := bytes.Clone(sealed)
			forged[i] ^= 1 << bit
			want := ErrForeign
			if i == len(letters) {
				want = ErrVersion
			}
			if _, _, err := receiver.Open(forged); !errors.Is(err, want) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
	}
	for n := range sealed {
		if _, _, err := receiver.Open(bytes.Clone(sealed[:n])); !errors.Is(err, ErrForeign) && !errors.Is(err, ErrShort) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	if _, _, err := receiver.Open(append(bytes.Clone(sealed), 0)); !errors.Is(err, ErrForeign) {
		t.Fatalf("longer: %v", err)
	}
	// What did not verify has not used the sequence up.
	if _, _, err := receiver.Open(sealed); err != nil {
		t.Fatal(err)
	}
}

// A version in clear that says another one than was sealed does not verify.
func TestBoxVersionIsSealedIn(t *testing.T) {
	box := keysA().Box(sender("n1", 1))
	out := box.Seal([]byte("x"))
	plain, err := box.ciphers.Load().list[0].Open(nil, out[clearSize:prefixSize], out[prefixSize:], []byte(letters+"\x02"))
	if err == nil {
		t.Errorf("opened as version 2: %q", plain)
	}
}

func TestBoxOtherKey(t *testing.T) {
	sealed := keysB().Box(sender("n1", 1)).Seal([]byte("body"))
	if _, _, err := keysA().Box(sender("n2", 2)).Open(sealed); !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
}

func TestBoxReplay(t *testing.T) {
	from, to := keysA().Box(sender("n1", 1)), keysA().Box(sender("n2", 2))
	var sent [][]byte
	for range 3 * windowBits {
		sent = append(sent, from.Seal(nil))
	}
	open := func(i int) error {
		_, _, err := to.Open(bytes.Clone(sent[i]))
		return err
	}
	// The newest first: everything within the window may come after it, once.
	last := len(sent) - 1
	for i := last; i > last-windowBits; i-- {
		if err := open(i); err != nil {
			t.Fatalf("%d behind: %v", last-i, err)
		}
	}
	for i := range sent {
		if err := open(i); !errors.Is(err, ErrReplay) {
			t.Fatalf("%d again, or too late: %v", i, err)
		}
	}
	if _, _, err := from.Open(from.Seal(nil)); !errors.Is(err, ErrReplay) {
		t.Errorf("its own: %v", err)
	}
}

// The window against an oracle that remembers everything.
func TestWindowOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		var newest uint64
		seen := map[uint64]bool{}
		steps := rapid.SliceOfN(rapid.Int64Range(-windowBits-3, windowBits+3), 1, 200).Draw(t, "steps")
		at := rapid.SampledFrom([]uint64{1, 64, 1 << 40, 1<<64 - 3000}).Draw(t, "start")
		for _, step := range steps {
			seq := uint64(int64(at) + step)
			if step < 0 && seq > at || step > 0 && seq < at {
				continue // no sequence gets there
			}
			want := seq != 0 && !seen[seq] && (seq >= newest || newest-seq < windowBits)
			if got := w.take(seq); got != want {
				t.Fatalf("take(%d) with newest %d: %v", seq, newest, got)
			}
			if want {
				seen[seq] = true
				newest = max(newest, seq)
				at = seq
			}
		}
	})
}

func header1(name string, process int, born int64, seq uint64) *header {
	return &header{
		name: []byte(name), instance: []byte("i"), born: born, seq: seq,
		process: fsm.Nonce{byte(process), byte(process >> 8), 1},
	}
}

// Whatever order processes come and go in: nothing is ever taken twice, and the
// youngest of a name are always heard.
func TestMemoryNeverTakesTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := memory{names: map[fsm.MemberID]*runs{}}
		type datagram struct {
			process int
			seq     uint64
		}
		taken := map[datagram]bool{}
		oldestHeard := map[int]bool{}
		for range rapid.IntRange(1, 600).Draw(t, "steps") {
			d := datagram{rapid.IntRange(0, 3*maxProcesses).Draw(t, "process"), rapid.Uint64Range(1, 3).Draw(t, "seq")}
			born := int64(d.process / 2) // pairs are born in the same moment
			_, ok := m.take(header1("n1", d.process, born, d.seq))
			if ok && taken[d] {
				t.Fatalf("%+v taken twice", d)
			}
			taken[d] = taken[d] || ok
			oldestHeard[d.process] = true
			younger := 0
			for p := range oldestHeard {
				if p/2 >= d.process/2 && p != d.process {
					younger++
				}
			}
			if !ok && younger < maxProcesses && !taken[d] {
				t.Fatalf("%+v refused although only %d are as young", d, younger)
			}
		}
		if got := len(m.names["n1"].processes); got > maxProcesses {
			t.Fatalf("%d processes remembered", got)
		}
	})
}

// Recordings of processes long gone, played back in numbers, push nobody out.
func TestOldRecordingsPushNobodyOut(t *testing.T) {
	m := memory{names: map[fsm.MemberID]*runs{}}
	living := header1("n1", 9999, 1_000_000, 7)
	if _, ok := m.take(living); !ok {
		t.Fatal("the living process is not heard")
	}
	for old := range 10 * maxProcesses {
		m.take(header1("n1", old, int64(old), 1))
	}
	if _, ok := m.take(living); ok {
		t.Fatal("a datagram of the living process was taken twice")
	}
	living.seq = 8
	if _, ok := m.take(living); !ok {
		t.Fatal("the living process is no longer heard")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := memory{names: map[fsm.MemberID]*runs{}}
	for i := range maxNames + 5 {
		name := string([]byte{'n', byte(i), byte(i >> 8)})
		if _, ok := m.take(header1(name, 1, 1, 1)); ok != (i < maxNames) {
			t.Fatalf("name %d: %v", i, ok)
		}
	}
}

func TestBoxIsSafeForConcurrentUse(t *testing.T) {
	from, to := keysA().Box(sender("n1", 1)), keysA().Box(sender("n2", 2))
	const each = 100
	results := make(chan int, 4)
	for range 4 {
		go func() {
			fresh := 0
			for range each {
				sealed := from.Seal([]byte("x"))
				for _, copied := range [][]byte{bytes.Clone(sealed), sealed} {
					if _, _, err := to.Open(copied); err == nil {
						fresh++
					}
				}
			}
			results <- fresh
		}()
	}
	for range 4 {
		if got := <-results; got != each {
			t.Errorf("%d of %d taken", got, each)
		}
	}
}

// sealPlain seals any bytes, as a node with a defect might.
func sealPlain(b *Box, plain []byte) []byte {
	out := append([]byte(letters), WireVersion)
	out = append(out, bytes.Repeat([]byte{1}, chacha20poly1305.NonceSizeX)...)
	return b.ciphers.Load().list[0].Seal(out, out[clearSize:], plain, out[:clearSize])
}

func FuzzOpen(f *testing.F) {
	from := keysA().Box(sender("n1", 1))
	for _, body := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte{7}, 1400)} {
		f.Add(from.Seal(body), false)
		f.Add(from.Seal(body)[:60], false)
	}
	f.Add([]byte(letters), false)
	f.Add([]byte{}, true)
	f.Add(slices.Concat(make([]byte, fixedSize-1), []byte{1}, []byte{2, 'n', '1', 1, 'i'}), true)
	f.Add(slices.Concat(make([]byte, fixedSize), []byte{2, 'n', '1', 200}), true)
	f.Add(slices.Concat(bytes.Repeat([]byte{255}, fixedSize), []byte{1, 'n', 0}), true)
	to := keysA().Box(sender("n2", 2))
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed {
			data = sealPlain(from, data)
		}
		whole := bytes.Clone(data)
		_, body, err := to.Open(data)
		if err == nil && len(body) > len(whole)-prefixSize {
			t.Fatalf("%d bytes out of %d", len(body), len(whole))
		}
		if _, _, again := to.Open(whole); again == nil {
			t.Fatal("taken twice")
		}
		for _, known := range []error{nil, ErrShort, ErrForeign, ErrVersion, ErrReplay} {
			if err == known { //nolint:errorlint // exactly these
				return
			}
		}
		t.Fatalf("unknown error %v", err)
	})
}

func BenchmarkSeal(b *testing.B) {
	box, body := keysA().Box(sender("n1", 1)), make([]byte, 120)
	b.ReportAllocs()
	for b.Loop() {
		box.Seal(body)
	}
}

func BenchmarkSealAndOpen(b *testing.B) {
	from, to := keysA().Box(sender("n1", 1)), keysA().Box(sender("n2", 2))
	body := make([]byte, 120)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := to.Open(from.Seal(body)); err != nil {
			b.Fatal(err)
		}
	}
}

// What a stranger's flood costs.
func BenchmarkOpenForeign(b *testing.B) {
	sealed := keysB().Box(sender("n1", 1)).Seal(make([]byte, 120))
	to, work := keysA().Box(sender("n2", 2)), make([]byte, len(sealed))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, sealed)
		if _, _, err := to.Open(work); err == nil {
			b.Fatal("opened")
		}
	}
}
