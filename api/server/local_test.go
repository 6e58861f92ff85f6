package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode is every interface that the server reaches a node through.
type fakeNode struct {
	state   *fsm.State
	at      fsm.Index
	leader  fsm.MemberID
	status  api.Status
	verify  error
	propose func(context.Context, []byte) (fsm.Result, error)
	hello   api.Hello
}

func (f *fakeNode) View() (*fsm.State, fsm.Index)  { return f.state, f.at }
func (f *fakeNode) Leader() (fsm.MemberID, string) { return f.leader, "127.0.0.1:1" }
func (f *fakeNode) Status() api.Status             { return f.status }
func (f *fakeNode) Verify(context.Context) error   { return f.verify }
func (f *fakeNode) Hello(h api.Hello) api.Hello    { f.hello = h; return api.Hello{Name: "me"} }
func (f *fakeNode) ProposeBytes(ctx context.Context, b []byte) (fsm.Result, error) {
	return f.propose(ctx, b)
}

func localHandler(f *fakeNode) http.Handler {
	return NewLocal(LocalConfig{Log: zerolog.Nop(), Node: f, Status: f, Verifier: f, Version: api.Version{Version: "1"}}).http.Handler
}

func TestLocalRoutes(t *testing.T) {
	node := &fakeNode{state: fsm.New(), at: 7, status: api.Status{Stamp: api.Stamp{Leader: "n1", AgeMS: 5}, Node: api.Node{ID: "n2", Phase: "running", Ready: true}}}
	h := localHandler(node)
	tests := []struct {
		method, path string
		status       int
		has          string // in the body
	}{
		{"GET", "/v1/status", 200, `"phase":"running"`},
		{"GET", "/v1/assign", 200, `"index":7,"age_ms":5,"leader":"n1","members":[],"rows":[]`},
		{"GET", "/v1/assign?system=web", 404, `"code":"not_found","message":"no system web","hint":"the cluster is not founded yet`},
		{"GET", "/v1/version", 200, `"version":"1"`},
		{"GET", "/v1/health", 200, `"ready":true`},
		{"GET", "/v1/status?consistent", 200, `"phase"`},
		{"POST", "/v1/status", 405, `"code":"method_not_allowed"`},
		{"GET", "/v1/nonsense", 404, `"code":"not_found"`},
		{"GET", "/", 404, `"code":"not_found"`},
		{"POST", "/v1/peer/propose", 404, `"code":"not_found"`}, // members only
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.has) {
			t.Errorf("%s %s: %d %s, want %d with %s", tt.method, tt.path, w.Code, w.Body, tt.status, tt.has)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: content type %q", tt.method, tt.path, got)
		}
	}
	node.status.Node.Ready = false
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/v1/health", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"ready":false`) {
		t.Errorf("not ready: %d %s", w.Code, w.Body)
	}
}

func TestConsistentAsksTheLeader(t *testing.T) {
	node := &fakeNode{state: fsm.New(), verify: api.NoLeader("2 of 3 voters do not answer")}
	for _, path := range []string{"/v1/status", "/v1/assign"} {
		w := httptest.NewRecorder()
		localHandler(node).ServeHTTP(w, httptest.NewRequest("GET", path+"?consistent", nil))
		var e api.Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != 503 || e.Code != api.CodeNoLeader || e.Hint == "" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		w = httptest.NewRecorder()
		localHandler(node).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 {
			t.Errorf("%s without it: %d", path, w.Code)
		}
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{api.NotLeader("n1", "127.0.0.1:1"), 421, api.CodeNotLeader},
		{api.NotLeader("", ""), 503, api.CodeNoLeader},
		{context.DeadlineExceeded, 504, api.CodeTimeout},
		{context.Canceled, 503, api.CodeUnavailable},
		{&http.MaxBytesError{Limit: 1}, 413, api.CodeTooLarge},
		{errors.New("disk on fire"), 500, api.CodeInternal},
		{&api.Error{Code: "of tomorrow"}, 500, "of tomorrow"},
	}
	for _, tt := range tests {
		e := asError(errors.Join(tt.err)) // wrapped
		if e.Code != tt.code || e.Status() != tt.status {
			t.Errorf("%v: %s %d, want %s %d", tt.err, e.Code, e.Status(), tt.code, tt.status)
		}
	}
}

// run serves s until the test ends.
func run(t *testing.T, s *Server, l net.Listener) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return stop
}

func TestRunEndsRequestsThatWait(t *testing.T) {
	entered := make(chan struct{})
	node := &fakeNode{state: fsm.New(), propose: func(ctx context.Context, _ []byte) (fsm.Result, error) {
		close(entered)
		<-ctx.Done()
		return fsm.Result{}, ctx.Err()
	}}
	s := NewMembers(MembersConfig{Log: zerolog.Nop(), Node: node, Peer: node, Identify: func(net.Conn) (fsm.MemberID, error) { return "n1", nil }})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s, l)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	answered := make(chan int, 1)
	go func() {
		resp, err := (&http.Client{Transport: tr}).Post("http://"+l.Addr().String()+api.PathPropose, "", strings.NewReader("x"))
		if err != nil {
			answered <- 0
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-entered
	if err := stop(); err != nil {
		t.Errorf("run: %v", err)
	}
	if code := <-answered; code != http.StatusServiceUnavailable {
		t.Errorf("a request that waited got %d, want 503", code)
	}
}

func TestRunSaysThatItsListenerFailed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	s := NewLocal(LocalConfig{Log: zerolog.Nop()})
	if err := s.Run(context.Background(), l); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names %s", err, l.Addr())
	}
}

