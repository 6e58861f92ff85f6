package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type node struct{ calls atomic.Int64 }

func (*node) View() (*fsm.State, fsm.Index)  { return fsm.New(), 9 }
func (*node) Leader() (fsm.MemberID, string) { return "n9", "127.0.0.1:9" }
func (*node) Status() api.Status {
	return api.Status{Stamp: api.Stamp{Index: 9, Leader: "n9"}, Node: api.Node{ID: "n1"}}
}
func (*node) Verify(context.Context) error { return api.NoLeader("nobody answers") }
func (*node) Hello(h api.Hello) api.Hello  { return api.Hello{Name: "n2", Instance: h.Instance + "!"} }

func (n *node) Propose(_ context.Context, c fsm.Command) (fsm.Result, error) {
	n.calls.Add(1)
	if force, ok := c.(fsm.Force); ok {
		return fsm.Result{Why: "no entry of " + string(force.Claims[0].Member)}, nil
	}
	return fsm.Result{Applied: true}, nil
}

func (n *node) ProposeBytes(_ context.Context, b []byte) (fsm.Result, error) {
	n.calls.Add(1)
	if string(b) == "elsewhere" {
		return fsm.Result{}, api.NotLeader("x", "x:1")
	}
	return fsm.Result{Applied: true, Why: string(b), Epoch: 4}, nil
}

// serve runs a server until the test ends.
func serve(t testing.TB, s *server.Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
}

func local(t *testing.T) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n1.sock")
	l, err := server.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{}
	serve(t, server.NewLocal(server.LocalConfig{Log: zerolog.Nop(), Node: n, Status: n, Verifier: n, Version: api.Version{Version: "7"}}), l)
	c := New(path)
	t.Cleanup(c.Close)
	return c
}

func TestClientReads(t *testing.T) {
	c, ctx := local(t), context.Background()
	st, err := c.Status(ctx, false)
	if err != nil || st.Node.ID != "n1" || st.Index != 9 {
		t.Errorf("status %+v, %v", st, err)
	}
	as, err := c.Assign(ctx, "", false)
	if err != nil || as.Index != 9 || as.Rows == nil {
		t.Errorf("assign %+v, %v", as, err)
	}
	var raw api.Assign
	stamp, err := c.Get(ctx, api.PathAssign, &raw)
	if err != nil || stamp.Index != 9 || stamp.Leader != "n9" {
		t.Errorf("stamp %+v, %v", stamp, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Version != "7" {
		t.Errorf("version %+v, %v", v, err)
	}
}

func TestClientWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.sock")
	l, err := server.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{}
	serve(t, server.NewLocal(server.LocalConfig{Log: zerolog.Nop(), Node: n, Status: n, Proposer: n}), l)
	c, ctx := New(path), context.Background()
	t.Cleanup(c.Close)
	cleaned, err := c.Cleanup(ctx, api.Cleanup{})
	if err != nil || cleaned.Index != 9 || cleaned.Forgotten == nil {
		t.Errorf("cleanup %+v, %v", cleaned, err)
	}
	maintained, err := c.Maintain(ctx, api.Maintain{On: true})
	if err != nil || maintained.Index != 9 || maintained.Maintenance == nil {
		t.Errorf("maintain %+v, %v", maintained, err)
	}
	if got := n.calls.Load(); got != 2 {
		t.Errorf("%d commands", got)
	}
	var e *api.Error
	if _, err = c.Maintain(ctx, api.Maintain{System: "web", On: true}); !errors.As(err, &e) || e.Code != api.CodeNotFound || e.Hint == "" {
		t.Errorf("unknown: %v", err)
	}
	if _, err = c.Release(ctx, api.Release{System: "db", Item: "x"}); api.CodeOf(err) != api.CodeBadRequest {
		t.Errorf("names nothing: %v", err)
	}
	if _, err = c.Release(ctx, api.Release{System: "db", Item: "x", Claims: []api.Claim{{Member: "n1"}}}); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("no such item: %v", err)
	}
}

func TestClientDecodesErrors(t *testing.T) {
	c, ctx := local(t), context.Background()
	_, err := c.Assign(ctx, "a b&c", false)
	if api.CodeOf(err) != api.CodeNotFound || !strings.Contains(err.Error(), "a b&c") {
		t.Errorf("unknown system: %v", err)
	}
	if _, err := c.Status(ctx, true); api.CodeOf(err) != api.CodeNoLeader {
		t.Errorf("consistent: %v", err)
	}
	if err := c.Do(ctx, http.MethodPost, api.PathStatus, map[string]int{"x": 1}, nil); api.CodeOf(err) != api.CodeMethod {
		t.Errorf("post: %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, hint := range map[string]string{
		filepath.Join(dir, "none.sock"): "start it",
		stale:                           "left its socket behind",
		file:                            "left its socket behind",
		"/" + strings.Repeat("x", 200):  "invalid argument",
	} {
		c := New(path)
		_, err := c.Status(context.Background(), false)
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.CodeNoDaemon || !strings.Contains(e.Message, path) || !strings.Contains(e.Hint, hint) {
			t.Errorf("%s: %+v, want no_daemon with hint %q", path, err, hint)
		}
		c.Close()
	}
}

// mute accepts and never answers.
func mute(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, c)
		}
		for _, c := range held {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
}

func TestADaemonThatDoesNotAnswerInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.sock")
	mute(t, path)
	c := New(path)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx, false); api.CodeOf(err) != api.CodeNoDaemon || !strings.Contains(err.Error(), "in time") {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if _, err := c.Status(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAnotherProgramAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	c := New(path)
	defer c.Close()
	if _, err := c.Status(context.Background(), false); api.CodeOf(err) != api.CodeInternal || !strings.Contains(err.Error(), "not flip's") {
		t.Errorf("got %v", err)
	}
}

// counted counts the connections that a listener hands out.
type counted struct {
	net.Listener
	n *atomic.Int64
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// Deriving is slow on purpose; once for each key is enough.
var (
	clusterKeys = sync.OnceValues(func() (*secure.Keys, error) { return secure.Derive([]byte("a key for a test that is long enough")) })
	otherKeys   = sync.OnceValues(func() (*secure.Keys, error) { return secure.Derive([]byte("another key, long enough for a test")) })
)

func must(t testing.TB, derive func() (*secure.Keys, error)) *secure.Keys {
	t.Helper()
	keys, err := derive()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// member is a node n2/i2 that serves members over TLS, as the program wires it.
func member(t *testing.T) (addr string, n *node, conns *atomic.Int64, keys *secure.Keys) {
	t.Helper()
	keys = must(t, clusterKeys)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := secure.Listen(inner, keys.Server(secure.Identity{Name: "n2", Instance: "i2"}), zerolog.Nop())
	n, conns = &node{}, &atomic.Int64{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- port.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("port: %v", err)
		}
	})
	serve(t, server.NewMembers(server.MembersConfig{
		Log: zerolog.Nop(), Node: n, Peer: n,
		Identify: func(c net.Conn) (fsm.MemberID, error) {
			id, err := secure.PeerOf(c)
			return id.Name, err
		},
	}), counted{port.HTTP(), conns})
	return inner.Addr().String(), n, conns, keys
}

func peersOf(t *testing.T, keys *secure.Keys) *Peers {
	self := secure.Identity{Name: "n1", Instance: "i1"}
	p := NewPeers(func(to Target) *tls.Config {
		return keys.Client(self, secure.Identity{Name: to.Name, Instance: to.Instance}, secure.ProtoHTTP)
	})
	t.Cleanup(p.Close)
	return p
}

func TestPeers(t *testing.T) {
	addr, n, conns, keys := member(t)
	p, ctx := peersOf(t, keys), context.Background()
	to := Target{Addr: addr, Name: "n2", Instance: "i2"}
	h, err := p.Hello(ctx, to, api.Hello{Name: "n1", Instance: "i1"})
	if err != nil || h.Name != "n2" || h.Instance != "i1!" {
		t.Fatalf("hello %+v, %v", h, err)
	}
	if got := p.Newest(); got != 0 {
		t.Errorf("nothing proposed yet: %d", got)
	}
	for range 5 {
		res, err := p.Propose(ctx, to, []byte("cmd"))
		if err != nil || !res.Applied || res.Why != "cmd" || res.Epoch != 4 {
			t.Fatalf("propose %+v, %v", res, err)
		}
	}
	if got := p.Newest(); got != 9 {
		t.Errorf("the leader had read up to %d, want 9", got)
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("%d connections for 6 requests", got)
	}
	if _, err := p.Propose(ctx, to, []byte("elsewhere")); api.CodeOf(err) != api.CodeNotLeader || !strings.Contains(err.Error(), "the leader is n9 at 127.0.0.1:9") {
		t.Errorf("to a follower: %v", err)
	}
	if _, err := p.Hello(ctx, Target{Addr: addr, Name: "n2"}, api.Hello{Name: "n1"}); err != nil {
		t.Errorf("any instance: %v", err)
	}
	// The instance is part of who is meant: a connection to i2 is no way to i3.
	calls := n.calls.Load()
	_, err = p.Propose(ctx, Target{Addr: addr, Name: "n2", Instance: "i3"}, []byte("cmd"))
	var wrong *secure.WrongPeerError
	if !errors.As(err, &wrong) || n.calls.Load() != calls {
		t.Errorf("another instance: %v", err)
	}
	if _, err := p.Hello(ctx, to, api.Hello{Name: "n3"}); api.CodeOf(err) != api.CodeForbidden {
		t.Errorf("under another name: %v", err)
	}
}

// The refusal of a body that is too long arrives, although the body is not
// read to its end.
func TestPeersProposeTooMuch(t *testing.T) {
	addr, n, _, keys := member(t)
	_, err := peersOf(t, keys).Propose(context.Background(), Target{Addr: addr, Name: "n2"}, make([]byte, 3*api.MaxProposal))
	if api.CodeOf(err) != api.CodeTooLarge || n.calls.Load() != 0 {
		t.Errorf("got %v", err)
	}
}

func TestPeersWithAnotherKey(t *testing.T) {
	addr, n, _, _ := member(t)
	_, err := peersOf(t, must(t, otherKeys)).Propose(context.Background(), Target{Addr: addr, Name: "n2"}, []byte("cmd"))
	if err == nil || !secure.IsKeyMismatch(err) || n.calls.Load() != 0 {
		t.Errorf("got %v, %d calls", err, n.calls.Load())
	}
}

func TestPeersNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = peersOf(t, must(t, clusterKeys)).Hello(context.Background(), Target{Addr: addr, Name: "n2"}, api.Hello{Name: "n1"})
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" || !strings.Contains(err.Error(), "n2 at "+addr) || strings.Contains(err.Error(), "http:") {
		t.Errorf("got %v", err)
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("host:1", "n1", "i")
	f.Add("[::1]:1", "", "")
	f.Fuzz(func(t *testing.T, addr, name, instance string) {
		if strings.Contains(addr+name+instance, "\x00") {
			return
		}
		want := Target{Addr: addr, Name: fsm.MemberID(name), Instance: instance}
		if got, err := decodeTarget(encodeTarget(want)); err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	})
}
