package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/secure"
)

// TestScripts runs testdata/script: command lines, what they print and how they
// exit, against a daemon that answers what the script says.
func TestScripts(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(bin, "flip")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("FLIP_UPDATE") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(asFlip, "1")
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": daemonCmd,
			"port":   portCmd,
			"nobody": nobodyCmd,
			"stale":  staleCmd,
			"exits":  exitsCmd,
			"agreed": agreedCmd,
		},
	})
}

// daemonCmd serves SOCKET with the answers of the files DIR/status.json and
// DIR/assign.json; an answer with a code is an error. With ?consistent it
// answers DIR/consistent.json if that is there, or of another path than status
// with a name of its own, DIR/assign-SYSTEM.json. What is sent to PATH it writes to
// DIR/PATH.sent.
func daemonCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: daemon SOCKET DIR")
	}
	path, dir := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	l, err := net.Listen("unix", path)
	ts.Check(err)
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: scripted(dir)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	ts.Defer(func() { _ = srv.Close(); <-done })
}

// scripted answers what the files in dir say.
func scripted(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/v1/") + ".json"
		if r.URL.Query().Has(api.Consistent) {
			name = "consistent.json"
		}
		switch sys := r.URL.Query().Get("system"); {
		case r.URL.Path == api.PathRoute:
			name = "route-" + r.URL.Query().Get("key") + ".json"
		case sys != "":
			name = "assign-" + sys + ".json"
		case r.URL.Path == api.PathState:
			name = "state.bin"
			w.Header().Set(api.HeaderIndex, "41")
			w.Header().Set(api.HeaderAge, "12")
		}
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			_ = os.WriteFile(filepath.Join(dir, strings.TrimSuffix(name, ".json")+".sent"), append(body, '\n'), 0o600)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			data, _ = json.Marshal(api.Error{Code: api.CodeNotFound, Message: "no " + name, Hint: "a hint"})
		}
		var e api.Error
		if json.Unmarshal(data, &e) == nil && e.Code != "" {
			w.WriteHeader(e.Status())
		}
		_, _ = w.Write(data)
	})
}

// bare hides from net/http that a connection is TLS, as api/server does.
type bare struct{ net.Listener }

func (b bare) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// portCmd serves operators, as daemon does a socket, on a port whose address the
// variable NAME then holds; KEYFILE has the node's key.
func portCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: port NAME DIR KEYFILE")
	}
	keys, err := secure.Derive([]byte(strings.TrimSpace(ts.ReadFile(args[2]))))
	ts.Check(err)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	port := secure.Listen(inner, keys.Server(secure.Identity{Name: "n1", Instance: "i1"}), zerolog.Nop())
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: scripted(ts.MkAbs(args[1]))}
	var running sync.WaitGroup
	running.Go(func() { _ = port.Run(context.Background()) })
	running.Go(func() { _ = srv.Serve(bare{port.API()}) })
	ts.Defer(func() { _ = srv.Close(); _ = port.Close(); running.Wait() })
	ts.Setenv(args[0], inner.Addr().String())
}

// nobodyCmd sets the variable NAME to an address at which nothing listens.
func nobodyCmd(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// staleCmd leaves a socket behind, as a daemon that was killed does.
func staleCmd(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0]), Net: "unix"})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

// exitsCmd runs flip and wants this very exit code: exits CODE ARG...
func exitsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	err := ts.Exec("sh", append([]string{"-c", `flip "$@"; code=$?; [ "$code" = "$0" ] || { echo "exit code $code, not $0" >&2; exit 1; }`}, args...)...)
	if err != nil {
		ts.Fatalf("flip %s: %v\n%s", strings.Join(args[1:], " "), err, ts.ReadFile("stderr"))
	}
}
