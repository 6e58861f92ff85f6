package server

import (
	"bytes"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func TestWhoChanges(t *testing.T) {
	node := &fakeNode{state: fsm.New()}
	for _, tt := range []struct {
		method, path string
		stranger     error
		status       int
		logged       bool
	}{
		{"GET", api.PathStatus, nil, 200, false},
		{"POST", api.PathCleanup, nil, 503, true}, // this node cannot change anything
		{"POST", api.PathCleanup, errors.New("a member"), 403, false},
		{"GET", api.PathStatus, errors.New("a member"), 403, false},
	} {
		var log bytes.Buffer
		h := NewLocal(LocalConfig{
			Log: zerolog.New(&log), Node: node, Status: node,
			Operator: func(net.Conn) (string, error) { return "eve@host", tt.stranger },
		}).http.Handler
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader("{}")))
		if w.Code != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
		if got := strings.Contains(log.String(), `"operator":"eve@host","path":"`+tt.path); got != tt.logged {
			t.Errorf("%s %s: logged %s", tt.method, tt.path, &log)
		}
	}
}
