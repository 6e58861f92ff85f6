package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/pki"
)

func TestCertificatesOfOperators(t *testing.T) {
	o := newOffice(t)
	server := o.open(CertConfig{
		Files: o.files("n1", pki.Leaf{DNS: []string{"n1"}, IPs: []string{"127.0.0.1"}}), Self: "n1", Operators: []string{"alice", "bob@example.com"},
	}, keysA())
	l := serveAs(t, server.As(n1), io.Discard)
	members, names := make(chan Identity, 1), make(chan string, 16)
	echo(t, l.HTTP(), members)
	operators(t, l, names)
	for name, c := range map[string]struct {
		leaf  pki.Leaf
		keys  *Keys
		seen  string // "": refused
		reads string
	}{
		"named":           {pki.Leaf{CN: "alice"}, nil, "alice", ""},
		"named by mail":   {pki.Leaf{CN: "B.", Emails: []string{"bob@example.com"}}, nil, "B., bob@example.com", ""},
		"says so itself":  {pki.Leaf{CN: "c", URIs: []string{"flip-operator:///carol@host"}}, nil, "carol@host", ""},
		"has the key":     {pki.Leaf{CN: "dave"}, keysA(), "dave@laptop (dave)", ""},
		"not named":       {pki.Leaf{CN: "mallory"}, nil, "", "bad certificate"},
		"has another key": {pki.Leaf{CN: "eve"}, keysB(), "", "another key"},
	} {
		t.Run(name, func(t *testing.T) {
			config, troubles, err := OperatorFiles(o.files(c.leaf.CN, c.leaf), c.keys, "dave@laptop")
			if err != nil || len(troubles) > 0 {
				t.Fatal(err, troubles)
			}
			if config.ServerName == "" && !config.InsecureSkipVerify {
				config.ServerName = "127.0.0.1"
			}
			conn, err := dial(t, l, config)
			if err == nil && c.seen == "" {
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, err = conn.Read(make([]byte, 1))
			}
			if c.seen == "" {
				if err == nil || !strings.Contains(err.Error(), c.reads) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := <-names; got != c.seen {
				t.Errorf("seen as %q", got)
			}
			exchange(t, conn)
		})
	}
	// Who may control the cluster is no member for it.
	f := o.files("alice", pki.Leaf{CN: "alice"})
	err := refusedBy(t, l, ProtoHTTP, func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		return &pair, err
	})
	if _, refused := RefusedHere(err); !refused || len(members) > 0 {
		t.Errorf("an operator among members: %v", err)
	}
	// Without the key the server's certificate has to name the address.
	config, _, err := OperatorFiles(f, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName = "n9.example.com"
	if _, err := dial(t, l, config); err == nil || !strings.Contains(err.Error(), "n9.example.com") {
		t.Errorf("a server of another name: %v", err)
	}
}

// operators tells the names of those whom the API's side gets, and answers them.
func operators(t *testing.T, l *Listener, names chan<- string) {
	t.Helper()
	go func() {
		for {
			conn, err := l.API().Accept()
			if err != nil {
				return
			}
			name, err := OperatorOf(conn)
			if err != nil {
				t.Errorf("OperatorOf: %v", err)
			}
			names <- name
			buf := make([]byte, 16)
			n, _ := conn.Read(buf)
			_, _ = conn.Write(buf[:n])
			_ = conn.Close()
		}
	}()
}

// While nodes change over, those with certificates of their own and those without
// reach each other both ways.
func TestCertificatesAcceptKey(t *testing.T) {
	o := newOffice(t)
	both := o.open(CertConfig{Files: o.files("n1", pki.Leaf{DNS: []string{"n1"}}), Self: "n1", AcceptKey: true}, keysA())
	both2 := o.open(CertConfig{Files: o.files("n2", pki.Leaf{DNS: []string{"n2"}}), Self: "n2", AcceptKey: true}, keysA())
	strict := o.node("n2", keysA())
	byKey := serve(t, keysA().Server(n1))
	changing := serveAs(t, both.As(n1), io.Discard)
	changed := serveAs(t, o.node("n1", keysA()).As(n1), io.Discard)
	peers := map[*Listener]chan Identity{}
	for _, l := range []*Listener{byKey, changing, changed} {
		peers[l] = make(chan Identity, 1)
		echo(t, l.HTTP(), peers[l])
	}
	key := byKeyA(n2)
	for name, c := range map[string]struct {
		l  *Listener
		as Credentials
	}{
		"key to both":    {changing, key},
		"both to key":    {byKey, both2.As(n2)},
		"both to both":   {changing, both2.As(n2)},
		"both to strict": {changed, both2.As(n2)},
		"strict to both": {changing, strict.As(n2)},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := meet(t, c.l, c.as, n1, ProtoHTTP)
			if err != nil {
				t.Fatal(err)
			}
			exchange(t, conn)
			if got := <-peers[c.l]; got != n2 {
				t.Errorf("the server saw %q", got)
			}
		})
	}
	if _, err := meet(t, byKey, strict.As(n2), n1, ProtoHTTP); err == nil || !strings.Contains(err.Error(), "a certificate that the key makes") {
		t.Errorf("strict to key: %v", err)
	}
	_, err := meet(t, byKey, both2.As(n2), Identity{"n1", "former"}, ProtoHTTP)
	var wrong *WrongPeerError
	if !errors.As(err, &wrong) {
		t.Errorf("another instance by key: %v", err)
	}
}

// Renewed files are used for what connects from then on; what is connected stays.
func TestCertificatesReload(t *testing.T) {
	o := newOffice(t)
	server, client := o.node("n1", keysA()), o.node("n2", keysA())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	l := serveAs(t, server.As(n1), io.Discard)
	peers := make(chan Identity, 1024)
	echo(t, l.HTTP(), peers)
	old, err := meet(t, l, client.As(n2), n1, ProtoHTTP)
	if err != nil {
		t.Fatal(err)
	}
	shownNow := func() string {
		conn, err := meet(t, l, client.As(n2), n1, ProtoHTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := shownNow()

	// Half of it is written: the old pair stays in use, and it is said.
	files := server.cfg.Files
	was, err := os.ReadFile(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := o.Issue(pki.Leaf{DNS: []string{"n1"}})
	if err != nil {
		t.Fatal(err)
	}
	o.file("n1.crt", fresh.Cert)
	server.Look()
	eventually(t, "the half is noticed", func() bool { server.Look(); return len(server.Troubles()) == 1 })
	if got := server.Troubles()[0]; !got.Critical || !strings.Contains(got.What, "does not belong to the certificate") {
		t.Errorf("%+v", got)
	}
	if shownNow() != before {
		t.Error("half a pair is shown")
	}
	o.file("n1.key", fresh.Key)
	eventually(t, "the new one is used", func() bool { server.Look(); return shownNow() != before })
	if got := server.Troubles(); len(got) > 0 {
		t.Errorf("%+v", got)
	}
	exchange(t, old)

	// What is not this node's is not used.
	theirs, err := o.Issue(pki.Leaf{DNS: []string{"n9"}})
	if err != nil {
		t.Fatal(err)
	}
	o.file("n1.key", theirs.Key)
	o.file("n1.crt", theirs.Cert)
	eventually(t, "another's is refused", func() bool {
		server.Look()
		got := server.Troubles()
		return len(got) == 1 && strings.Contains(got[0].What, "is of n9, and this node is n1")
	})
	if shownNow() == before {
		t.Error("the one before the last is shown")
	}
	if len(was) == 0 {
		t.Error("empty")
	}
}
