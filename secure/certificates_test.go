package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/pki"
)

func TestCertificatesMatrix(t *testing.T) {
	o, stranger := newOffice(t), newOffice(t)
	l := serveAs(t, o.node("n1", keysA()).As(n1), io.Discard)
	raft, http := make(chan Identity, 16), make(chan Identity, 16)
	echo(t, l.Raft(), raft)
	echo(t, l.HTTP(), http)
	own, elsewhere := o.node("n2", keysA()), stranger.node("n2", keysA())
	otherKey := o.node("n2", keysB())
	byCN := o.open(CertConfig{Files: o.files("n2-cn", pki.Leaf{CN: "n2"}), Self: "n2"}, keysA())
	says := func(words string) func(error) bool {
		return func(err error) bool { return err != nil && strings.Contains(err.Error(), words) && !IsKeyMismatch(err) }
	}
	wrong := func(want, got Identity) func(error) bool {
		return func(err error) bool {
			var e *WrongPeerError
			return errors.As(err, &e) && e.Want == want && e.Got == got
		}
	}
	for _, c := range []struct {
		name  string
		as    Credentials
		want  Identity
		proto string
		to    chan Identity
		fails func(error) bool
	}{
		{"raft", own.As(n2), n1, ProtoRaft, raft, nil},
		{"http", own.As(n2), n1, ProtoHTTP, http, nil},
		{"the name as the common one", byCN.As(n2), n1, ProtoHTTP, http, nil},
		{"any instance", own.As(n2), Identity{Name: "n1"}, ProtoHTTP, http, nil},
		{"any node", own.As(n2), Identity{}, ProtoRaft, raft, nil},
		{"wrong name", own.As(n2), n2, ProtoRaft, nil, wrong(n2, n1)},
		{"a wiped disk", own.As(n2), Identity{"n1", "former"}, ProtoRaft, nil, wrong(Identity{"n1", "former"}, n1)},
		{"another authority", elsewhere.As(n2), n1, ProtoRaft, nil, says(`issued by "CN=Example Root"`)},
		{"another key", otherKey.As(n2), n1, ProtoRaft, nil, IsKeyMismatch},
		{"no certificate of the authority", byKeyA(n2), n1, ProtoRaft, nil, says("certificate is valid for n1, not ")},
		{"unknown protocol", own.As(n2), n1, "smtp", nil, says("protocol")},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := meet(t, l, c.as, c.want, c.proto)
			if c.fails != nil {
				if !c.fails(err) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := <-c.to; got != n2 || conn.Peer() != n1 {
				t.Errorf("the server saw %q, the client %q", got, conn.Peer())
			}
			exchange(t, conn)
		})
	}
}

// meet connects as a member does.
func meet(t *testing.T, l *Listener, as Credentials, want Identity, proto string) (*Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := Dial(ctx, l.Addr().String(), as, want, proto)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

// refusedBy has a client that looks at nothing call a server, and gives the first
// thing that it reads.
func refusedBy(t *testing.T, l *Listener, proto string, shown func() (*tls.Certificate, error)) error {
	t.Helper()
	conn, err := dial(t, l, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{proto}, MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown() },
	})
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
	}
	return err
}

// byKeyA is a member with what the key makes.
func byKeyA(self Identity) Credentials {
	ring := NewRing(KeySet{Send: keysA()})
	return ring.As(self, ring)
}

func shows(c *Certificates, as Identity) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) { return c.certificate(as.String(), as.uri()) }
}

// What a server refuses, whatever the caller thinks of it: it says why in its log,
// and the caller can tell that it was its certificate.
func TestCertificatesRefused(t *testing.T) {
	o, stranger := newOffice(t), newOffice(t)
	server := o.node("n1", keysA()).As(n1)
	plain := func(f Files) func() (*tls.Certificate, error) {
		return func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
			return &pair, err
		}
	}
	stolen := func() (*tls.Certificate, error) { // another's voucher behind one's own certificate
		theirs, err := o.node("n3", keysA()).certificate("n3/i3", Identity{"n3", "i3"}.uri())
		if err != nil {
			return nil, err
		}
		mine, err := plain(o.files("n2", pki.Leaf{DNS: []string{"n2", "n3"}}))()
		mine.Certificate = append(mine.Certificate, theirs.Certificate[len(theirs.Certificate)-1])
		return mine, err
	}
	forged := func() (*tls.Certificate, error) { // by an authority of the same name as the key's
		fake, err := pki.NewAuthority(issuerPrefix + keysA().mark)
		if err != nil {
			return nil, err
		}
		mine, err := o.Issue(pki.Leaf{DNS: []string{"n2"}})
		if err != nil {
			return nil, err
		}
		voucher, err := fake.Issue(pki.Leaf{CN: "n2/i2", URIs: []string{"flip:///n2/i2"}, KeyPair: mine.KeyPair})
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(append(mine.Cert, voucher.Cert...), mine.Key)
		return &pair, err
	}
	long := time.Now().Add(-48 * time.Hour)
	for name, c := range map[string]struct {
		shown func() (*tls.Certificate, error)
		here  string // what the caller understands; "": nothing that RefusedHere knows
		log   string
		count Failure
	}{
		"another authority": {shows(stranger.node("n2", keysA()), n2), "does not know the authority", `issued by \"CN=Example Root\"`, FailCertificate},
		"another key":       {shows(o.node("n2", keysB()), n2), "does not take", "another key", FailOtherKey},
		"no key":            {plain(o.files("host", pki.Leaf{DNS: []string{"n2"}})), "does not take", "it does not show that it has the cluster's key", FailCertificate},
		"another's voucher": {stolen, "does not take", "it does not show that it has the cluster's key", FailCertificate},
		"a forged voucher":  {forged, "does not take", "another key", FailOtherKey},
		"another's name":    {shows(o.node("n2", keysA()), Identity{"n3", "i3"}), "does not take", "n3 shows a certificate of n2", FailCertificate},
		"a wild card":       {shows(wild(o), n2), "does not take", "n2 shows a certificate of *.example.com", FailCertificate},
		"expired": {
			shows(o.open(CertConfig{Files: o.files("old", pki.Leaf{DNS: []string{"n2"}, From: long, Until: long.Add(time.Hour)}), Self: "n2"}, keysA()), n2),
			"expired", "has expired on ", FailCertificate,
		},
		"made by the key": {func() (*tls.Certificate, error) { return keysA().leaf(n2) }, "does not know the authority", "a certificate that the key makes", FailCertificate},
		"nothing":         {func() (*tls.Certificate, error) { return &tls.Certificate{}, nil }, "does not take", "", FailHandshake},
		"for servers only": {
			plain(o.files("server", pki.Leaf{DNS: []string{"n2"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})),
			"does not take", "is not for this use", FailCertificate,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log lockedLog // one line per reason
			l := serveAs(t, server, &log)
			err := refusedBy(t, l, ProtoHTTP, c.shown)
			if words, refused := RefusedHere(err); !refused || !strings.Contains(words, c.here) {
				t.Errorf("the caller: %v: %q", err, words)
			}
			eventually(t, "counted as "+string(c.count), func() bool { return l.Failures()[c.count] == 1 })
			eventually(t, "in the log: "+c.log, func() bool { return strings.Contains(log.String(), c.log) })
		})
	}
}

func wild(o *office) *Certificates {
	f := o.files("wild", pki.Leaf{DNS: []string{"*.example.com"}})
	read, err := readFiles(f)
	if err != nil {
		o.t.Fatal(err)
	}
	c := newCertificates(CertConfig{Files: f}, NewRing(KeySet{Send: keysA()}))
	c.own.Store(read)
	return c
}
