package udp

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

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

func drawText[S ~string](t *rapid.T, label string) S {
	return S(rapid.StringN(0, 20, 60).Draw(t, label))
}

func drawTime(t *rapid.T, label string) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, label))
}

func drawIndex[I ~uint64](t *rapid.T, label string) I { return I(rapid.Uint64().Draw(t, label)) }

func drawNonce(t *rapid.T) (n fsm.Nonce) {
	copy(n[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "nonce"))
	return n
}

func drawPoll(t *rapid.T) liveness.Poll {
	return liveness.Poll{
		By: drawText[fsm.VoterID](t, "by"), ByEpoch: drawIndex[fsm.Epoch](t, "by epoch"),
		Of: drawText[fsm.MemberID](t, "of"), Epoch: drawIndex[fsm.Epoch](t, "epoch"), At: drawTime(t, "at"),
	}
}

func drawList[T any](t *rapid.T, label string, one func(*rapid.T) T) (out []T) {
	for range rapid.IntRange(0, 5).Draw(t, label) {
		out = append(out, one(t))
	}
	return out
}

func drawMessage(t *rapid.T) liveness.Message {
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return liveness.Heartbeat{
			Epoch: drawIndex[fsm.Epoch](t, "epoch"), Sent: drawTime(t, "sent"),
			Voters: drawIndex[fsm.Index](t, "voters"), Applied: drawIndex[fsm.Index](t, "applied"),
			Polls:  drawList(t, "polls", drawPoll),
			Leased: rapid.Bool().Draw(t, "leased"), Seq: rapid.Uint64().Draw(t, "seq"),
		}
	case 1:
		id := func(t *rapid.T) fsm.VoterID { return drawText[fsm.VoterID](t, "id") }
		return liveness.Ack{
			Epoch: drawIndex[fsm.Epoch](t, "epoch"), Sent: drawTime(t, "sent"), TTL: drawTime(t, "ttl"),
			Voters:  fsm.Voters{Index: drawIndex[fsm.Index](t, "list"), IDs: drawList(t, "ids", id)},
			Applied: drawIndex[fsm.Index](t, "applied"),
		}
	case 2:
		return liveness.Ballot{
			Poll: drawPoll(t), Voter: drawText[fsm.VoterID](t, "voter"),
			Voters: drawIndex[fsm.Index](t, "voters"), Silent: drawTime(t, "silent"),
		}
	case 3:
		key := func(t *rapid.T) fsm.Key {
			return fsm.Key{
				System: drawText[fsm.SystemID](t, "system"), Item: drawText[fsm.ItemID](t, "item"),
				Rank: rapid.IntRange(0, 9).Draw(t, "rank"),
			}
		}
		return liveness.Goodbye{Dead: rapid.Bool().Draw(t, "dead"), Goodbye: fsm.Goodbye{
			Member: drawText[fsm.MemberID](t, "member"),
			Host: fsm.Host{
				Machine: drawText[string](t, "machine"), Boot: drawText[string](t, "boot"),
				Instance: drawText[string](t, "instance"),
			},
			Process: drawNonce(t), Epoch: drawIndex[fsm.Epoch](t, "epoch"), Kept: drawList(t, "kept", key),
		}}
	default:
		return liveness.GoodbyeAck{Process: drawNonce(t), Kept: rapid.IntRange(0, maxKept).Draw(t, "kept")}
	}
}

func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := packet{cluster: drawText[string](t, "cluster"), to: drawText[fsm.MemberID](t, "to")}
		want.msg = drawMessage(t)
		want.kind = kindOf(want.msg)
		raw, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(raw)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nbecame %+v, %v", want, got, err)
		}
		if again, err := encode(got); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("the same message has two encodings")
		}
		for i := range raw {
			raw[i] = 0xff // nothing may be kept of the buffer
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatal("the message lives in the buffer it was read from")
		}
	})
}

