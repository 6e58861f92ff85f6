package secure

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// The phases of a rotation from A to B, as sets.
func ringPhases() map[string]KeySet {
	return map[string]KeySet{
		"old":  {Send: keysA()},
		"both": {Send: keysA(), Also: []*Keys{keysB()}},
		"new":  {Send: keysB(), Also: []*Keys{keysA()}},
		"only": {Send: keysB(), Gone: []*Keys{keysA()}},
		"B":    {Send: keysB()}, // given the new key by hand
	}
}

// What one seals in a phase the others open in the same phase and in the next, so
// that nobody has to change at the same moment as another; after the last one the
// old key is refused and named as such.
func TestDatagramsInEachPhase(t *testing.T) {
	phases := ringPhases()
	for _, tt := range []struct {
		from, to string
		err      error
	}{
		{"old", "old", nil},
		{"old", "both", nil},
		{"both", "old", nil},
		{"both", "both", nil},
		{"both", "new", nil},
		{"new", "both", nil},
		{"new", "new", nil},
		{"new", "only", nil},
		{"only", "new", nil},
		{"only", "only", nil},
		{"B", "both", nil},
		{"B", "new", nil},
		{"old", "new", nil},
		{"old", "only", ErrRotatedAway},
		{"both", "only", ErrRotatedAway},
		{"new", "old", ErrForeign},
		{"only", "old", ErrForeign},
	} {
		out := NewRing(phases[tt.from]).Box(sender("n1", 1))
		in := NewRing(phases[tt.to]).Box(sender("n2", 2))
		who, body, err := in.Open(out.Seal([]byte("hello")))
		switch {
		case !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil):
			t.Errorf("%s to %s: %v, want %v", tt.from, tt.to, err, tt.err)
		case err == nil && (string(body) != "hello" || who.Name != "n1"):
			t.Errorf("%s to %s: %q of %v", tt.from, tt.to, body, who)
		}
	}
	stranger := mustDerive("a stranger's").Box(sender("n1", 1))
	if _, _, err := NewRing(phases["only"]).Box(sender("n2", 2)).Open(stranger.Seal(nil)); !errors.Is(err, ErrForeign) {
		t.Errorf("a stranger: %v", err)
	}
}

// A change of keys is no new beginning: neither what was opened before it nor what
// was sealed before it is taken twice.
func TestReplaysAcrossARotation(t *testing.T) {
	phases := ringPhases()
	from, to := NewRing(phases["both"]), NewRing(phases["both"])
	out, in := from.Box(sender("n1", 1)), to.Box(sender("n2", 2))
	first := out.Seal([]byte("1"))
	late := out.Seal([]byte("2"))
	keep := bytes.Clone(first)
	if _, _, err := in.Open(first); err != nil {
		t.Fatal(err)
	}
	from.Set(phases["new"])
	to.Set(phases["new"])
	if _, _, err := in.Open(out.Seal([]byte("3"))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Open(bytes.Clone(keep)); !errors.Is(err, ErrReplay) {
		t.Errorf("played back under the old key: %v", err)
	}
	if _, _, err := in.Open(late); err != nil {
		t.Errorf("sealed before the change and late: %v", err)
	}
	to.Set(phases["only"])
	if _, _, err := in.Open(bytes.Clone(keep)); !errors.Is(err, ErrRotatedAway) {
		t.Errorf("the old key, in the end: %v", err)
	}
	if _, _, err := in.Open(out.Seal([]byte("4"))); err != nil {
		t.Error(err)
	}
}

// A guard that has both keys is heard in every phase; one that has heard nothing of
// the new one not in the last.
func TestHandoverOfARing(t *testing.T) {
	phases := ringPhases()
	for name, heard := range map[string]bool{"old": true, "both": true, "new": true, "only": true} {
		guard, err := BoxOf(phases["both"].Handover(), sender("n1", 9))
		if err != nil {
			t.Fatal(err)
		}
		in := NewRing(phases[name]).Box(sender("n2", 2))
		got := 0
		for _, datagram := range guard.SealAll([]byte("bye")) {
			if _, body, err := in.Open(datagram); err == nil && string(body) == "bye" {
				got++
			}
		}
		if (got > 0) != heard {
			t.Errorf("phase %s: %d taken in", name, got)
		}
		if _, _, err := guard.Open(in.Seal([]byte("ack"))); err != nil {
			t.Errorf("phase %s: the answer: %v", name, err)
		}
	}
	behind, err := BoxOf(keysA().Handover(), sender("n1", 9))
	if err != nil {
		t.Fatal(err)
	}
	in := NewRing(phases["only"]).Box(sender("n2", 2))
	if _, _, err := in.Open(behind.Seal(nil)); !errors.Is(err, ErrRotatedAway) {
		t.Error(err)
	}
	if err := behind.Rekey(phases["new"].Handover()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Open(behind.Seal(nil)); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 31), make([]byte, 64), append(keysA().Handover(), 1)} {
		if err := behind.Rekey(bad); err == nil {
			t.Errorf("taken: %x", bad)
		}
	}
}

