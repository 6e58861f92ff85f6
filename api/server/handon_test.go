package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// voters answers what an agent hands on, by way of another server's handler.
type voters struct {
	handler http.Handler
	err     error
	asked   []string
}

func (v *voters) Pass(ctx context.Context, req *http.Request, body []byte) (*http.Response, error) {
	v.asked = append(v.asked, req.Method+" "+req.URL.RequestURI()+" "+string(body))
	if v.err != nil {
		return nil, v.err
	}
	w := httptest.NewRecorder()
	out := httptest.NewRequest(req.Method, req.URL.RequestURI(), strings.NewReader(string(body)))
	v.handler.ServeHTTP(w, out.WithContext(ctx))
	return w.Result(), nil
}

func agentHandler(v *voters, f *fakeNode) http.Handler {
	return NewLocal(LocalConfig{Log: zerolog.Nop(), Node: f, Status: f, Elsewhere: v, Version: api.Version{Version: "agent"}}).http.Handler
}

func answerOf(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func TestAnAgentHandsOnWhatIsNotAboutItself(t *testing.T) {
	voter := &fakeNode{state: fsm.New(), at: 9, status: api.Status{Stamp: api.Stamp{Index: 9}, Node: api.Node{ID: "n1", Phase: "the voter's"}}}
	mine := &fakeNode{state: fsm.New(), at: 5, status: api.Status{Stamp: api.Stamp{Index: 5}, Partial: true, Node: api.Node{ID: "a1", Phase: "the agent's", Ready: true}}}
	v := &voters{handler: localHandler(voter)}
	h := agentHandler(v, mine)
	tests := []struct {
		method, path, body string
		status             int
		has, asks          string // asks: "" of what it answers itself
	}{
		{"GET", "/v1/version", "", 200, `"version":"agent"`, ""},
		{"GET", "/v1/health", "", 200, `"phase":"the agent's"`, ""},
		{"GET", "/v1/openapi.json", "", 200, `"openapi"`, ""},
		{"GET", "/v1/assign?system=x", "", 404, `no system x`, "GET /v1/assign?system=x "},
		{"GET", "/v1/assign", "", 200, `"index":9`, "GET /v1/assign "},
		{"GET", "/v1/route?system=x&key=k", "", 404, `no system x`, "GET /v1/route?system=x&key=k "},
		{"GET", "/v1/state", "", 200, "flip-fsm", "GET /v1/state "},
		{"GET", "/v1/status", "", 200, `"phase":"the agent's"`, "GET /v1/status "},
		{"GET", "/v1/status?consistent", "", 200, `"index":9`, "GET /v1/status?consistent "},
		{"POST", "/v1/failures/cleanup", `{"system":"x"}`, 404, `no system x`, `POST /v1/failures/cleanup {"system":"x"}`},
		{"POST", "/v1/status", "", 405, `"code":"method_not_allowed"`, "POST /v1/status "},
		{"GET", "/v1/of/a/newer/flip", "", 404, `"code":"not_found"`, "GET /v1/of/a/newer/flip "},
	}
	for _, tt := range tests {
		v.asked = nil
		w := answerOf(h, tt.method, tt.path, tt.body)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.has) || strings.Join(v.asked, ",") != tt.asks {
			t.Errorf("%s %s: %d %s, asked %q", tt.method, tt.path, w.Code, w.Body, v.asked)
		}
	}

	// A State's index comes along.
	if w := answerOf(h, "GET", "/v1/state", ""); w.Header().Get(api.HeaderIndex) != "9" {
		t.Errorf("headers %v", w.Header())
	}

	// What was handed on once is not handed on again.
	req := httptest.NewRequest("GET", "/v1/assign", nil)
	req.Header.Set(api.HandedOnBy, "a2")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != 503 || !strings.Contains(w.Body.String(), "a2 asks this node, which is an agent itself") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAnAgentWithoutVotersSaysWhatItKnows(t *testing.T) {
	mine := &fakeNode{state: fsm.New(), at: 5, status: api.Status{Stamp: api.Stamp{Index: 5}, Partial: true, Node: api.Node{ID: "a1"}}}
	v := &voters{err: &api.Error{Code: api.CodeNoLeader, Message: "no voter answers: n1: silent", Hint: "look"}}
	h := agentHandler(v, mine)
	var st api.Status
	w := answerOf(h, "GET", "/v1/status", "")
	if err := json.Unmarshal(w.Body.Bytes(), &st); err != nil || w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !st.Partial || st.Node.ID != "a1" || len(st.Alarms) != 1 || st.Alarms[0].Severity != api.Critical || !strings.Contains(st.Alarms[0].What, "n1: silent") {
		t.Errorf("%+v", st)
	}
	for _, path := range []string{"/v1/status?consistent", "/v1/assign", "/v1/members"} {
		if w := answerOf(h, "GET", path, ""); w.Code != 503 || !strings.Contains(w.Body.String(), `"hint":"look"`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// What an agent says of the key is the cluster's, but for what it goes by itself.
func TestAnAgentsKey(t *testing.T) {
	v := &voters{handler: NewLocal(keyConfig(rotating(t))).http.Handler}
	mine := &fakeNode{state: fsm.New(), at: 5}
	h := NewLocal(LocalConfig{Log: zerolog.Nop(), Node: mine, Status: mine, Elsewhere: v, Keys: fakeKeys{}}).http.Handler
	var k api.Key
	answer := answerOf(h, "GET", "/v1/key?secret", "")
	if err := json.Unmarshal(answer.Body.Bytes(), &k); err != nil || k.Key != "the key itself" || k.Phase == 0 || strings.Join(v.asked, ",") != "GET /v1/key " {
		t.Errorf("%d %s, asked %q", answer.Code, answer.Body, v.asked)
	}
	v.err = api.NoLeader("nobody")
	if answer := answerOf(h, "GET", "/v1/key?secret", ""); answer.Code != 200 || !strings.Contains(answer.Body.String(), "the key itself") {
		t.Errorf("without a voter: %d %s", answer.Code, answer.Body)
	}
	if answer := answerOf(h, "GET", "/v1/key?consistent", ""); answer.Code != 503 {
		t.Errorf("certainly, without a voter: %d %s", answer.Code, answer.Body)
	}
}

func TestJoined(t *testing.T) {
	heard, other := int64(7), int64(8)
	theirs := api.Status{
		Stamp: api.Stamp{Index: 9, Leader: "n1"}, Node: api.Node{ID: "n1", Phase: "theirs"},
		Members: []api.Member{
			{Name: "a1", State: api.MemberUp, HeardMS: &heard},
			{Name: "n1", State: api.MemberUp, TCP: api.Finding{Code: api.FindSelf}},
			{Name: "n2", State: api.MemberDown, TCP: api.Finding{Code: api.FindRefused}, HeardMS: &heard},
		},
		Differences: []string{"their file"},
		Alarms: []api.Alarm{
			{Severity: api.Warning, What: "n2 is down"}, {Severity: api.Note, What: "their guard", Node: "n1"},
		},
	}
	mine := api.Status{
		Partial: true, Stamp: api.Stamp{Index: 8}, Node: api.Node{ID: "a1", Phase: "mine"},
		Members: []api.Member{
			{Name: "a1", State: api.MemberUp, TCP: api.Finding{Code: api.FindSelf}},
			{Name: "n1", State: api.MemberUnknown, UDP: api.Finding{Code: api.FindOK}, HeardMS: &other},
		},
		Alarms: []api.Alarm{{Severity: api.Critical, What: "my items", Node: "a1"}, {Severity: api.Critical, What: "of my part"}},
	}
	got := Joined(theirs, mine)
	if got.Partial || got.Node.Phase != "mine" || got.Index != 9 || len(got.Differences) != 0 {
		t.Errorf("%+v", got)
	}
	if m := got.Members; len(m) != 3 || m[0].TCP.Code != api.FindSelf || m[0].HeardMS != nil ||
		m[1].State != api.MemberUp || m[1].UDP.Code != api.FindOK || *m[1].HeardMS != 8 || m[1].TCP.Code != "" ||
		m[2].State != api.MemberDown || m[2].TCP.Code != "" || m[2].HeardMS != nil {
		t.Errorf("%+v", m)
	}
	if a := got.Alarms; len(a) != 2 || a[0].What != "my items" || a[1].What != "n2 is down" {
		t.Errorf("%+v", a)
	}
	if len(theirs.Members) != 3 || theirs.Members[2].TCP.Code != api.FindRefused {
		t.Error("what was given is changed")
	}
}

func TestATurningServer(t *testing.T) {
	s := NewTurning(zerolog.Nop())
	if w := answerOf(s.http.Handler, "GET", "/v1/version", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "starting") {
		t.Errorf("before its first turn: %d %s", w.Code, w.Body)
	}
	reader, writer := io.Pipe()
	first := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = writer.Write([]byte("in"))
		<-r.Context().Done() // a stream without an end
	}), zerolog.Nop())
	ctx, cut := context.WithCancel(t.Context())
	s.Turn(ctx, first)
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerOf(s.http.Handler, "GET", "/", "")
	}()
	if _, err := io.ReadFull(reader, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	s.Turn(t.Context(), newServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }), zerolog.Nop()))
	if w := answerOf(s.http.Handler, "GET", "/", ""); w.Code != 204 {
		t.Errorf("after its turn: %d", w.Code)
	}
	select {
	case <-done:
		t.Error("it ended before its time")
	default:
	}
	cut()
	<-done
}
