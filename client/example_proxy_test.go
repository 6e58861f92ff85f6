package client_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// A proxy that sends each request to the member that is the primary of its key. It may
// run anywhere, and asks nobody about a request: it follows the cluster's word.
func ExampleRouter_proxy() {
	c := client.New("/run/flip/n1.sock") // or client.NewRemote: any member's port
	defer c.Close()
	r := client.NewRouter(c, "kv")
	go func() { log.Print(r.Run(context.Background())) }()
	p := &proxy{router: r, backends: map[fsm.MemberID]*url.URL{
		"n1": {Scheme: "http", Host: "10.0.0.1:8080"},
		"n2": {Scheme: "http", Host: "10.0.0.2:8080"},
	}}
	server := &http.Server{Addr: ":8000", Handler: p, ReadHeaderTimeout: time.Second}
	log.Print(server.ListenAndServe())
}

// proxy hands a request for /KEY on to the primary of KEY.
type proxy struct {
	router   *client.Router
	backends map[fsm.MemberID]*url.URL
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	owner, err := p.router.Primary(req.URL.Path[1:])
	backend := p.backends[owner.Member]
	switch {
	case api.CodeOf(err) == api.CodeNotFound:
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil, backend == nil: // it is on its way: the client may try again
		w.Header().Set("Retry-After", "1")
		http.Error(w, "nobody has it now", http.StatusServiceUnavailable)
		return
	}
	hand := httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(backend)
		// Who is not the owner under that token any more refuses.
		r.Out.Header.Set("Flip-Token", tokenText(owner.Token))
	}}
	hand.ServeHTTP(w, req)
}

func TestExampleProxy(t *testing.T) {
	socket, give := client.Ring(t, 2)
	backends := map[fsm.MemberID]*url.URL{}
	for _, name := range []fsm.MemberID{"n1", "n2"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.WriteString(w, string(name)+" has "+req.URL.Path+" under "+req.Header.Get("Flip-Token"))
		}))
		defer s.Close()
		backends[name], _ = url.Parse(s.URL)
	}
	r := following(t, socket)
	p := &proxy{router: r, backends: backends}
	ask := func(key string) (int, string) {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+key, nil))
		return w.Code, w.Body.String()
	}
	ring := fsm.Partitions{Count: 2, Hash: fsm.FNV64a}
	key := "a"
	for ring.Item(key) != "0" {
		key += "a"
	}
	move := func(to fsm.MemberID) {
		give("0", to)
		for {
			changed := r.Changed()
			if owner, err := r.Primary(key); err == nil && owner.Member == to {
				return
			}
			<-changed
		}
	}
	move("n1")
	code, before := ask(key)
	if code != http.StatusOK || before[:len("n1 has /"+key)] != "n1 has /"+key {
		t.Fatalf("%d %s", code, before)
	}
	move("n2")
	if code, after := ask(key); code != http.StatusOK || after[:2] != "n2" || after == before {
		t.Errorf("%d %s", code, after)
	}
	move("n3") // of which the proxy knows no address
	if code, words := ask(key); code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", code, words)
	}
}