// ringed serves a ring's connections: each is held open until its other side ends it.
func serveRing(t *testing.T, r *Ring, self Identity) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := ListenAs(inner, r.As(self, r), zerolog.Nop())
	run(t, l)
	for _, q := range []net.Listener{l.HTTP(), l.Raft(), l.API()} {
		go func() {
			for {
				c, err := q.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(c, c)
					_ = c.Close()
				}()
			}
		}()
	}
	return l
}

func callRing(t *testing.T, l *Listener, r *Ring, self, want Identity) (*Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := Dial(ctx, l.Addr().String(), r.As(self, r), want, ProtoHTTP)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// answers reports whether a connection works both ways.
func answers(c net.Conn) bool {
	var b [4]byte
	if _, err := c.Write([]byte("ping")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, b[:])
	return err == nil && string(b[:]) == "ping"
}

func TestConnectionsInEachPhase(t *testing.T) {
	phases := ringPhases()
	for _, tt := range []struct {
		caller, listener string
		here             error   // at the caller
		there            Failure // at the listener
	}{
		{"old", "old", nil, ""},
		{"old", "both", nil, ""},
		{"both", "old", nil, ""},
		{"both", "new", nil, ""},
		{"new", "both", nil, ""},
		{"new", "only", nil, ""},
		{"only", "new", nil, ""},
		{"B", "both", nil, ""},
		{"old", "new", nil, ""},
		{"old", "only", ErrRotatedAway, FailOldKey},
		{"both", "only", ErrRotatedAway, FailOldKey},
		{"only", "old", ErrPeerRotatedAway, FailOtherKey},
		{"B", "old", ErrOtherKey, FailOtherKey},
	} {
		t.Run(tt.caller+" to "+tt.listener, func(t *testing.T) {
			l := serveRing(t, NewRing(phases[tt.listener]), n1)
			c, err := callRing(t, l, NewRing(phases[tt.caller]), n2, n1)
			switch {
			case tt.here == nil && err != nil:
				t.Fatal(err)
			case tt.here == nil:
				if !answers(c) || c.Peer() != n1 {
					t.Errorf("no answer, or of %v", c.Peer())
				}
				return
			case errors.Is(tt.here, ErrOtherKey):
				if !IsKeyMismatch(err) || IsRotatedAway(err) || errors.Is(err, ErrPeerRotatedAway) {
					t.Errorf("here: %v", err)
				}
			case !errors.Is(err, tt.here):
				t.Errorf("here: %v", err)
			}
			eventually(t, string(tt.there), func() bool { return l.Failures()[tt.there] == 1 })
		})
	}
}

// An operator whose key was rotated away is told so by the servers.
func TestOperatorWithAnOldKey(t *testing.T) {
	l := serveRing(t, NewRing(ringPhases()["only"]), n1)
	if _, err := dial(t, l, keysA().Operator("ops")); !IsRotatedAway(err) {
		t.Errorf("old key: %v", err)
	}
	if _, err := dial(t, l, keysB().Operator("ops")); err != nil {
		t.Errorf("new key: %v", err)
	}
	both := serveRing(t, NewRing(ringPhases()["new"]), n1)
	for _, k := range []*Keys{keysA(), keysB()} {
		c, err := dial(t, both, k.Operator("ops"))
		if err != nil || !answers(c) {
			t.Errorf("while both count: %v", err)
		}
	}
}

// Connections made with the old key go on until it does not count any more, know that
// they are to be replaced, and are ended then, by either side.
func TestConnectionsOutliveTheirKeyBriefly(t *testing.T) {
	phases := ringPhases()
	here, there := NewRing(phases["both"]), NewRing(phases["both"])
	l := serveRing(t, there, n1)
	c, err := callRing(t, l, here, n2, n1)
	if err != nil {
		t.Fatal(err)
	}
	if c.Outdated() || here.Outdated() != 0 {
		t.Error("outdated from the start")
	}
	here.Set(phases["new"])
	there.Set(phases["new"])
	if !c.Outdated() || here.Outdated() != 1 {
		t.Error("not known to be outdated")
	}
	there.Cut(t.Context())
	if !answers(c) {
		t.Fatal("cut while its key counts")
	}
	fresh, err := callRing(t, l, here, n2, n1)
	if err != nil || fresh.Outdated() {
		t.Fatalf("%v", err)
	}
	there.Set(phases["only"])
	if !answers(c) {
		t.Fatal("cut before Cut")
	}
	there.Cut(t.Context())
	if answers(c) {
		t.Error("not cut")
	}
	if !answers(fresh) {
		t.Error("cut although it is by the new key")
	}
	_ = c.Close()
	here.Set(phases["only"])
	here.Cut(t.Context())
	if !answers(fresh) {
		t.Error("cut although it is by the new key")
	}
	_ = fresh.Close()
	if here.Outdated() != 0 || len(here.open) != 0 {
		t.Error("closed connections are remembered")
	}
}

// The calling side ends its own, too.
func TestCutAtTheCallingSide(t *testing.T) {
	phases := ringPhases()
	here := NewRing(phases["both"])
	l := serveRing(t, NewRing(phases["both"]), n1)
	var conns []*Conn
	for range cutAtOnce + 5 {
		c, err := callRing(t, l, here, n2, n1)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	here.Set(phases["only"])
	here.Cut(t.Context())
	for _, c := range conns {
		if answers(c) {
			t.Fatal("not cut")
		}
	}
}

// Nobody finds out more by asking than that a key is not the right one.
func TestAnObituaryLetsNobodyIn(t *testing.T) {
	l := serveRing(t, NewRing(ringPhases()["only"]), n1)
	config := keysA().Client(n2, Identity{}, ProtoHTTP)
	config.VerifyConnection = nil // one that does not know of rotations
	c, err := dial(t, l, config)
	if err == nil && answers(c) {
		t.Error("let in")
	}
	eventually(t, "counted", func() bool { return l.Failures()[FailOldKey] == 1 })
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		t.Errorf("the old key does not vouch for it: %v", err)
	}
}

func TestSealedKeys(t *testing.T) {
	a, b := keysA(), keysB()
	sealed := a.Seal(b)
	got, err := a.Unseal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got.Mark() != b.Mark() || got.Key() != b.Key() || !bytes.Equal(got.Handover(), b.Handover()) || !bytes.Equal(got.Root(), b.Root()) {
		t.Error("another key came out")
	}
	if bytes.Contains(sealed, []byte(b.Key())) || bytes.Contains(sealed, b.Root()) {
		t.Error("the key is there in clear")
	}
	if bytes.Equal(sealed, a.Seal(b)) {
		t.Error("sealed twice, the same bytes")
	}
	if _, err := b.Unseal(sealed); !errors.Is(err, ErrNotSealed) {
		t.Errorf("with another key: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := a.Unseal(bad); err == nil {
			t.Fatalf("byte %d altered: taken", i)
		}
	}
	if _, err := a.Unseal(sealed[:20]); !errors.Is(err, ErrNotSealed) {
		t.Error(err)
	}
}

func TestRevive(t *testing.T) {
	k, err := Revive(keysA().Key(), keysA().Root())
	if err != nil || k.Mark() != keysA().Mark() {
		t.Errorf("%v", err)
	}
	if _, err := Revive("", keysA().Root()); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	if _, err := Revive("x", []byte("short")); err == nil || !strings.Contains(err.Error(), "want 32") {
		t.Error(err)
	}
}
