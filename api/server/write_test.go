package server

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// writable is a world that operators change through the unix socket's routes.
type writable struct {
	*world
	verify  error // of asking the leader
	err     error // of proposing
	between func()
}

func (w *writable) View() (*fsm.State, fsm.Index)  { return w.s, w.at }
func (w *writable) Leader() (fsm.MemberID, string) { return "n3", "127.0.0.1:2203" }
func (w *writable) Status() api.Status             { return w.status() }
func (w *writable) Verify(context.Context) error   { return w.verify }

func (w *writable) Propose(_ context.Context, c fsm.Command) (fsm.Result, error) {
	if w.err != nil {
		return fsm.Result{}, w.err
	}
	if w.between != nil {
		w.between()
	}
	w.at++
	next, res, err := w.s.Apply(w.at, fsm.Encode(c))
	w.s = next
	return res, err
}

// post sends a body and decodes the answer into `into`, or returns the error.
func (w *writable) post(path, body string, into any) (int, api.Error) {
	w.t.Helper()
	h := obeying(w.t, NewLocal(LocalConfig{Log: zerolog.Nop(), Node: w, Status: w, Verifier: w, Proposer: w}).http.Handler)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("POST", path, strings.NewReader(body)))
	var e api.Error
	if rec.Code >= 400 {
		into = &e
	}
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		w.t.Fatalf("%s: %v in %s", path, err, rec.Body)
	}
	return rec.Code, e
}

func (w *writable) fail(m fsm.MemberID, sys fsm.SystemID, item fsm.ItemID, why string) {
	w.t.Helper()
	slot, _ := w.s.Slot(fsm.Key{System: sys, Item: item})
	reg, _ := w.s.Member(m)
	w.do(fsm.Report{Member: m, Epoch: reg.Epoch, Failed: []fsm.Failure{{Key: slot.Key, Token: slot.Token, Err: why}}})
}

func TestCleanupForgets(t *testing.T) {
	for _, tt := range []struct {
		body string
		want string // what is forgotten
		code string
	}{
		{`{}`, "ip/a one/x ip/b", ""},
		{`{"system":"ip"}`, "ip/a ip/b", ""},
		{`{"system":"ip","item":"b"}`, "ip/b", ""},
		{`{"system":"log"}`, "", ""},
		{`{"system":"web"}`, "", api.CodeNotFound},
		{`{"system":"ip","item":"c"}`, "", api.CodeNotFound},
		{`{"item":"b"}`, "", api.CodeBadRequest},
		{`{"item_of":"ip"}`, "", api.CodeBadRequest}, // not: all
		{``, "", api.CodeBadRequest},
		{`{} {}`, "", api.CodeBadRequest},
		{`{"item":"` + strings.Repeat("x", api.MaxWrite) + `"}`, "", api.CodeTooLarge},
	} {
		w := &writable{world: running(t)}
		w.fail("n1", "ip", "a", "exit status 7")
		w.fail("n2", "ip", "b", "exit status 8")
		w.fail("n1", "one", "x", "exit status 9")
		before := w.at
		var out api.Cleaned
		_, e := w.post(api.PathCleanup, tt.body, &out)
		var got []string
		for _, f := range out.Forgotten {
			got = append(got, string(f.System)+"/"+string(f.Item))
		}
		if e.Code != tt.code || strings.Join(got, " ") != tt.want {
			t.Errorf("%.40s: %q, %+v; want %q, code %q", tt.body, got, e, tt.want, tt.code)
		}
		if left := len(w.status().Failures); left != 3-len(got) {
			t.Errorf("%.40s: %d failures left", tt.body, left)
		}
		if applied := e.Code == ""; applied != (w.at > before) || applied && out.Index != w.at || out.Forgotten == nil && applied {
			t.Errorf("%.40s: at %d, answered %+v", tt.body, w.at, out)
		}
		if (e.Code == api.CodeNotFound) != (e.Hint != "") {
			t.Errorf("%.40s: hint %q", tt.body, e.Hint)
		}
	}
}

