package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/secure"
)

// controlled is a node that serves operators on its port, as the program wires
// it; stop ends it.
func controlled(t *testing.T, keys *secure.Keys, name string) (addr string, n *node, stop func()) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := secure.Listen(inner, keys.Server(secure.Identity{Name: "n2", Instance: "i2"}), zerolog.Nop())
	n = &node{}
	s := server.NewLocal(server.LocalConfig{
		Log: zerolog.Nop(), Node: n, Status: named{name}, Proposer: n, Version: api.Version{Version: "7"},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- port.Run(ctx) }()
	go func() { done <- s.Run(ctx, port.API()) }()
	var stopped atomic.Bool
	stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("node: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return inner.Addr().String(), n, stop
}

type named struct{ name string }

func (s named) Status() api.Status {
	return api.Status{Stamp: api.Stamp{Index: 9, Leader: "n9"}, Node: api.Node{ID: "n2", Instance: s.name}}
}

func remoteOf(t *testing.T, keys *secure.Keys, addrs ...string) *Client {
	t.Helper()
	c := NewRemote(addrs, keys.Operator("tester"), secure.IsKeyMismatch)
	t.Cleanup(c.Close)
	return c
}

// who asks which node answers.
func who(t *testing.T, c *Client) string {
	t.Helper()
	st, err := c.Status(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	return st.Node.Instance
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return l.Addr().String()
}

// accepting is an address at which each connection is handed to do, and closed
// when do returns.
func accepting(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			do(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
	return l.Addr().String()
}

// mutePort accepts and says nothing for as long as the other side stays.
func mutePort(t *testing.T) string {
	return accepting(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// breaking takes a request and breaks the connection instead of answering.
func breaking(t *testing.T, keys *secure.Keys, asked *atomic.Int64) string {
	config := keys.Server(secure.Identity{Name: "n3", Instance: "i3"})
	return accepting(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		if n, _ := conn.Read(make([]byte, 4096)); n > 0 {
			asked.Add(1)
		}
	})
}

func TestRemoteReadsAndWrites(t *testing.T) {
	keys := must(t, clusterKeys)
	addr, n, _ := controlled(t, keys, "a")
	c, ctx := remoteOf(t, keys, addr), context.Background()
	if got := who(t, c); got != "a" {
		t.Errorf("%q answers", got)
	}
	if _, err := c.Maintain(ctx, api.Maintain{On: true}); err != nil || n.calls.Load() != 1 {
		t.Errorf("a change: %v, %d commands", err, n.calls.Load())
	}
	if _, err := c.Assign(ctx, "web", false); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("an error of the daemon: %v", err)
	}
	if _, err := c.Doctor(ctx); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("doctor: %v", err)
	}
	if c.Socket() != "" {
		t.Errorf("socket %q", c.Socket())
	}
}

func TestRemoteGoesOnToTheNext(t *testing.T) {
	keys := must(t, clusterKeys)
	for name, first := range map[string]string{
		"refused":     nobody(t),
		"mute":        mutePort(t),
		"hangs up":    accepting(t, func(net.Conn) {}),
		"nonsense":    accepting(t, func(c net.Conn) { _, _ = c.Write([]byte("220 smtp ready\r\n")) }),
		"another key": func() string { a, _, _ := controlled(t, must(t, otherKeys), "x"); return a }(),
	} {
		t.Run(name, func(t *testing.T) {
			addr, n, stop := controlled(t, keys, "b")
			c := remoteOf(t, keys, first, addr)
			begin := time.Now()
			if _, err := c.Maintain(context.Background(), api.Maintain{On: true}); err != nil || n.calls.Load() != 1 {
				t.Fatalf("%v, %d commands", err, n.calls.Load())
			}
			if took := time.Since(begin); took > remoteDial {
				t.Errorf("took %v", took)
			}
			if c.remote.at != 1 {
				t.Errorf("keeps to address %d", c.remote.at)
			}
			stop()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := c.Maintain(ctx, api.Maintain{On: true}); err == nil {
				t.Error("nobody is there, and it was done")
			}
		})
	}
}

func TestRemoteKeepsToTheOneThatAnswers(t *testing.T) {
	keys := must(t, clusterKeys)
	a, _, stopA := controlled(t, keys, "a")
	b, _, _ := controlled(t, keys, "b")
	c := remoteOf(t, keys, a, b)
	for range 3 {
		if got := who(t, c); got != "a" {
			t.Fatalf("%q answers", got)
		}
	}
	stopA()
	for range 3 {
		if got := who(t, c); got != "b" {
			t.Fatalf("%q answers", got)
		}
	}
}

// What was wrong before somebody answered is not told later.
func TestRemoteForgetsWhatWasWrong(t *testing.T) {
	keys := must(t, clusterKeys)
	config := keys.Server(secure.Identity{Name: "n3", Instance: "i3"})
	once := accepting(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
		_, _ = io.Copy(io.Discard, conn)
	})
	gone := nobody(t)
	c := remoteOf(t, keys, gone, once)
	if got := who(t, c); got != "" {
		t.Fatalf("%q answers", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
	defer cancel()
	_, err := c.Status(ctx, false)
	if api.CodeOf(err) != api.CodeNoDaemon || !strings.Contains(err.Error(), once+": connected, but silent") || strings.Contains(err.Error(), gone) {
		t.Errorf("%v", err)
	}
}

// A question whose connection breaks is asked elsewhere; a change that may have
// arrived is not made twice.
func TestRemoteAfterTheRequestWasSent(t *testing.T) {
	keys := must(t, clusterKeys)
	var asked atomic.Int64
	broken := breaking(t, keys, &asked)
	addr, n, _ := controlled(t, keys, "b")
	if got := who(t, remoteOf(t, keys, broken, addr)); got != "b" || asked.Load() != 1 {
		t.Errorf("%q answers, the first was asked %d times", got, asked.Load())
	}
	asked.Store(0)
	c := remoteOf(t, keys, broken, addr)
	_, err := c.Maintain(context.Background(), api.Maintain{On: true})
	if api.CodeOf(err) != api.CodeUncertain || !strings.Contains(err.Error(), broken) || n.calls.Load() != 0 || asked.Load() != 1 {
		t.Errorf("a change: %v; the first was asked %d times, the other %d", err, asked.Load(), n.calls.Load())
	}
	// The operator decides to do it again: it goes to the other one.
	if _, err := c.Maintain(context.Background(), api.Maintain{On: true}); err != nil || n.calls.Load() != 1 {
		t.Errorf("again: %v, %d commands", err, n.calls.Load())
	}
	alone := remoteOf(t, keys, broken)
	if _, err := alone.Status(context.Background(), false); api.CodeOf(err) != api.CodeNoDaemon || !strings.Contains(err.Error(), "hung up") {
		t.Errorf("nobody else: %v", err)
	}
}

// An answer that breaks off is no answer.
func TestRemoteAnswerThatBreaksOff(t *testing.T) {
	keys := must(t, clusterKeys)
	config := keys.Server(secure.Identity{Name: "n3", Instance: "i3"})
	short := accepting(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"index\":"))
	})
	addr, _, _ := controlled(t, keys, "b")
	if got := who(t, remoteOf(t, keys, short, addr)); got != "b" {
		t.Errorf("%q answers", got)
	}
}