// When all ends, the listener may be closed by who made it before the server is
// told: no failure. Closed while it is to serve it is one, see above.
func TestRunEndsWithItsListener(t *testing.T) {
	for range 50 { // both ends race
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- NewMetrics(http.NotFoundHandler(), zerolog.Nop()).Run(ctx, l) }()
		cancel()
		_ = l.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "n1.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := ListenUnix(path); !errors.Is(err, ErrSocketBusy) || !strings.Contains(err.Error(), path) {
		t.Errorf("second daemon: %v, want ErrSocketBusy with the path", err)
	}
	if l.Addr().String() != path {
		t.Errorf("address %s", l.Addr())
	}
	_ = l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestListenUnixReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n1.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	// A successor takes the place before this one closes: it must be left alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	_ = l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
}

func TestListenUnixRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file.sock")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                               "no socket",
		filepath.Join(file, "n1.sock"):     "not a directory",
		"/tmp/" + strings.Repeat("x", 120): "at most 107",
	} {
		if l, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
			if l != nil {
				_ = l.Close()
			}
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("a file that is no socket was replaced")
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	if s := NewLocal(LocalConfig{Log: zerolog.Nop()}); s.http.ReadHeaderTimeout <= 0 || s.http.ReadHeaderTimeout > 10*time.Second || s.http.ReadTimeout <= 0 {
		t.Errorf("header timeout %v, read timeout %v", s.http.ReadHeaderTimeout, s.http.ReadTimeout)
	}
}

func TestMembersOnly(t *testing.T) {
	node := &fakeNode{state: fsm.New(), leader: "n9", propose: func(_ context.Context, b []byte) (fsm.Result, error) {
		if string(b) == "elsewhere" {
			return fsm.Result{}, api.NotLeader("old", "old:1")
		}
		return fsm.Result{Applied: true, Epoch: 5, Each: []fsm.Result{{Why: "no"}}}, nil
	}}
	who := fsm.MemberID("n1")
	var stranger error
	h := NewMembers(MembersConfig{Log: zerolog.Nop(), Node: node, Peer: node, Identify: func(net.Conn) (fsm.MemberID, error) { return who, stranger }}).http.Handler
	tests := []struct {
		name, path, body string
		stranger         error
		status           int
		has              string
	}{
		{"hello", api.PathHello, `{"name":"n1","hears":true}`, nil, 200, `"name":"me"`},
		{"hello of another", api.PathHello, `{"name":"n2"}`, nil, 403, `certificate is n1's`},
		{"hello that is no JSON", api.PathHello, `{"name":`, nil, 400, api.CodeBadRequest},
		{"two hellos", api.PathHello, `{"name":"n1"} {}`, nil, 400, `more than one`},
		{"hello with a bad digest", api.PathHello, `{"name":"n1","voters":"zz"}`, nil, 400, "digest"},
		{"hello too long", api.PathHello, `{"name":"` + strings.Repeat("x", maxHello) + `"}`, nil, 413, api.CodeTooLarge},
		{"propose", api.PathPropose, "cmd", nil, 200, `{"applied":true,"epoch":5,"each":[{"applied":false,"why":"no"}]}`},
		{"propose nothing", api.PathPropose, "", nil, 400, "empty"},
		{"propose too much", api.PathPropose, strings.Repeat("x", api.MaxProposal+1), nil, 413, api.CodeTooLarge},
		{"propose to a follower", api.PathPropose, "elsewhere", nil, 421, `the leader is n9 at`},
		{"a stranger proposes", api.PathPropose, "cmd", errors.New("no certificate"), 403, "members only"},
		{"a stranger says hello", api.PathHello, `{"name":"n1"}`, errors.New("no certificate"), 403, "members only"},
		{"status is not for members", api.PathStatus, "", nil, 404, api.CodeNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stranger = tt.stranger
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", tt.path, bytes.NewReader([]byte(tt.body))))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.has) {
				t.Errorf("%d %s, want %d with %s", w.Code, w.Body, tt.status, tt.has)
			}
		})
	}
}

func FuzzHello(f *testing.F) {
	f.Add([]byte(`{"name":"n1","wire":[1,1],"voters":"` + strings.Repeat("0", 64) + `"}`))
	f.Add([]byte(`{"name":"n1","voters":"zz"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		node := &fakeNode{state: fsm.New()}
		h := NewMembers(MembersConfig{Log: zerolog.Nop(), Node: node, Peer: node, Identify: func(net.Conn) (fsm.MemberID, error) { return "n1", nil }}).http.Handler
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", api.PathHello, bytes.NewReader(body)))
		if w.Code == 200 && node.hello.Name != "n1" {
			t.Errorf("taken in as %q", node.hello.Name)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer %q", w.Body)
		}
	})
}
