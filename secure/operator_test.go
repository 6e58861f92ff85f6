package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"
)

// operatorOn is an operator that speaks another protocol than his own.
func operatorOn(proto string) *tls.Config {
	return keysA().caller(Identity{}, proto, func() (*tls.Certificate, error) {
		return keysA().certificate("operator x", operatorURI("x"))
	})
}

// An operator gets to the API and to nothing else, a member to all but that.
func TestOperatorsAndMembersAreKeptApart(t *testing.T) {
	l := serve(t, keysA().Server(n1))
	members := make(chan Identity, 16)
	echo(t, l.Raft(), members)
	echo(t, l.HTTP(), make(chan Identity, 16))
	operators := make(chan string, 16)
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
			operators <- name
			buf := make([]byte, 16)
			n, _ := conn.Read(buf)
			_, _ = conn.Write(buf[:n])
			_ = conn.Close()
		}
	}()
	for name, tt := range map[string]struct {
		config *tls.Config
		let    bool
	}{
		"operator, api":            {keysA().Operator("eve@host"), true},
		"operator, raft":           {operatorOn(ProtoRaft), false},
		"operator, http":           {operatorOn(ProtoHTTP), false},
		"member, api":              {keysA().Client(n2, n1, ProtoAPI), false},
		"operator of another key":  {keysB().Operator("eve@host"), false},
		"member called like an op": {keysA().Client(Identity{Name: "flip-operator:///x"}, n1, ProtoAPI), false},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := dial(t, l, tt.config)
			if tt.let {
				if err != nil {
					t.Fatal(err)
				}
				if got := <-operators; got != "eve@host" {
					t.Errorf("the server saw %q", got)
				}
				exchange(t, conn)
				return
			}
			if err == nil { // TLS 1.3: the client is done before the server has looked
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, err = conn.Read(make([]byte, 1))
			}
			if err == nil || errors.Is(err, io.EOF) {
				t.Errorf("let in: %v", err)
			}
		})
	}
	if len(operators)+len(members) > 0 {
		t.Errorf("%d operators and %d members came through that should not have", len(operators), len(members))
	}
}

func TestNobodyIsMemberAndOperator(t *testing.T) {
	both := &x509.Certificate{URIs: []*url.URL{n1.uri(), operatorURI("x")}}
	if _, err := identityOf(both); err == nil {
		t.Error("an operator is a member")
	}
	if _, err := operatorOf(both); err == nil {
		t.Error("a member is an operator")
	}
	for _, uris := range [][]*url.URL{nil, {operatorURI("")}, {operatorURI("a"), operatorURI("b")}, {n1.uri()}} {
		if name, err := operatorOf(&x509.Certificate{URIs: uris}); err == nil {
			t.Errorf("%v is operator %q", uris, name)
		}
	}
	if _, err := OperatorOf(&net.TCPConn{}); err == nil {
		t.Error("a connection without TLS is an operator's")
	}
}

func TestOperatorNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 40, -1).Draw(t, "name")
		cert, err := keysA().certificate("operator", operatorURI(name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if got, err := operatorOf(cert.Leaf); err != nil || got != name {
			t.Fatalf("%q became %q, %v", name, got, err)
		}
		if _, err := identityOf(cert.Leaf); err == nil {
			t.Fatalf("%q is a member", name)
		}
	})
}

// One operator more than there is room for is turned away as long as all others
// are at work, and then has the place of the one that was quiet for longest.
func TestGuestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipes()
		l := Listen(pipes, keysA().Server(n1), zerolog.Nop())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(t.Context()) }()
		go func() {
			for {
				conn, err := l.API().Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
			}
		}()
		enter := func() *tls.Conn {
			c := tls.Client(pipes.dial(), keysA().Operator("x"))
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return c
		}
		alive := func(c *tls.Conn) bool {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, err := c.Write([]byte("x"))
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			return err == nil
		}
		open := make([]*tls.Conn, maxGuests)
		for i := range open {
			open[i] = enter()
		}
		time.Sleep(guestQuiet - time.Second)
		if !alive(open[0]) {
			t.Fatal("a connection that there is room for is dead")
		}
		if alive(enter()) {
			t.Error("one more is let in while all are at work")
		}
		if got := l.Failures()[FailBusy]; got != 1 {
			t.Errorf("counted %d", got)
		}
		time.Sleep(time.Second)
		if !alive(enter()) {
			t.Error("nobody made room")
		}
		for i, want := range map[int]bool{0: true, 1: false, 2: true} {
			if got := alive(open[i]); got != want {
				t.Errorf("%d: alive %v", i, got)
			}
		}
		// Who goes makes room at once.
		_ = open[2].Close()
		synctest.Wait()
		if !alive(enter()) {
			t.Error("no room although one has gone")
		}
		if !alive(open[3]) {
			t.Error("somebody had to make room although one had gone")
		}
		if len(l.guests.Open()) != maxGuests {
			t.Errorf("%d are open", len(l.guests.Open()))
		}
		for _, c := range open {
			_ = c.NetConn().Close()
		}
		_ = l.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		// The others, whom the test has lost sight of, end with their servers.
		for _, g := range l.guests.Open() {
			g.Conn.(*Conn).cut()
		}
	})
}
