package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/e2e/mono"
)

const (
	partitions = 512
	replicas   = 3
	// settleTime is for everything to be where it belongs again: a lease and a half
	// second for each of a handful of steps, on a machine that others work on.
	settleTime = 60 * time.Second
)

// stores is a cluster of five, one of them an agent, with a store beside each daemon.
type stores struct {
	*cluster
	progs map[string]*exec.Cmd
	ends  map[string][]ended // of the stores that were killed
}

// ended is a store that was killed: it served until then at least.
type ended struct {
	pid int
	at  mono.Time
}

func newStores(t *testing.T) *stores {
	t.Helper()
	if testing.Short() {
		t.Skip("e2e is left out with -short")
	}
	ids := []string{"n1", "n2", "n3", "n4", "n5"}
	c := &cluster{t: t, dir: t.TempDir(), ids: ids, procs: map[string]*proc{}, ports: freePorts(t, ids...), env: os.Environ()}
	c.file = filepath.Join(c.dir, "flip.json")
	servers := spec{}
	for _, id := range ids {
		servers[id] = spec{"ip": "127.0.0.1", "port": c.ports[id], "systems": []string{"kv"}}
	}
	servers["n5"].(spec)["role"] = "agent"
	data, err := json.Marshal(spec{
		"gossip_interval": 1000, "ping_timeout": 1500, "key": "the key of a test, long enough", "log_level": "debug", "servers": servers,
		"cluster": spec{"system": spec{"kv": spec{
			"action": "client", "type": "shard", "guarantee": "at-most-one", "partitions": spec{"count": partitions}, "replicas": replicas,
			"start_timeout": "10s", "stop_timeout": "10s",
		}}},
	})
	if err == nil {
		err = os.WriteFile(c.file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &stores{cluster: c, progs: map[string]*exec.Cmd{}, ends: map[string][]ended{}}
	t.Cleanup(func() {
		for _, p := range s.progs {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
		c.end()
		s.keep(os.Getenv("FLIP_E2E_LOGS"))
	})
	return s
}

// keep copies logs and histories to a directory, if there is one.
func (s *stores) keep(dir string) {
	if dir == "" {
		return
	}
	for _, pattern := range []string{"*.log", "*.history"} {
		names, _ := filepath.Glob(filepath.Join(s.dir, pattern))
		for _, name := range names {
			if data, err := os.ReadFile(name); err == nil {
				_ = os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600)
			}
		}
	}
}

// run starts a store beside each of these daemons.
func (s *stores) run(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleEnv+"="+roleStore, roleName+"="+id, roleDir+"="+s.dir)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		s.progs[id] = cmd
	}
}

// killStore ends a store without a word; closeStore in order.
func (s *stores) killStore(id string) {
	s.t.Helper()
	p := s.progs[id]
	s.ends[id] = append(s.ends[id], ended{p.Process.Pid, mono.Now()})
	_ = p.Process.Kill()
	_ = p.Wait()
	delete(s.progs, id)
}

func (s *stores) closeStore(id string) {
	s.t.Helper()
	p := s.progs[id]
	_ = p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		s.t.Errorf("the store of %s: %v", id, err)
	}
	delete(s.progs, id)
}

// settles waits until every replica is acquired, by the members of on alone, which
// share them evenly; primaries too once all are there: until then those stay primaries
// that were.
func (s *stores) settles(ask string, on ...string) {
	s.t.Helper()
	began := time.Now()
	s.forget(ask)
	s.eventually(settleTime, fmt.Sprintf("all is with %v", on), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		cl := s.client(ask)
		defer cl.Close()
		as, err := cl.Assign(ctx, "kv", false)
		if err != nil {
			return err
		}
		all, primary := map[string]int{}, map[string]int{}
		for _, r := range as.Rows {
			if r.State != api.RowAcquired {
				return fmt.Errorf("%s/%d of %s is %s: %s", r.Item, r.Rank, r.Owner, r.State, r.Why)
			}
			if all[string(r.Owner)]++; r.Rank == 0 {
				primary[string(r.Owner)]++
			}
		}
		if len(as.Rows) != partitions*replicas || !slices.Equal(slices.Sorted(maps.Keys(all)), slices.Sorted(slices.Values(on))) {
			return fmt.Errorf("%d rows, with %v", len(as.Rows), all)
		}
		if uneven(all) || len(on) == len(s.ids) && uneven(primary) {
			return fmt.Errorf("uneven: replicas %v, primaries %v", all, primary)
		}
		return nil
	})
	s.t.Logf("all is with %v after %v", on, time.Since(began).Round(time.Millisecond))
}

