package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

var fakeMetrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "flip_ready 1\n")
})

func TestMetricsOnTheUnixSocketWhereThereAreAny(t *testing.T) {
	node := &fakeNode{state: fsm.New()}
	for _, tt := range []struct {
		metrics http.Handler
		status  int
	}{{nil, 404}, {fakeMetrics, 200}} {
		h := NewLocal(LocalConfig{Log: zerolog.Nop(), Node: node, Status: node, Version: api.Version{}, Metrics: tt.metrics}).http.Handler
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, PathMetrics, nil))
		if w.Code != tt.status {
			t.Errorf("metrics %v: %d %s", tt.metrics != nil, w.Code, w.Body)
		}
	}
}

// The port of its own answers nothing but metrics: anybody may reach it.
func TestMetricsPortAnswersNothingElse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s := NewMetrics(fakeMetrics, zerolog.Nop())
	go func() { ended <- s.Run(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{PathMetrics: 200, "/": 404, api.PathStatus: 404, api.PathPropose: 404} {
		resp, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
