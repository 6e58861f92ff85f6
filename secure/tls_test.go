package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// The listening side is n1/i1 with key A.
func TestHandshakeMatrix(t *testing.T) {
	l := serve(t, keysA().Server(n1))
	raft, http := make(chan Identity, 16), make(chan Identity, 16)
	echo(t, l.Raft(), raft)
	echo(t, l.HTTP(), http)
	wrong := func(want, got Identity) func(error) bool {
		return func(err error) bool {
			var e *WrongPeerError
			return errors.As(err, &e) && e.Want == want && e.Got == got && !IsKeyMismatch(err)
		}
	}
	for _, c := range []struct {
		name   string
		config *tls.Config
		to     chan Identity
		fails  func(error) bool
	}{
		{"same key, raft", keysA().Client(n2, n1, ProtoRaft), raft, nil},
		{"same key, http", keysA().Client(n2, n1, ProtoHTTP), http, nil},
		{"any instance", keysA().Client(n2, Identity{Name: "n1"}, ProtoHTTP), http, nil},
		{"any node", keysA().Client(n2, Identity{}, ProtoRaft), raft, nil},
		{"other key", keysB().Client(n2, n1, ProtoRaft), nil, IsKeyMismatch},
		{"wrong name", keysA().Client(n2, n2, ProtoRaft), nil, wrong(n2, n1)},
		{
			"wrong instance", keysA().Client(n2, Identity{"n1", "wiped"}, ProtoRaft),
			nil, wrong(Identity{"n1", "wiped"}, n1),
		},
		{"unknown protocol", keysA().Client(n2, n1, "smtp"), nil, func(err error) bool { return !IsKeyMismatch(err) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := dial(t, l, c.config)
			if c.fails != nil {
				if err == nil || !c.fails(err) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := <-c.to; got != n2 {
				t.Errorf("the server saw %q", got)
			}
			if got, err := PeerOf(conn); err != nil || got != n1 {
				t.Errorf("the client saw %q, %v", got, err)
			}
			exchange(t, conn)
		})
	}
	eventually(t, "the other key counted", func() bool { return l.Failures()[FailOtherKey] == 1 })
	eventually(t, "the wrong peers counted", func() bool { return l.Failures()[FailHandshake] == 3 })
}

func exchange(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("flip")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "flip" {
		t.Fatalf("read %q, %v", got, err)
	}
}

// A node whose clock is decades off is let in, on either side.
func TestClockSkew(t *testing.T) {
	clock := func(year int) func() time.Time {
		return func() time.Time { return time.Date(year, 2, 3, 4, 5, 6, 0, time.UTC) }
	}
	for _, years := range [][2]int{{1970, 2026}, {2026, 1970}, {2000, 2026}, {2026, 2106}, {2106, 2026}} {
		server := keysA().Server(n1)
		server.Time = clock(years[0])
		l := serve(t, server)
		peers := make(chan Identity, 1)
		echo(t, l.HTTP(), peers)
		client := keysA().Client(n2, n1, ProtoHTTP)
		client.Time = clock(years[1])
		conn, err := dial(t, l, client)
		if err != nil {
			t.Errorf("server in %d, client in %d: %v", years[0], years[1], err)
			continue
		}
		exchange(t, conn)
	}
}

// A client without a certificate, or with one of its own making, is refused even
// if it does not look at ours.
func TestServerVerifiesClients(t *testing.T) {
	l := serve(t, keysA().Server(n1))
	peers := make(chan Identity, 1)
	echo(t, l.HTTP(), peers)
	forged, err := keysB().leaf(n2)
	if err != nil {
		t.Fatal(err)
	}
	for name, certificates := range map[string][]tls.Certificate{"none": nil, "another key's": {*forged}} {
		config := &tls.Config{
			InsecureSkipVerify: true, NextProtos: []string{ProtoHTTP}, MinVersion: tls.VersionTLS13,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if certificates == nil {
					return &tls.Certificate{}, nil
				}
				return &certificates[0], nil
			},
		}
		conn, err := dial(t, l, config)
		if err == nil { // TLS 1.3: the client is done before the server has looked
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, err = conn.Read(make([]byte, 1))
		}
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("certificate %s: let in, %v", name, err)
		}
	}
	if len(peers) != 0 {
		t.Errorf("%s came through", <-peers)
	}
	eventually(t, "the forged one counted as another key", func() bool { return l.Failures()[FailOtherKey] == 1 })
}

// A server whose certificate is not flip's is no "other key".
func TestStrangeServerIsNoKeyMismatch(t *testing.T) {
	stranger, err := keysB().leaf(n1)
	if err != nil {
		t.Fatal(err)
	}
	leaf := *stranger.Leaf
	leaf.Issuer.CommonName = "Somebody's CA"
	if IsKeyMismatch(unknownAuthority(&leaf)) {
		t.Error("a stranger looks like another key")
	}
	if !IsKeyMismatch(unknownAuthority(stranger.Leaf)) {
		t.Error("another key looks like a stranger")
	}
	if IsKeyMismatch(nil) || IsKeyMismatch(io.EOF) {
		t.Error("nothing, or a lost connection, looks like another key")
	}
}

func TestWrongPeerErrorNamesBoth(t *testing.T) {
	for want, err := range map[string]*WrongPeerError{
		"n2 answered where n1 was expected": {Want: n1, Got: n2},
		"n1 answered with instance i9 where i1 was expected: its data_dir is another one": {
			Want: n1, Got: Identity{"n1", "i9"},
		},
	} {
		if err.Error() != want {
			t.Errorf("%q", err)
		}
	}
}

func TestPeerOfWantsAHandshake(t *testing.T) {
	if _, err := PeerOfState(tls.ConnectionState{}); err == nil {
		t.Error("an unverified connection has a peer")
	}
}

func unknownAuthority(cert *x509.Certificate) error {
	return &tls.CertificateVerificationError{
		UnverifiedCertificates: []*x509.Certificate{cert},
		Err:                    x509.UnknownAuthorityError{Cert: cert},
	}
}