func TestMaintainOnAndOff(t *testing.T) {
	w := &writable{world: running(t)}
	var out api.Maintained
	maintain := func(body, want string) {
		t.Helper()
		_, e := w.post(api.PathMaintenance, body, &out)
		var got []string
		for _, m := range out.Maintenance {
			got = append(got, string(m.System)+": "+m.Words)
			if m.SinceMS == 0 {
				t.Errorf("%s: since when?", m.System)
			}
		}
		if s := strings.Join(got, "; "); e.Code != "" || !strings.HasPrefix(s, want) || (want == "") != (s == "") || out.Index != w.at {
			t.Errorf("%s: %q at %d, %+v; want %q", body, s, out.Index, e, want)
		}
	}
	maintain(`{"system":"ip","on":true}`, "ip: nothing of system ip is moved or repaired since 20")
	maintain(`{"system":"ip","on":true}`, "ip: nothing of system ip")
	maintain(`{"on":true}`, ": nothing of any system is moved")
	st := w.status()
	if !st.Systems[0].Maintenance || !st.Systems[1].Maintenance {
		t.Errorf("all of it: %+v", st.Systems)
	}
	wantAlarm(t, st, api.Note, "maintenance: nothing of any system is moved or repaired since 20", "`flip maintenance off` when")
	wantAlarm(t, st, api.Note, "maintenance: nothing of system ip is", "`flip maintenance off ip` when")
	if as := Assignments(w.s, api.Stamp{}, "one"); len(as.Maintenance) != 1 || as.Maintenance[0].System != "" {
		t.Errorf("of one: %+v", as.Maintenance)
	}
	maintain(`{}`, "ip: nothing")
	if st := w.status(); !st.Systems[0].Maintenance || st.Systems[1].Maintenance {
		t.Errorf("ip alone: %+v", st.Systems)
	}
	maintain(`{"system":"ip"}`, "")
	if _, e := w.post(api.PathMaintenance, `{"system":"web","on":true}`, nil); e.Code != api.CodeNotFound || !strings.Contains(e.Hint, "ip, log, one") {
		t.Errorf("%+v", e)
	}
}

// While nothing is moved no failover is possible, and a monitoring system is
// told so; it is no failure of its own.
func TestMaintenanceIsNoFailoverAndNoFailure(t *testing.T) {
	w := &writable{world: withoutOne(t)}
	if code, reasons := w.status().Check(); code != api.CheckOK {
		t.Fatalf("%d %q", code, reasons)
	}
	w.do(fsm.Maintain{System: "ip", On: true, At: 1})
	st := w.status()
	if code, reasons := st.Check(); code != api.CheckDegraded || !slices.Equal(reasons, []string{"failover impossible"}) {
		t.Errorf("%d %q", code, reasons)
	}
	if why := st.Cluster.Failover.Why; !slices.Equal(why, []string{"system ip is under maintenance: nothing of it is moved"}) {
		t.Errorf("%q", why)
	}
	if len(st.Alarms) != 1 {
		t.Errorf("said once: %+v", st.Alarms)
	}
	w.down("n1")
	if r := w.row("ip", "a"); r.State != api.RowWaiting || !strings.Contains(r.Why, "under maintenance nothing is moved") || !strings.Contains(r.Do, "`flip maintenance off ip`") {
		t.Errorf("%+v", r)
	}
}

// blocked has one/x of n2 wait for n1, which is down.
func blocked(t *testing.T) *writable {
	w := &writable{world: running(t)}
	slot, _ := w.s.Slot(fsm.Key{System: "one", Item: "x"})
	w.down("n1", fsm.Move{Key: slot.Key, Was: slot.Token, To: "n2"})
	return w
}

func TestReleaseVoidsWhatItNames(t *testing.T) {
	w := blocked(t)
	row := w.row("one", "x")
	claims := api.Blocking([]api.Row{row})
	if len(claims) != 1 || claims[0].Member != "n1" || row.State != api.RowWaiting || !strings.Contains(row.Do, "`flip item release one x --force`") {
		t.Fatalf("%+v of %+v", claims, row)
	}
	body, _ := json.Marshal(api.Release{System: "one", Item: "x", Claims: claims})
	var out api.Released
	if code, e := w.post(api.PathRelease, string(body), &out); code != 200 || !slices.Equal(out.Void, claims) || out.Index != w.at {
		t.Fatalf("%d %+v %+v", code, e, out)
	}
	row = w.row("one", "x")
	if row.State != api.RowStarting || !row.Outstanding[0].Void || row.Outstanding[0].Blocks {
		t.Errorf("%+v", row)
	}
	if _, e := w.post(api.PathRelease, string(body), nil); e.Code != api.CodeChanged || !strings.Contains(e.Hint, "look again") {
		t.Errorf("again: %+v", e)
	}
}

