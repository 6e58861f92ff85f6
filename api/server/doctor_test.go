package server

import (
	"context"
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

type fakeDoctor struct{}

func (fakeDoctor) Doctor(context.Context) api.Doctor {
	return api.Doctor{ID: "n1", PID: 7, Peers: []api.DoctorPeer{{Name: "n2"}}}
}

func TestDoctorRoute(t *testing.T) {
	ask := func(c LocalConfig, method string) *httptest.ResponseRecorder {
		c.Log = zerolog.Nop()
		w := httptest.NewRecorder()
		NewLocal(c).http.Handler.ServeHTTP(w, httptest.NewRequest(method, api.PathDoctor, nil))
		return w
	}
	if w := ask(LocalConfig{Doctor: fakeDoctor{}}, "GET"); w.Code != 200 || !strings.Contains(w.Body.String(), `"id":"n1","pid":7`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(LocalConfig{Doctor: fakeDoctor{}}, "POST"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	if w := ask(LocalConfig{}, "GET"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), api.CodeUnavailable) {
		t.Errorf("without a source: %d %s", w.Code, w.Body)
	}
}

func TestTimeIsForMembers(t *testing.T) {
	for want, identify := range map[int]func(net.Conn) (fsm.MemberID, error){
		200: func(net.Conn) (fsm.MemberID, error) { return "n2", nil },
		403: func(net.Conn) (fsm.MemberID, error) { return "", errors.New("a stranger") },
	} {
		w := httptest.NewRecorder()
		h := NewMembers(MembersConfig{Log: zerolog.Nop(), Identify: identify}).http.Handler
		h.ServeHTTP(w, httptest.NewRequest("POST", api.PathTime, strings.NewReader("{}")))
		if w.Code != want || want == 200 != strings.HasPrefix(w.Body.String(), `{"unix_us":1`) {
			t.Errorf("%d %s, want %d", w.Code, w.Body, want)
		}
	}
}