// golden are packets as the first release sends them.
func golden() []struct {
	name string
	packet
} {
	poll := liveness.Poll{By: "n1/i1", ByEpoch: 7, Of: "n3", Epoch: 9, At: 3 * time.Second}
	msgs := []struct {
		name string
		msg  liveness.Message
	}{
		{"heartbeat", liveness.Heartbeat{Epoch: 7, Sent: time.Second, Voters: 5, Applied: 12}},
		{"heartbeat-poll", liveness.Heartbeat{Epoch: 7, Sent: 1, Voters: 5, Applied: 12, Polls: []liveness.Poll{poll}}},
		{"ack", liveness.Ack{
			Epoch: 7, Sent: time.Second, TTL: 300 * time.Millisecond, Voters: fsm.Voters{Index: 5}, Applied: 12,
		}},
		{"ack-list", liveness.Ack{
			Epoch: 7, Sent: time.Second, TTL: 300 * time.Millisecond, Applied: 12,
			Voters: fsm.Voters{Index: 5, IDs: []fsm.VoterID{"n1/i1", "n2/i2"}},
		}},
		{"ballot", liveness.Ballot{Poll: poll, Voter: "n2/i2", Voters: 5, Silent: 330 * time.Millisecond}},
		{"goodbye", liveness.Goodbye{Goodbye: fsm.Goodbye{
			Member: "n2", Host: fsm.Host{Machine: "m", Boot: "b", Instance: "i2"},
			Process: fsm.Nonce{1, 2, 3}, Epoch: 8, Kept: []fsm.Key{{System: "ip", Item: "a", Rank: 1}},
		}}},
		{"goodbye-ack", liveness.GoodbyeAck{Process: fsm.Nonce{1, 2, 3}, Kept: 1}},
	}
	var out []struct {
		name string
		packet
	}
	for _, m := range msgs {
		p := packet{cluster: "c1", to: "n1", kind: kindOf(m.msg), msg: m.msg}
		out = append(out, struct {
			name string
			packet
		}{m.name, p})
	}
	out = append(out, struct {
		name string
		packet
	}{"hail", packet{cluster: "", to: "n1", kind: kindHail}})
	return out
}

