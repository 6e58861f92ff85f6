package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// obeying holds each answer of a handler against the document.
func obeying(t *testing.T, h http.Handler) http.Handler {
	t.Helper()
	c := readContract(t)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		kind := rec.Header().Get("Content-Type")
		if err := c.answer(r.Method, r.URL.Path, rec.Code, kind, rec.Body.Bytes()); err != nil {
			t.Error(err)
		}
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

// whole is a server that has everything.
func whole(w *writable) LocalConfig {
	text := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, "flip_up 1\n")
	})
	return LocalConfig{Log: zerolog.Nop(), Node: w, Status: w, Verifier: w, Proposer: w, Metrics: text, Doctor: fakeDoctor{}, Version: api.Version{Version: "1"}, Hub: NewHub(w), Keys: fakeKeys{}, Programs: fakePrograms{}}
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	h := NewLocal(whole(&writable{world: newWorld(t)})).http.Handler
	c := readContract(t)
	for path, method := range h.(*mux).methods {
		if _, ok := c.Paths[path][strings.ToLower(method)]; !ok {
			kinds := "answer: T{}, fails: asking"
			if method == http.MethodPost {
				kinds = "body: T{}, answer: U{}, fails: changes"
			}
			t.Errorf("the server takes %s %s, which the document does not have. Write\n\t{\n\t\tmethod: http.Method%s, path: Path…, name: \"…\", summary: \"…\",\n\t\t%s,\n\t},\n%s",
				method, path, method[:1]+strings.ToLower(method[1:]), kinds, addRoute)
		}
	}
	for path, ops := range c.Paths {
		for method := range ops {
			if !strings.EqualFold(h.(*mux).methods[path], method) {
				t.Errorf("the document has %s %s, which the server does not take: %s", strings.ToUpper(method), path, strings.Replace(addRoute, "add it to", "take it out of", 1))
			}
		}
	}
}

// Changed is for those who watch: nothing changes while they do.
func (w *writable) Changed(fsm.Index) <-chan struct{} { return nil }

// ask is one request of a world, and the status of its answer.
type ask struct {
	in           func(*testing.T) *writable
	method, path string
	body         string
	status       int
}

func usual(t *testing.T) *writable { return &writable{world: running(t)} }

func leaderless(t *testing.T) *writable {
	return &writable{world: running(t), verify: api.NoLeader("nobody answers")}
}

func unsure(t *testing.T) *writable {
	return &writable{world: running(t), err: &api.Error{Code: api.CodeUncertain, Message: "the leader has gone"}}
}

func failing(err error) func(*testing.T) *writable {
	return func(t *testing.T) *writable { return &writable{world: running(t), err: err} }
}

// empty has seen nothing of a log yet.
func empty(t *testing.T) *writable { return &writable{world: &world{t: t, s: fsm.New()}} }

// unserved has systems that no server of the configuration serves.
func unserved(t *testing.T) *writable {
	w := &writable{world: newWorld(t)}
	bare := spec()
	for name, server := range bare.Servers {
		server.Systems = nil
		bare.Servers[name] = server
	}
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: bare})
	return w
}

func broken(t *testing.T) *writable {
	w := blocked(t)
	w.fail("n2", "ip", "b", "exit status 8")
	w.do(fsm.Maintain{System: "ip", On: true, At: 1})
	return w
}

