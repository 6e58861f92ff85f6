package server

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// fakeKeys is a ring with the key "second" to come.
type fakeKeys struct{ err error }

func (f fakeKeys) Own(into *api.Key) { into.Fingerprint, into.Stale = "first", "read-only file system" }
func (f fakeKeys) Secret() string    { return "the key itself" }
func (f fakeKeys) Rotation(_ context.Context, after fsm.Keys, key string) (fsm.Rotate, error) {
	return fsm.Rotate{Was: after.Round, Old: "first", New: "second" + key, Sealed: []byte{1}, Back: []byte{2}}, f.err
}

// rotating is a cluster in the midst of a rotation that n2 has acknowledged, and n3 is
// down.
func rotating(t *testing.T) *writable {
	w := usual(t)
	at := w.do(fsm.Rotate{Old: "first", New: "second", Sealed: []byte{1}, Back: []byte{2}, At: 5})
	w.do(fsm.KeyAck{Member: "n2", Round: at, Phase: fsm.KeyBoth})
	w.down("n3")
	return w
}

// keyAsk asks a server and reads what it answers.
func keyAsk[T any](t *testing.T, c LocalConfig, method, path, body string) (out T, e api.Error) {
	t.Helper()
	rec := httptest.NewRecorder()
	NewLocal(c).http.Handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	into := any(&out)
	if rec.Code != http.StatusOK {
		into = &e
	}
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v", rec.Body, err)
	}
	return out, e
}

func keyConfig(w *writable) LocalConfig {
	return LocalConfig{Log: zerolog.Nop(), Node: w, Status: w, Verifier: w, Proposer: w, Keys: fakeKeys{}}
}

func TestKeyShown(t *testing.T) {
	c := keyConfig(rotating(t))
	k, _ := keyAsk[api.Key](t, c, "GET", api.PathKey, "")
	if k.Phase != 1 || k.Old != "first" || k.New != "second" || k.Fingerprint != "first" || k.SinceMS != 5 || k.Key != "" || k.Index == 0 || k.Stale == "" {
		t.Errorf("%+v", k)
	}
	if len(k.Have) != 1 || k.Have[0] != "n2" || len(k.Awaited) != 2 || k.Awaited[0] != (api.KeyAwaited{Name: "n1", State: api.MemberUp}) || k.Awaited[1].State != api.MemberDown {
		t.Errorf("%+v", k)
	}
	if !strings.Contains(k.Words, "phase 1 of 3") {
		t.Error(k.Words)
	}
	if k, _ := keyAsk[api.Key](t, c, "GET", api.PathKey+"?secret", ""); k.Key != "the key itself" {
		t.Errorf("%+v", k)
	}
	c.Operator = func(net.Conn) (string, error) { return "ops", nil }
	if _, e := keyAsk[api.Key](t, c, "GET", api.PathKey+"?secret", ""); e.Code != api.CodeForbidden {
		t.Errorf("told elsewhere: %+v", e)
	}
	if k, _ := keyAsk[api.Key](t, c, "GET", api.PathKey, ""); k.Phase != 1 {
		t.Errorf("%+v", k)
	}
	if k, _ := keyAsk[api.Key](t, keyConfig(usual(t)), "GET", api.PathKey, ""); k.Phase != 0 || k.Round != 0 || !strings.Contains(k.Words, "never") {
		t.Errorf("%+v", k)
	}
	c.Keys = nil
	if _, e := keyAsk[api.Key](t, c, "GET", api.PathKey, ""); e.Code != api.CodeUnavailable {
		t.Errorf("%+v", e)
	}
}