// forget has the cluster forget what it has moved of late: more happens here in a
// minute than an item is moved for without need.
func (s *stores) forget(ask string) {
	s.t.Helper()
	s.eventually(settleTime, "a leader forgets", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		cl := s.client(ask)
		defer cl.Close()
		_, err := cl.Cleanup(ctx, api.Cleanup{System: "kv"})
		return err
	})
}

func uneven(count map[string]int) bool {
	counts := slices.Sorted(maps.Values(count))
	return counts[len(counts)-1]-counts[0] > 1
}

func (s *stores) leader() string {
	s.t.Helper()
	var name string
	s.eventually(settleTime, "a leader", func() error {
		st, err := s.status("n1")
		if name = string(st.Cluster.Leader); err == nil && name == "" {
			err = errors.New("none is known")
		}
		return err
	})
	return name
}

// answer is what a store said to who asked for an item.
type answer struct {
	name, item string
	token      uint64
	from, to   mono.Time
}

// load asks for items until stop, and answers with all the answers of primaries.
func (s *stores) load() (stop func() []answer) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []answer
	for i := range 2 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			a := newAsker(s.dir)
			defer a.close()
			var mine []answer
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				item := strconv.Itoa(rnd.IntN(partitions))
				for _, name := range s.ids {
					from := mono.Now()
					if token, err := a.ask(name, item); err == nil && token != 0 {
						mine = append(mine, answer{name, item, token, from, mono.Now()})
					}
				}
				<-tick.C
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	return func() []answer {
		cancel()
		wg.Wait()
		return all
	}
}

// each asks every store for every item: exactly one is its primary.
func (s *stores) each() {
	s.t.Helper()
	a := newAsker(s.dir)
	defer a.close()
	for n := range partitions {
		item := strconv.Itoa(n)
		var by []string
		for _, name := range s.ids {
			if token, err := a.ask(name, item); err == nil && token != 0 {
				by = append(by, name)
			}
		}
		if len(by) != 1 {
			s.t.Errorf("%s is answered by %v", item, by)
		}
	}
}

func TestStoresOwnPartitions(t *testing.T) {
	s := newStores(t)
	s.start(s.ids...)
	s.ready(s.ids...)
	s.run(s.ids...)
	s.settles("n1", s.ids...)
	s.each()
	stop := s.load()

	t.Log("a store dies")
	s.killStore("n2")
	s.settles("n1", "n1", "n3", "n4", "n5")
	s.run("n2")
	s.settles("n1", s.ids...)

	t.Log("a daemon and its store die")
	s.killStore("n3")
	s.kill("n3")
	s.settles("n1", "n1", "n2", "n4", "n5")
	s.start("n3")
	s.run("n3")
	s.settles("n3", s.ids...)

	leader := s.leader()
	t.Logf("the leader (%s) and the agent die, their stores live", leader)
	s.kill(leader, "n5")
	s.start(leader, "n5")
	s.ready(leader, "n5")
	s.settles(leader, s.ids...)

	t.Log("a daemon is drained, its store lives")
	s.signal("n4", syscall.SIGTERM)
	if code := s.exit("n4", 60*time.Second); code != 0 {
		t.Errorf("n4 exited %d", code)
	}
	s.settles("n1", "n1", "n2", "n3", "n5")
	s.start("n4")
	s.settles("n1", s.ids...)

	t.Log("a store ends in order")
	s.closeStore("n5")
	s.settles("n1", "n1", "n2", "n3", "n4")
	s.run("n5")
	s.settles("n1", s.ids...)

	answers := stop()
	s.each()
	s.judge(answers)
}

// Without a quorum every lease ends: those of the daemons that live, and those that
// stores count for themselves where the daemon is dead. Nobody answers any more, and
// nobody takes over what another store may still have.
func TestStoresWithoutQuorum(t *testing.T) {
	s := newStores(t)
	s.start(s.ids...)
	s.ready(s.ids...)
	s.run(s.ids...)
	s.settles("n1", s.ids...)
	stop := s.load()
	s.kill("n3", "n4", "n5")
	a := newAsker(s.dir)
	defer a.close()
	s.eventually(settleTime, "nobody answers", func() error {
		for n := range partitions {
			for _, name := range s.ids {
				if token, err := a.ask(name, strconv.Itoa(n)); err != nil || token != 0 {
					return fmt.Errorf("%s says %d for %d: %w", name, token, n, err)
				}
			}
		}
		return nil
	})
	s.start("n3", "n4", "n5")
	s.ready(s.ids...)
	s.settles("n1", s.ids...)
	answers := stop()
	s.each()
	s.judge(answers)
}