// asks has each path answered well, in several worlds where its answer varies, and
// badly where it can be.
var asks = []ask{
	{usual, "GET", api.PathStatus, "", 200},
	{empty, "GET", api.PathStatus, "", 200},
	{broken, "GET", api.PathStatus, "", 200},
	{unserved, "GET", api.PathStatus, "", 200},
	{unserved, "GET", api.PathAssign, "", 200},
	{leaderless, "GET", api.PathStatus + "?consistent", "", 503},
	{usual, "GET", api.PathAssign, "", 200},
	{empty, "GET", api.PathAssign, "", 200},
	{broken, "GET", api.PathAssign + "?system=one", "", 200},
	{usual, "GET", api.PathAssign + "?system=web", "", 404},
	{leaderless, "GET", api.PathAssign + "?consistent", "", 503},
	{usual, "GET", api.PathRoute + "?system=ip&key=a", "", 200},
	{broken, "GET", api.PathRoute + "?system=one&key=x", "", 200},
	{usual, "GET", api.PathRoute + "?system=log&key=l", "", 200},
	{ringed, "GET", api.PathRoute + "?system=ring&key=", "", 200},
	{ringed, "GET", api.PathRoute + "?system=vip&key=web", "", 200},
	{usual, "GET", api.PathRoute + "?system=ip&key=z", "", 404},
	{usual, "GET", api.PathRoute + "?system=web&key=z", "", 404},
	{usual, "GET", api.PathRoute + "?system=ip", "", 400},
	{leaderless, "GET", api.PathRoute + "?system=ip&key=a&consistent", "", 503},
	{usual, "GET", api.PathRouteTable + "?system=ip", "", 200},
	{ringed, "GET", api.PathRouteTable + "?system=ring", "", 200},
	{ringed, "GET", api.PathRouteTable + "?system=vip", "", 200},
	{usual, "GET", api.PathRouteTable + "?system=web", "", 404},
	{usual, "GET", api.PathRouteTable, "", 400},
	{usual, "GET", api.PathState, "", 200},
	{leaderless, "GET", api.PathState + "?consistent", "", 503},
	{usual, "GET", api.PathWatch + "?from=now&beat_ms=100", "", 200},
	{usual, "GET", api.PathWatch + "?beat_ms=1", "", 400},
	{usual, "GET", api.PathVersion, "", 200},
	{usual, "GET", api.PathHealth, "", 200},
	{empty, "GET", api.PathDoctor, "", 200},
	{usual, "GET", api.PathOpenAPI, "", 200},
	{usual, "GET", PathMetrics, "", 200},
	{usual, "GET", api.PathWatch, "", 200},
	{broken, "GET", api.PathWatch + "?from=now", "", 200},
	{usual, "GET", api.PathWatch + "?index=x", "", 400},
	{usual, "GET", api.PathWatch + "?system=web", "", 404},
	{usual, "GET", api.PathMembers, "", 200},
	{empty, "GET", api.PathMembers, "", 200},
	{broken, "GET", api.PathMembers, "", 200},
	{leaderless, "GET", api.PathMembers + "?consistent", "", 503},
	{usual, "POST", api.PathMemberAdd, `{"name":"n4","addr":"127.0.0.1:2204"}`, 200},
	{usual, "POST", api.PathMemberAdd, `{"name":"n4","addr":"127.0.0.1:2204","systems":["web"]}`, 404},
	{usual, "POST", api.PathMemberAdd, `{"name":"n4"}`, 400},
	{usual, "POST", api.PathMemberRemove, `{"name":"n1"}`, 200},
	{usual, "POST", api.PathMemberRemove, `{"name":"n9"}`, 404},
	{empty, "POST", api.PathMemberRemove, `{"name":"n9"}`, 409},
	{usual, "POST", api.PathMemberPromote, `{"name":"n1"}`, 200},
	{usual, "POST", api.PathMemberPromote, `{"name":"n9"}`, 404},
	{usual, "POST", api.PathMemberPromote, `{}`, 400},
	{usual, "POST", api.PathMemberDemote, `{"name":"n1"}`, 200},
	{usual, "POST", api.PathMemberDemote, `{"name":"n3"}`, 409},
	{usual, "POST", api.PathMemberDemote, `{"name":"n9"}`, 404},
	{usual, "GET", api.PathKey, "", 200},
	{rotating, "GET", api.PathKey + "?secret", "", 200},
	{leaderless, "GET", api.PathKey + "?consistent", "", 503},
	{usual, "POST", api.PathKeyRotate, `{}`, 200},
	{rotating, "POST", api.PathKeyRotate, `{"without":["n3"]}`, 200},
	{rotating, "POST", api.PathKeyRotate, `{}`, 409},
	{usual, "POST", api.PathKeyRotate, `{"without":["n9"]}`, 404},
	{broken, "POST", api.PathCleanup, `{}`, 200},
	{usual, "POST", api.PathCleanup, `{}`, 200},
	{usual, "POST", api.PathCleanup, `{"system":"web"}`, 404},
	{usual, "POST", api.PathCleanup, `{"all":true}`, 400},
	{usual, "POST", api.PathCleanup, `{"item":"` + strings.Repeat("x", api.MaxWrite) + `"}`, 413},
	{leaderless, "POST", api.PathCleanup, `{}`, 503},
	{unsure, "POST", api.PathCleanup, `{}`, 504},
	{failing(context.DeadlineExceeded), "POST", api.PathCleanup, `{}`, 504},
	{failing(context.Canceled), "POST", api.PathCleanup, `{}`, 503},
	{failing(errors.New("disk on fire")), "POST", api.PathCleanup, `{}`, 500},
	{usual, "POST", api.PathMaintenance, `{"system":"ip","on":true}`, 200},
	{usual, "POST", api.PathMaintenance, `{"on":false}`, 200},
	{usual, "POST", api.PathMaintenance, `{"system":"web","on":true}`, 404},
	{blocked, "POST", api.PathRelease, "", 200}, // its body is made there
	{usual, "POST", api.PathRelease, `{"system":"one","item":"x","claims":[{"member":"n1","epoch":1,"token":1}]}`, 409},
	{usual, "POST", api.PathProgram, `{"system":"jobs","session":"a","seq":2,"items":[{"item":"x","rank":1,"token":7,"seq":2,"taken":true,"told":3}]}`, 200},
	{usual, "POST", api.PathProgram, `{"system":"jobs","session":"taken"}`, 409},
	{usual, "POST", api.PathProgram, `{"system":"jobs"}`, 400},
	{usual, "POST", api.PathProgramAck, `{"session":"a","seqs":[1,2],"gone":[{"item":"x","seq":1,"token":7}],"leave":true}`, 200},
	{usual, "POST", api.PathProgramAck, `{"session":"b"}`, 404},
	{usual, "GET", "/v1/nonsense", "", 404},
	{usual, "DELETE", api.PathStatus, "", 405},
}

