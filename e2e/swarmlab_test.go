package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
	"github.com/flip-ha/flip/e2e/swarm"
	"github.com/flip-ha/flip/fsm"
)

// swarmCluster is three voters, which serve nothing, and very many agents.
type swarmCluster struct {
	*cluster
	agents []string
	herd   *swarm.Process
	rows   []results.Result
}

func newSwarm(t *testing.T, size int) *swarmCluster {
	t.Helper()
	s := &swarmCluster{cluster: newCluster(t, nil)}
	port := freePorts(t, "agents")["agents"]
	servers := spec{}
	for _, id := range s.ids {
		servers[id] = spec{"ip": "127.0.0.1", "port": s.ports[id], "role": "arbiter"}
	}
	var data []string
	for i := range size {
		name := fmt.Sprintf("a%04d", i+1)
		s.agents = append(s.agents, name)
		servers[name] = spec{"ip": fmt.Sprintf("127.77.%d.%d", i/250, 1+i%250), "port": port, "role": "agent", "systems": []string{swarmSystem}}
		data = append(data, fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250)) // of no network that there is
	}
	s.writeFile(s.file, func(sp spec) {
		sp["gossip_interval"], sp["ping_timeout"] = swarmBeat.Milliseconds(), swarmLease.Milliseconds()
		sp["log_level"], sp["servers"] = "info", servers
		sp["cluster"] = spec{"system": spec{swarmSystem: spec{"type": "shard", "action": "ip", "data": data}}}
	})
	return s
}

// begin starts the voters and then all agents at once, and waits until each has a
// lease, is served, and holds what it is to hold.
func (s *swarmCluster) begin() {
	s.t.Helper()
	s.start(s.ids...)
	program := filepath.Join(s.dir, "agents")
	build := exec.Command("go", "build", "-o", program, "github.com/flip-ha/flip/e2e/swarm/agents")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("build the swarm: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(s.dir, "agents.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	began := mono.Now()
	if s.herd, err = swarm.Start(program, swarm.Config{File: s.file, Agents: s.agents}, log); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.herd.End(); err != nil {
			s.t.Error(err)
		}
		if data, _ := os.ReadFile(log.Name()); len(data) > 0 {
			s.t.Logf("the swarm said:\n%s", tail(data, 20))
		}
	})
	s.well(len(s.agents))
	// That all begin at once may cost some their first lease: it is printed.
	st := s.tell()
	s.t.Logf("%d agents hold what they are to hold %v after their start; they have registered %d times, and %d leases have ended",
		len(s.agents), mono.Now().Sub(began).Round(time.Millisecond), st.Epochs, st.Lapses)
}

// tell is how the agents are.
func (s *swarmCluster) tell() swarm.State {
	s.t.Helper()
	var st swarm.State
	s.ask(swarm.Order{Do: swarm.Tell}, &st)
	return st
}

func (s *swarmCluster) ask(o swarm.Order, answer any) {
	s.t.Helper()
	if err := s.herd.Ask(o, answer); err != nil {
		s.t.Fatal(err)
	}
}

// well waits until so many agents live, have a lease, are served, and have all items
// between them, and until the voters that run know it.
func (s *swarmCluster) well(live int) {
	s.t.Helper()
	s.eventually(swarmLimit, fmt.Sprintf("%d agents are well", live), func() error {
		st := s.tell()
		if st.Live != live || st.Leased != live || st.Sources[""] > 0 || st.Items != len(s.agents) {
			return fmt.Errorf("%+v", st)
		}
		as, err := s.assignAll(s.running()[0])
		if err != nil {
			return err
		}
		i := slices.IndexFunc(as.Rows, func(r api.Row) bool { return !r.Held() || len(r.Outstanding) > 0 })
		if i >= 0 || len(as.Rows) != len(s.agents) {
			return fmt.Errorf("of %d rows one is %+v", len(as.Rows), as.Rows[max(i, 0):min(max(i, 0)+1, len(as.Rows))])
		}
		return nil
	})
}

// running are the voters whose daemons run.
func (s *swarmCluster) running() []string {
	return slices.DeleteFunc(slices.Clone(s.ids), func(id string) bool {
		select {
		case <-s.procs[id].done:
			return true
		default:
			return false
		}
	})
}

func (s *swarmCluster) assignAll(id string) (api.Assign, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cl := s.client(id)
	defer cl.Close()
	return cl.Assign(ctx, swarmSystem, false)
}

// leader is who leads by what all that run say.
func (s *swarmCluster) leader() (leader string) {
	s.t.Helper()
	s.eventually(swarmLimit, "one leader", func() error {
		leader = ""
		for _, id := range s.running() {
			st, err := s.status(id)
			if err != nil {
				return err
			}
			if said := string(st.Cluster.Leader); said == "" || leader != "" && leader != said {
				return fmt.Errorf("%s says %q", id, said)
			}
			leader = string(st.Cluster.Leader)
		}
		return nil
	})
	return leader
}

// itemMoves is when a voter told of what became of items.
type itemMoves map[fsm.ItemID][]itemMove

type itemMove struct {
	at mono.Time
	api.Event
}

// after is how long after a moment an item was given to another than its dead owner,
// and how long until that one held it; 0: never.
func (m itemMoves) after(dead fsm.MemberID, item fsm.ItemID, from mono.Time) (moved, held time.Duration) {
	for _, e := range m[item] {
		switch {
		case e.at < from:
		case e.Kind == fsm.KindMoved && e.From == dead && moved == 0:
			moved = e.at.Sub(from)
		case e.Kind == fsm.KindAcquired && e.Member != dead && moved != 0 && held == 0:
			held = e.at.Sub(from)
		}
	}
	return moved, held
}

// moveWatch follows a voter's watch.
type moveWatch struct {
	cancel context.CancelFunc
	done   chan struct{}
	t      *testing.T
	seen   itemMoves
	err    error
}

func (s *swarmCluster) watchMoves() *moveWatch {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &moveWatch{cancel: cancel, done: make(chan struct{}), t: s.t, seen: itemMoves{}}
	begun := make(chan struct{})
	cl := s.client(s.leader())
	go func() {
		defer close(w.done)
		defer cl.Close()
		present := true // told first
		for e, err := range cl.Watch(ctx, client.WatchState, swarmSystem) {
			switch {
			case err != nil:
				w.err = errors.Join(w.err, err)
			case present:
				if present = e.More; !present {
					close(begun)
				}
			case e.Item != "":
				w.seen[e.Item] = append(w.seen[e.Item], itemMove{mono.Now(), e})
			}
		}
	}()
	s.t.Cleanup(cancel)
	select {
	case <-begun:
	case <-time.After(swarmLimit):
		s.t.Fatal("no voter tells what changes")
	}
	return w
}

func (w *moveWatch) stop() itemMoves {
	w.t.Helper()
	w.cancel()
	<-w.done
	if w.err != nil {
		w.t.Fatal(w.err)
	}
	return w.seen
}
