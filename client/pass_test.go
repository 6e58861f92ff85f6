package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/secure"
)

// behind serves h on a unix socket.
func behind(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}} //nolint:gosec // it serves this test alone
	s.Start()
	t.Cleanup(s.Close)
	c := New(path)
	t.Cleanup(c.Close)
	return c
}

func asked(t *testing.T, method, uri string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, uri, nil)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func TestPassGivesAnswersAsTheyAre(t *testing.T) {
	var saw *http.Request
	var body string
	c := behind(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		saw, body = r, string(b)
		w.Header().Set("X-Odd", "kept")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "not JSON")
	})
	resp, err := c.Pass(t.Context(), "a1", asked(t, http.MethodPost, "/v1/some/path?system=x&y"), []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != "not JSON" || resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Odd") != "kept" {
		t.Errorf("%d %q %v %v", resp.StatusCode, got, resp.Header, err)
	}
	if saw.Method != http.MethodPost || saw.RequestURI != "/v1/some/path?system=x&y" || body != `{"a":1}` ||
		saw.Header.Get(api.HandedOnBy) != "a1" || saw.Header.Get("Content-Type") != "application/json" {
		t.Errorf("asked %s %s %q %v", saw.Method, saw.RequestURI, body, saw.Header)
	}
}

func TestPassStreamsUntilItIsClosed(t *testing.T) {
	gone := make(chan struct{})
	c := behind(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		_, _ = io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	resp, err := c.Pass(t.Context(), "a1", asked(t, http.MethodGet, api.PathWatch), nil)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "one\n" {
		t.Errorf("%q %v", line, err)
	}
	_ = resp.Body.Close()
	<-gone
}

// A server that takes the connection and says nothing costs some seconds, then the
// next one is asked; a change is not sent twice.
func TestPassGoesOnToTheNext(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a silent server")
	}
	keys := must(t, clusterKeys)
	config := keys.Server(secure.Identity{Name: "n3", Instance: "i3"})
	silent := accepting(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(c, config)) })
	good, _, _ := controlled(t, keys, "good")
	c := remoteOf(t, keys, silent, good)
	began := time.Now()
	resp, err := c.Pass(t.Context(), "a1", asked(t, http.MethodGet, api.PathStatus), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); !strings.Contains(string(b), "good") {
		t.Errorf("after %v: %s", time.Since(began), b)
	}
	_, err = New(filepath.Join(t.TempDir(), "none")).Pass(context.Background(), "a1", asked(t, http.MethodGet, api.PathStatus), nil) //nolint:bodyclose // there is none
	if api.CodeOf(err) != api.CodeNoDaemon {
		t.Errorf("nobody there: %v", err)
	}
}