// heard is an answer as it came over a socket.
type heard struct {
	ask
	kind string
	body []byte
}

func (h heard) held(c *contract, body []byte) error {
	path, _, _ := strings.Cut(h.path, "?")
	return c.answer(h.method, path, h.status, h.kind, body)
}

// put asks a server over a unix socket of its own.
func put(t *testing.T, a ask) heard {
	t.Helper()
	w := a.in(t)
	l, err := ListenUnix(filepath.Join(t.TempDir(), "n.sock"))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, NewLocal(whole(w)), l)
	defer func() { _ = stop() }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
	}}
	defer tr.CloseIdleConnections()
	if a.path == api.PathRelease && a.body == "" {
		body, _ := json.Marshal(api.Release{System: "one", Item: "x", Claims: api.Blocking([]api.Row{w.row("one", "x")})})
		a.body = string(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), a.method, "http://flip"+a.path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body []byte
	if resp.Header.Get("Content-Type") == "application/x-ndjson" { // it has no end
		body, err = bufio.NewReader(resp.Body).ReadBytes('\n')
	} else {
		body, err = io.ReadAll(resp.Body)
	}
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != a.status {
		t.Errorf("%s %s %.60s: %d %s, want %d", a.method, a.path, a.body, resp.StatusCode, body, a.status)
	}
	return heard{a, resp.Header.Get("Content-Type"), body}
}

func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	c := readContract(t)
	asked := map[string]bool{}
	for _, a := range asks {
		h := put(t, a)
		path, _, _ := strings.Cut(h.path, "?")
		if err := h.held(c, h.body); err != nil {
			t.Error(err)
		}
		if h.status < 300 {
			asked[h.method+" "+path] = true
			if sent := c.Paths[path][strings.ToLower(h.method)].RequestBody; sent != nil {
				if err := c.holds(sent.Content["application/json"].Schema, []byte(h.ask.body)); err != nil {
					t.Errorf("%s %s takes %s, which the document does not allow: %v", h.method, path, h.ask.body, err)
				}
			}
		}
	}
	for path, ops := range c.Paths {
		for method := range ops {
			if name := strings.ToUpper(method) + " " + path; !asked[name] {
				t.Errorf("nothing here has %s answered well: add to asks in api/server/openapi_test.go\n\t{usual, %q, %q, `…`, 200},", name, strings.ToUpper(method), path)
			}
		}
	}
}

// The reader of JSON Schema finds what it is to find.
func TestContractChecks(t *testing.T) {
	c := &contract{}
	if err := json.Unmarshal([]byte(`{"components":{"schemas":{
		"A":{"type":"object","properties":{"n":{"type":"integer","minimum":0},"s":{"type":"string","enum":["x","y"]},"l":{"type":"array","items":{"type":"number"},"minItems":2,"maxItems":2}},"required":["n"]},
		"B":{"allOf":[{"$ref":"#/components/schemas/A"},{"type":"object","properties":{"s":{"enum":["x"]}}}]},
		"C":{"anyOf":[{"$ref":"#/components/schemas/A"},{"type":"object","properties":{"m":{"type":"object","additionalProperties":{"type":"boolean"}}},"required":["m"]}]},
		"D":{"type":"string","pattern":"x"},
		"E":{"$ref":"#/components/schemas/Z"}}}}`), c); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, bad string }{
		{"A", `{"n":0,"s":"y","l":[1,2.5]}`, ""},
		{"A", `{}`, "has no n"},
		{"A", `{"n":-1}`, "negative"},
		{"A", `{"n":1.5}`, "number, not integer"},
		{"A", `{"n":"1"}`, "string, not integer"},
		{"A", `{"n":null}`, "null, not integer"},
		{"A", `{"n":1,"s":"z"}`, "enum"},
		{"A", `{"n":1,"l":[1]}`, "1 elements"},
		{"A", `{"n":1,"l":[1,"2"]}`, "answer.l[1]"},
		{"A", `{"n":1,"m":1}`, "no such field"},
		{"A", `{"n":1} {}`, "more than one"},
		{"A", `[]`, "array, not object"},
		{"B", `{"n":1,"s":"x"}`, ""},
		{"B", `{"n":1,"s":"y"}`, "enum"},
		{"B", `{"n":1,"m":1}`, "no such field"},
		{"C", `{"m":{"any":true}}`, ""},
		{"C", `{"m":{"any":1}}`, "boolean"},
		{"C", `{"n":1,"m":{}}`, "no such field"},
		{"D", `"x"`, "keyword pattern"},
		{"E", `{}`, "no #/components/schemas/Z"},
	} {
		err := c.holds(c.Components.Schemas[tt.name], []byte(tt.text))
		if (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%s of %s: %v, want %q", tt.name, tt.text, err, tt.bad)
		}
	}
}