func TestReleaseRefusesAnotherSet(t *testing.T) {
	w := blocked(t)
	c := api.Blocking([]api.Row{w.row("one", "x")})[0]
	at := w.at
	other := func(edit func(*api.Claim)) []api.Claim {
		d := c
		edit(&d)
		return []api.Claim{d}
	}
	for name, claims := range map[string][]api.Claim{
		"another token":  other(func(c *api.Claim) { c.Token++ }),
		"another epoch":  other(func(c *api.Claim) { c.Epoch++ }),
		"another member": other(func(c *api.Claim) { c.Member = "n2" }),
		"another rank":   other(func(c *api.Claim) { c.Rank++ }),
		"one too many":   append(other(func(c *api.Claim) { c.Token++ }), c),
	} {
		body, _ := json.Marshal(api.Release{System: "one", Item: "x", Claims: claims})
		if code, e := w.post(api.PathRelease, string(body), nil); code != 409 || e.Code != api.CodeChanged || w.at != at {
			t.Errorf("%s: %d %+v", name, code, e)
		}
	}
	for body, code := range map[string]string{
		`{"system":"one","item":"x"}`:                                            api.CodeBadRequest,
		`{"system":"one","item":"y","claims":[{"member":"n1"}]}`:                 api.CodeNotFound,
		`{"system":"web","item":"y","claims":[{"member":"n1"}]}`:                 api.CodeNotFound,
		`{"system":"one","item":"x","claims":[{"member":"n1","force":true}]}`:    api.CodeBadRequest,
		`{"system":"one","item":"x","all":true,"claims":[{"member":"n1"}]}`:      api.CodeBadRequest,
		`{"system":"ip","item":"a","claims":[{"member":"n1","epoch":3}]}`:        api.CodeChanged, // at-least-one waits for nobody
		`{"system":"one","item":"x","claims":[{"member":"n1","epoch":"three"}]}`: api.CodeBadRequest,
	} {
		if _, e := w.post(api.PathRelease, body, nil); e.Code != code || w.at != at {
			t.Errorf("%s: %+v, want %s", body, e, code)
		}
	}
	// It changes between the look and the commit: the cluster itself refuses.
	w.between = func() { w.register("n1"); w.sweep("n1", "one", "x") }
	body, _ := json.Marshal(api.Release{System: "one", Item: "x", Claims: []api.Claim{c}})
	if code, e := w.post(api.PathRelease, string(body), nil); code != 409 || e.Code != api.CodeRefused || !strings.Contains(e.Message, "look again") || e.Hint == "" {
		t.Errorf("gone meanwhile: %d %+v", code, e)
	}
}

// sweep has a member report its own entries of an item as swept.
func (w *world) sweep(n fsm.MemberID, sys fsm.SystemID, item fsm.ItemID) {
	w.t.Helper()
	m, _ := w.s.Member(n)
	slot, _ := w.s.Slot(fsm.Key{System: sys, Item: item})
	for _, e := range slot.Outstanding {
		w.do(fsm.Report{Member: n, Epoch: m.Epoch, Swept: []fsm.Claim{{Key: slot.Key, Member: n, Epoch: e.Epoch, Token: e.Token}}})
	}
}

func TestWritesNeedALeader(t *testing.T) {
	bodies := map[string]string{
		api.PathCleanup: `{}`, api.PathMaintenance: `{"on":true}`,
		api.PathRelease: `{"system":"one","item":"x","claims":[{"member":"n1"}]}`,
	}
	for path, body := range bodies {
		w := blocked(t)
		w.verify = api.NoLeader("2 of 3 voters do not answer")
		if code, e := w.post(path, body, nil); code != 503 || e.Code != api.CodeNoLeader {
			t.Errorf("%s: %d %+v", path, code, e)
		}
	}
	w := blocked(t)
	w.err = &api.Error{Code: api.CodeUncertain, Message: "perhaps"}
	if code, e := w.post(api.PathCleanup, `{}`, nil); code != 504 || e.Code != api.CodeUncertain {
		t.Errorf("uncertain: %d %+v", code, e)
	}
	h := NewLocal(LocalConfig{Log: zerolog.Nop(), Node: w, Status: w}).http.Handler
	for path, body := range bodies {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != 405 {
			t.Errorf("GET %s: %d", path, rec.Code)
		}
		if path != api.PathRelease {
			rec = httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest("POST", path, strings.NewReader(body)))
			if rec.Code != 503 {
				t.Errorf("%s without a proposer: %d", path, rec.Code)
			}
		}
	}
}
