package agent

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// tlsPort serves a voter of the cluster on loopback, as the program wires it.
func (v *voter) tlsPort(t *testing.T, keys *secure.Keys) (addr string, stop func()) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := secure.Listen(inner, keys.Server(secure.Identity{Name: v.name, Instance: "i-" + string(v.name)}), zerolog.Nop())
	members := server.NewMembers(server.MembersConfig{
		Log: zerolog.Nop(), Node: v, Peer: v, Parts: v.parts,
		Identify: func(c net.Conn) (fsm.MemberID, error) {
			id, err := secure.PeerOf(c)
			return id.Name, err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = port.Run(ctx) })
	running.Go(func() { _ = members.Run(ctx, port.HTTP()) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return inner.Addr().String(), stop
}

// Over real connections: it reads, registers, and goes elsewhere when a voter is gone.
func TestOverTLS(t *testing.T) {
	keys, err := secure.Derive([]byte("a key for a test that is long enough"))
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 3)
	state, _ := c.now()
	spec := *state.Spec()
	spec.Servers = map[fsm.MemberID]fsm.Server{}
	stops := map[fsm.MemberID]func(){}
	for name, s := range state.Spec().Servers {
		if s.Votes() {
			s.Addr, stops[name] = c.voter(name).tlsPort(t, keys)
			c.mu.Lock()
			c.voters[name].addr = s.Addr
			c.mu.Unlock()
		}
		spec.Servers[name] = s
	}
	c.do(fsm.SetSpec{Was: spec.Version, Spec: spec})
	self := secure.Identity{Name: "a1", Instance: "i"}
	peers := client.NewPeers(func(to client.Target) *tls.Config {
		return keys.Client(self, secure.Identity{Name: to.Name, Instance: to.Instance}, secure.ProtoHTTP)
	})
	t.Cleanup(peers.Close)
	a := c.agent("a1", func(cfg *Config) { cfg.Peers, cfg.Seed = Over(peers), spec })
	waitFor := func(what string, so func() bool) {
		t.Helper()
		limit := time.NewTimer(20 * time.Second)
		defer limit.Stop()
		for !so() {
			_, at := a.View()
			select {
			case <-a.Changed(at):
			case <-limit.C:
				t.Fatalf("never: %s; voters %+v", what, a.Voters())
			}
		}
	}
	waitFor("settled", func() bool { return c.settled("a1") })
	c.move("a", "a1")
	waitFor("a", func() bool { return a.owns() == "a" })
	for _, item := range []fsm.ItemID{"b", "c"} {
		first, had := a.Source(), a.owns()
		stops[first]()
		c.move(item, "a1")
		waitFor("served by another", func() bool { return a.owns() == had+string(item) })
		if a.Source() == first {
			t.Errorf("still %s", first)
		}
	}
	a.stop()
}