func TestKeyRotation(t *testing.T) {
	w := usual(t)
	k, e := keyAsk[api.KeyRotated](t, keyConfig(w), "POST", api.PathKeyRotate, `{"key":"x","without":["n3"]}`)
	if k.Phase != 1 || k.New != "secondx" || len(k.LeftOut) != 1 || len(k.Warnings) != 1 || !strings.Contains(k.Warnings[0], "is up") {
		t.Fatalf("%+v, %+v", k, e)
	}
	// A second one is refused with words, unless it only leaves somebody out.
	_, e = keyAsk[api.KeyRotated](t, keyConfig(w), "POST", api.PathKeyRotate, `{}`)
	if e.Code != api.CodeRefused || !strings.Contains(e.Message, "rotated already") || !strings.Contains(e.Hint, "waits for n1, n2") {
		t.Errorf("%+v", e)
	}
	w.down("n2")
	k, _ = keyAsk[api.KeyRotated](t, keyConfig(w), "POST", api.PathKeyRotate, `{"without":["n2"]}`)
	if len(k.LeftOut) != 2 || len(k.Warnings) != 1 || !strings.Contains(k.Warnings[0], "left behind") {
		t.Errorf("%+v", k)
	}
	for body, code := range map[string]string{
		`{"without":["n9"]}`: api.CodeNotFound, `{"new":1}`: api.CodeBadRequest, `{"key":"y","without":["n1"]}`: api.CodeRefused,
	} {
		if _, e := keyAsk[api.KeyRotated](t, keyConfig(w), "POST", api.PathKeyRotate, body); e.Code != code {
			t.Errorf("%s: %+v", body, e)
		}
	}
	if _, e := keyAsk[api.KeyRotated](t, keyConfig(empty(t)), "POST", api.PathKeyRotate, `{}`); e.Code != api.CodeRefused || !strings.Contains(e.Message, "not founded") {
		t.Errorf("%+v", e)
	}
	c := keyConfig(usual(t))
	c.Keys = fakeKeys{err: errors.New("no memory")}
	if _, e := keyAsk[api.KeyRotated](t, c, "POST", api.PathKeyRotate, `{}`); e.Code != api.CodeInternal {
		t.Errorf("%+v", e)
	}
	c.Keys = nil
	if _, e := keyAsk[api.KeyRotated](t, c, "POST", api.PathKeyRotate, `{}`); e.Code != api.CodeUnavailable {
		t.Errorf("%+v", e)
	}
}

func TestKeyAlarms(t *testing.T) {
	find := func(st api.Status) (api.Alarm, bool) {
		for _, a := range st.Alarms {
			if strings.Contains(a.What, "key is being rotated") {
				return a, true
			}
		}
		return api.Alarm{}, false
	}
	if a, said := find(usual(t).Status()); said {
		t.Errorf("%+v", a)
	}
	if a, _ := find(rotating(t).Status()); a.Severity != api.Warning || !strings.Contains(a.What, "waits for n3, which is not up") || !strings.Contains(a.Do, "--without n3") {
		t.Errorf("%+v", a)
	}
	w := usual(t)
	w.do(fsm.Rotate{Old: "first", New: "second", Sealed: []byte{1}, Back: []byte{2}})
	if a, _ := find(w.Status()); a.Severity != api.Note {
		t.Errorf("%+v", a)
	}
}

// Who joins while the key is rotated is told of it, whether it was added or not.
func TestJoiningIsToldOfTheKey(t *testing.T) {
	w := rotating(t)
	out, err := joining(w.s, w.at, "n1", api.Join{Name: "n4"})
	if err != nil || out.Keys == nil || !out.Keys.Keys().Same(w.s.Keys()) || string(out.Keys.Sealed) != "\x01" || string(out.Keys.Back) != "\x02" {
		t.Errorf("%+v, %v", out, err)
	}
	if out, _ := joining(usual(t).s, 1, "n1", api.Join{Name: "n4"}); out.Keys != nil {
		t.Errorf("%+v", out.Keys)
	}
}

// agentKeys is the ring of an agent.
type agentKeys struct{ fakeKeys }

func (agentKeys) Own(into *api.Key) { into.Fingerprint = "the agent's" }
func (agentKeys) Secret() string    { return "the agent's own" }

// An agent asks a voter whom a rotation waits for; what its own key is it asks nobody.
func TestKeyOfAnAgent(t *testing.T) {
	v := &voters{handler: NewLocal(keyConfig(rotating(t))).http.Handler}
	c := keyConfig(rotating(t))
	c.Keys, c.Elsewhere = agentKeys{}, v
	k, _ := keyAsk[api.Key](t, c, "GET", api.PathKey, "")
	if k.Fingerprint != "the agent's" || k.Stale != "" || k.Phase != 1 || len(k.Awaited) != 2 || len(v.asked) != 1 {
		t.Errorf("%+v, asked %q", k, v.asked)
	}
	v.asked = nil
	if k, _ := keyAsk[api.Key](t, c, "GET", api.PathKey+"?secret", ""); k.Key != "the agent's own" || strings.Contains(strings.Join(v.asked, ","), "secret") {
		t.Errorf("%+v, asked %q", k, v.asked)
	}
	v.err = api.NoLeader("nobody answers")
	if k, _ := keyAsk[api.Key](t, c, "GET", api.PathKey, ""); k.Fingerprint != "the agent's" || k.Phase != 1 {
		t.Errorf("%+v", k)
	}
	if _, e := keyAsk[api.Key](t, c, "GET", api.PathKey+"?consistent", ""); e.Code != api.CodeNoLeader {
		t.Errorf("%+v", e)
	}
}