func TestRemoteNamesWhatIsWrong(t *testing.T) {
	keys := must(t, clusterKeys)
	other, _, _ := controlled(t, must(t, otherKeys), "x")
	plain := accepting(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	stranger := tlsServer(t, keys, func(c *tls.Config) { c.Certificates = []tls.Certificate{selfSigned(t)}; c.GetCertificate = nil })
	older := tlsServer(t, keys, func(c *tls.Config) { c.NextProtos = []string{secure.ProtoRaft, secure.ProtoHTTP} })
	mute, gone := mutePort(t), nobody(t)
	for addr, tt := range map[string]struct{ words, hint string }{
		gone:                   {"connection refused", "does flip run there"},
		other:                  {"another key", "--key-file"},
		plain:                  {"does not speak TLS", "another program"},
		stranger:               {"another authority", "another program"},
		older:                  {"no remote control", "upgrade"},
		mute:                   {"connected, but silent", "its log"},
		"flip.invalid:2200":    {"no such host", ""},
		gone + "," + other:     {gone + ": connection refused; " + other + ": another key", "--key-file"},
		gone + "," + nobody(t): {gone + ": connection refused; ", "does flip run there"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := remoteOf(t, keys, strings.Split(addr, ",")...).Status(ctx, false)
		cancel()
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.CodeNoDaemon || !strings.Contains(e.Message, tt.words) || !strings.Contains(e.Message, addr[:strings.IndexAny(addr+",", ",")]) || !strings.Contains(e.Hint, tt.hint) {
			t.Errorf("%s: %#v, want %q and %q", addr, err, tt.words, tt.hint)
		}
	}
}

// What was not answered in time is named, as far as it came.
func TestRemoteInTime(t *testing.T) {
	keys := must(t, clusterKeys)
	var asked atomic.Int64
	config := keys.Server(secure.Identity{Name: "n3", Instance: "i3"})
	hung := accepting(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		_, _ = conn.Read(make([]byte, 4096))
		asked.Add(1)
		_, _ = io.Copy(io.Discard, conn)
	})
	for _, addrs := range [][]string{{mutePort(t)}, {hung}, {nobody(t), hung}} {
		ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
		_, err := remoteOf(t, keys, addrs...).Status(ctx, false)
		cancel()
		for _, addr := range addrs {
			if api.CodeOf(err) != api.CodeNoDaemon || !strings.Contains(err.Error(), addr) {
				t.Errorf("%v does not name %s", err, addr)
			}
		}
	}
	if asked.Load() != 2 {
		t.Error("the one that hangs was not asked")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := remoteOf(t, keys, hung).Status(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// A change may have been made by one that does not answer.
	ctx, cancel = context.WithTimeout(context.Background(), 400*time.Millisecond)
	defer cancel()
	if _, err := remoteOf(t, keys, hung).Maintain(ctx, api.Maintain{On: true}); api.CodeOf(err) != api.CodeUncertain {
		t.Errorf("a change: %v", err)
	}
}

func TestRemoteWithoutAddresses(t *testing.T) {
	if _, err := remoteOf(t, must(t, clusterKeys)).Status(context.Background(), false); api.CodeOf(err) != api.CodeNoDaemon {
		t.Errorf("got %v", err)
	}
}

// tlsServer is a node whose TLS is altered.
func tlsServer(t *testing.T, keys *secure.Keys, alter func(*tls.Config)) string {
	config := keys.Server(secure.Identity{Name: "n3", Instance: "i3"})
	alter(config)
	return accepting(t, func(c net.Conn) { _, _ = tls.Server(c, config).Read(make([]byte, 1)) })
}

// selfSigned is a certificate of nobody's.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.flip.internal"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}
