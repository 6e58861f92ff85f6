package guard

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

func samples() []frame {
	hello := Hello{
		PID: 7, Member: "n1", Host: fsm.Host{Machine: "m", Boot: "b", Instance: "i"}, Process: fsm.Nonce{1, 2},
		Key: []byte{3}, Cluster: "c", Heartbeat: 50 * ms, Gate: "flip-n1", List: "/run/flip/n1.list", LogLevel: "info",
	}
	hello.Has.Lock = true
	e := hook(9, "x", "r-1")
	e.Job.Config, e.Job.Addrs, e.Job.IP = []byte(`{"a":1}`), []string{"10.0.0.1/24"}, &fsm.IP{}
	return []frame{
		{kind: frameHello, hello: hello},
		{kind: framePut, entry: e},
		{kind: frameDrop, id: 1 << 40},
		{kind: frameListed},
		{kind: frameLease, lease: leaseState{epoch: 5, ends: time.Hour, until: time.Second, released: true, left: true}},
		{kind: framePeers, peers: Peers{Cluster: "c", Heartbeat: ms, Addrs: map[fsm.MemberID]string{"n2": "[::1]:7"}}},
		{kind: frameKey, key: []byte{1, 2, 3}},
	}
}

func TestFramesRoundTrip(t *testing.T) {
	var all []byte
	for _, f := range samples() {
		b, err := encodeFrame(&f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	rest := all
	for _, want := range samples() {
		for cut := range min(len(rest), 8) { // the first bytes alone are no frame
			if _, used, err := decodeFrame(rest[:cut:cut]); used != 0 && cut < frameHead+2 || err != nil {
				t.Errorf("%d bytes: used %d, %v", cut, used, err)
			}
		}
		got, used, err := decodeFrame(rest)
		if err != nil || used == 0 || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v (%d bytes), %v; want %+v", got, used, err, want)
		}
		rest = rest[used:]
	}
	if len(rest) > 0 {
		t.Errorf("%d bytes left", len(rest))
	}
}

// The bytes that a parent of an earlier build writes.
func TestFrameBytes(t *testing.T) {
	b, err := encodeFrame(&frame{kind: frameLease, lease: leaseState{epoch: 5, ends: 258, until: 3, released: true}})
	if err != nil || hex.EncodeToString(b) != "0000001b"+"0105"+"0000000000000005"+"0000000000000102"+"0000000000000003"+"01" {
		t.Errorf("%x, %v", b, err)
	}
}

func TestFramesRefused(t *testing.T) {
	long := binary.BigEndian.AppendUint32(nil, maxFrame+1)
	negative := leaseState{ends: -1}
	for name, b := range map[string][]byte{
		"too short":          {0, 0, 0, 1, 1},
		"too long":           long,
		"version":            {0, 0, 0, 2, 2, byte(frameListed)},
		"kind":               {0, 0, 0, 2, 1, 99},
		"kind 0":             {0, 0, 0, 2, 1, 0},
		"listed with a body": rawFrame(frameListed, []byte{1}),
		"drop":               rawFrame(frameDrop, []byte{1}),
		"lease":              rawFrame(frameLease, []byte{1}),
		"lease with a flag":  rawFrame(frameLease, append(make([]byte, leaseSize-1), 4)),
		"lease of before":    rawFrame(frameLease, negative.encode()),
		"entry":              rawFrame(framePut, []byte(`{"id":`)),
		"hello":              rawFrame(frameHello, []byte(`[]`)),
	} {
		if _, used, err := decodeFrame(b); used != 0 || !errors.Is(err, errFrame) {
			t.Errorf("%s: used %d, %v", name, used, err)
		}
	}
	if _, err := encodeFrame(&frame{kind: 77}); err == nil {
		t.Error("an unknown kind was written")
	}
	big := frame{kind: framePut, entry: ledger.Entry{Run: strings.Repeat("x", maxFrame)}}
	if _, err := encodeFrame(&big); !errors.Is(err, errFrame) {
		t.Errorf("too long, written: %v", err)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, s := range samples() {
		b, err := encodeFrame(&s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, used, err := decodeFrame(bytes.Clone(b))
		if used < 0 || used > len(b) || err != nil && used != 0 {
			t.Fatalf("used %d of %d, %v", used, len(b), err)
		}
		if used == 0 || got.kind == frameListed {
			return
		}
		again, err := encodeFrame(&got)
		if err != nil {
			t.Fatal(err)
		}
		if second, _, err := decodeFrame(again); err != nil || !reflect.DeepEqual(second, got) {
			t.Fatalf("%+v became %+v, %v", got, second, err)
		}
	})
}