// What an older release sends must be understood for ever.
func TestCodecGolden(t *testing.T) {
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		var b strings.Builder
		for _, g := range golden() {
			raw, err := encode(g.packet)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %x\n", g.name, raw)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string][]byte{}
	for line := range strings.Lines(string(data)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kept[name], err = hex.DecodeString(digits); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range golden() {
		raw, err := encode(g.packet)
		if err != nil || !bytes.Equal(raw, kept[g.name]) {
			t.Errorf("%s is written as\n%x, %v, was\n%x", g.name, raw, err, kept[g.name])
		}
		if got, err := decode(kept[g.name]); err != nil || !reflect.DeepEqual(got, g.packet) {
			t.Errorf("%s is read as %+v, %v", g.name, got, err)
		}
	}
}

func TestCodecRefuses(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	beat := mustEncode(t, packet{cluster: "c", to: "n1", kind: kindHeartbeat, msg: liveness.Heartbeat{Epoch: 1}})
	envelope := []byte("\x01c\x02n1")
	for _, c := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"nothing", nil, errMalformed},
		{"cluster only", []byte("\x01c"), errMalformed},
		{"no kind", envelope, errMalformed},
		{"name beyond the end", []byte("\xffc"), errMalformed},
		{"addressee beyond the end", []byte("\x01c\xff"), errMalformed},
		{"no body", append(envelope, byte(kindAck)), errMalformed},
		{"nil body", append(envelope, byte(kindAck), 0xc0), errMalformed},
		{"a list for a body", append(envelope, byte(kindAck), 0x91, 0x01), errMalformed},
		{"bytes after the body", append(bytes.Clone(beat), 0), errMalformed},
		{"body cut", beat[:len(beat)-1], errMalformed},
		{"a later release's kind", append(envelope, 0x7f, 0x80), errKind},
		{"too long", make([]byte, maxPacket+1), errTooLong},
		{"negative time", mustEncode(t, packet{kind: kindHeartbeat, msg: liveness.Heartbeat{Sent: -1}}), errMalformed},
		{"time beyond any clock", mustEncode(t, packet{kind: kindAck, msg: liveness.Ack{TTL: longest + 1}}), errMalformed},
		{
			"voter with a long name", mustEncode(t, packet{kind: kindBallot, msg: liveness.Ballot{
				Voter: fsm.VoterID(long + long),
			}}), errMalformed,
		},
		{
			"negative rank", mustEncode(t, packet{kind: kindGoodbye, msg: liveness.Goodbye{
				Goodbye: fsm.Goodbye{Kept: []fsm.Key{{Rank: -1}}},
			}}), errMalformed,
		},
		{"negative count", mustEncode(t, packet{kind: kindGoodbyeAck, msg: liveness.GoodbyeAck{Kept: -1}}), errMalformed},
	} {
		if p, err := decode(c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
	for name, p := range map[string]packet{
		"long cluster": {cluster: long, kind: kindHail},
		"long name":    {to: fsm.MemberID(long), kind: kindHail},
		"too many items": {kind: kindGoodbye, msg: liveness.Goodbye{
			Goodbye: fsm.Goodbye{Kept: make([]fsm.Key, maxPacket)},
		}},
	} {
		if _, err := encode(p); !errors.Is(err, errTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := encode(packet{kind: kindAck, msg: liveness.Heartbeat{}}); !errors.Is(err, errKind) {
		t.Errorf("the wrong kind: %v", err)
	}
}

// Fields of later releases are passed over.
func TestCodecPassesOverUnknownFields(t *testing.T) {
	raw := []byte("\x01c\x02n1\x05\x82\xa4Kept\x03\xa6Future\x92\x01\xa1x")
	p, err := decode(raw)
	if err != nil || p.msg != (liveness.GoodbyeAck{Kept: 3}) {
		t.Fatalf("%+v, %v", p, err)
	}
}

// What is sent all the time stays within one frame, with the most polls that a
// heartbeat carries.
func TestHeartbeatFitsAFrame(t *testing.T) {
	beat := liveness.Heartbeat{Epoch: 1 << 40, Sent: longest, Voters: 1 << 40, Applied: 1 << 40}
	for range 8 {
		beat.Polls = append(beat.Polls, liveness.Poll{
			By: "a-node-name-of-24-letters/0123456789abcdef", ByEpoch: 1 << 40,
			Of: "a-node-name-of-24-letters", Epoch: 1 << 40, At: longest,
		})
	}
	raw := mustEncode(t, packet{
		cluster: "0123456789abcdef0123456789abcdef", to: "a-node-name-of-24-letters", kind: kindHeartbeat, msg: beat,
	})
	sealed := keys().Box(secure.Sender{Name: "a-node-name-of-24-letters", Instance: "0123456789abcdef"}).Seal(raw)
	if len(sealed) > maxDatagram {
		t.Errorf("%d bytes", len(sealed))
	}
}

func mustEncode(t testing.TB, p packet) []byte {
	t.Helper()
	raw, err := encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func FuzzDecode(f *testing.F) {
	for _, g := range golden() {
		f.Add(mustEncode(f, g.packet))
	}
	f.Add([]byte("\x01c\x02n1\x01\x81\xa5Polls\xdd\xff\xff\xff\xff")) // four thousand million polls
	f.Add([]byte("\x01c\x02n1\x7f"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := decode(raw)
		if err != nil {
			return
		}
		again, err := encode(p)
		if err != nil {
			t.Fatalf("%+v is read and cannot be written: %v", p, err)
		}
		if q, err := decode(again); err != nil || !reflect.DeepEqual(normal(p), normal(q)) {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
	})
}

// normal lets an empty list and no list be the same.
func normal(p packet) string { return strings.ReplaceAll(fmt.Sprintf("%+v", p), "<nil>", "[]") }
