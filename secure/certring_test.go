package secure

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/flip-ha/flip/e2e/pki"
)

// While the key is rotated every mixture of nodes reaches each other; afterwards one
// that has only the old key is told that it was rotated away.
func TestCertificatesWhileTheKeyIsRotated(t *testing.T) {
	o := newOffice(t)
	a, b := keysA(), keysB()
	sets := map[string]KeySet{
		"before": {Send: a}, "both": {Send: a, Also: []*Keys{b}}, "new": {Send: b, Also: []*Keys{a}}, "after": {Send: b, Gone: []*Keys{a}},
	}
	f1, f2 := o.files("n1", pki.Leaf{DNS: []string{"n1"}}), o.files("n2", pki.Leaf{DNS: []string{"n2"}})
	open := func(cfg CertConfig, set KeySet) *Certificates {
		c, err := OpenCertificates(cfg, NewRing(set))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		server, client string
		fails          error
		count          Failure
	}{
		{"before", "both", nil, ""},
		{"both", "before", nil, ""},
		{"both", "new", nil, ""},
		{"new", "both", nil, ""},
		{"new", "after", nil, ""},
		{"after", "new", nil, ""},
		{"after", "before", ErrRotatedAway, ""},
		{"before", "after", ErrPeerRotatedAway, ""},
	} {
		l := serveAs(t, open(CertConfig{Files: f1, Self: "n1"}, sets[c.server]).As(n1), io.Discard)
		peers := make(chan Identity, 1)
		echo(t, l.HTTP(), peers)
		conn, err := meet(t, l, open(CertConfig{Files: f2, Self: "n2"}, sets[c.client]).As(n2), n1, ProtoHTTP)
		if !errors.Is(err, c.fails) {
			t.Errorf("a node %q called by one %q: %v", c.server, c.client, err)
		}
		if err == nil {
			exchange(t, conn)
		}
	}
	// The server's side alone: a caller that looks at nothing.
	l := serveAs(t, open(CertConfig{Files: f1, Self: "n1"}, sets["after"]).As(n1), io.Discard)
	old := open(CertConfig{Files: f2, Self: "n2"}, sets["before"])
	_ = refusedBy(t, l, ProtoHTTP, shows(old, n2))
	eventually(t, "counted as rotated away", func() bool { return l.Failures()[FailOldKey] == 1 })
}

// Renewed certificates make connections outdated; an authority that is taken out of the
// file ends those by its certificates.
func TestCertificatesOfAnotherAuthority(t *testing.T) {
	o, next := newOffice(t), newOffice(t)
	server, client := o.node("n1", keysA()), o.node("n2", keysA())
	l := serveAs(t, server.As(n1), io.Discard)
	conn, err := meet(t, l, client.As(n2), n1, ProtoHTTP)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.HTTP().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	renew := func(c *Certificates, name string, by *office, authorities ...*office) {
		t.Helper()
		pair, err := by.Issue(pki.Leaf{DNS: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := pair.Write(o.dir, name); err != nil {
			t.Fatal(err)
		}
		var all []byte
		for _, a := range authorities {
			all = append(all, a.PEM()...)
		}
		o.file("ca.crt", all)
		c.again(context.Background())
		if got := c.Troubles(); len(got) > 0 {
			t.Errorf("%+v", got)
		}
	}
	if conn.Outdated() {
		t.Error("outdated from the start")
	}
	renew(client, "n2", next, o, next)
	if !conn.Outdated() || accepted.(*Conn).Outdated() {
		t.Error("who has new certificates would connect by others, and nobody else")
	}
	renew(server, "n1", next, o, next)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Errorf("both authorities count: %v", err)
	}
	again, err := meet(t, l, client.As(n2), n1, ProtoHTTP)
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.HTTP().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	renew(server, "n1", next, next)
	_, _ = io.Copy(io.Discard, conn) // until it is cut
	if _, err := again.Write([]byte("x")); err != nil || !second.(*Conn).Outdated() {
		t.Errorf("a connection by the new authority: %v", err)
	}
	if _, err := second.Read(make([]byte, 1)); err != nil {
		t.Errorf("a connection by the new authority: %v", err)
	}
	_ = again.Close()
	_ = second.Close()
	eventually(t, "none is forgotten", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.open) <= 1 // the one that was cut, until who has accepted it closes it
	})
}
