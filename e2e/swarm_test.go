package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
	"github.com/flip-ha/flip/e2e/swarm"
	"github.com/flip-ha/flip/fsm"
)

const (
	// swarmSize is how many agents there are unless FLIP_E2E_AGENTS says so.
	swarmSize = 1000
	// Heartbeats come once a second, and a lease lasts six of them.
	swarmBeat, swarmLease = time.Second, 6 * time.Second
	// calmFor is how long it is measured what a voter takes while nothing happens.
	calmFor = 5 * time.Second
	// swarmCommits is how many changes that concern all are made, swarmDeaths how many
	// agents die, each way.
	swarmCommits, swarmDeaths = 10, 5
	// swarmLimit is how long anything may take on a machine that does other things too.
	swarmLimit = 5 * time.Minute
	// swarmSystem has an address for each agent. Nobody plumbs any.
	swarmSystem = "vip"
)

func inMilliseconds(list ...time.Duration) []float64 {
	var out []float64
	for _, d := range list {
		out = append(out, float64(d)/float64(time.Millisecond))
	}
	return out
}

// A thousand agents on three voters: what a voter takes for them, how soon they know of
// what is agreed on, how soon what a dead one had is another's; and when a voter dies,
// the leader too, each is served again at once and keeps its lease.
func TestSwarm(t *testing.T) {
	size := swarmSize
	if n, err := strconv.Atoi(os.Getenv("FLIP_E2E_AGENTS")); err == nil {
		size = n
	}
	s := newSwarm(t, size)
	s.begin()
	first, since := s.tell(), s.use()
	s.costs()
	s.commits()
	live := size
	for _, word := range []bool{true, false} {
		s.deaths(word, live)
		live -= swarmDeaths
	}
	s.votersDie("a voter dies that does not lead", false, live)
	s.votersDie("the leader dies", true, live)
	if last := s.tell(); last.Lapses != first.Lapses || last.Epochs != first.Epochs {
		s.ended(fmt.Sprintf("%d leases have ended, and %d were begun anew", last.Lapses-first.Lapses, last.Epochs-first.Epochs), since)
	}
	var want []results.Key
	for _, r := range s.rows {
		want = append(want, r.Key())
	}
	record(t, s.rows, want)
}

// costs is what each voter takes while nothing happens.
func (s *swarmCluster) costs() {
	s.t.Helper()
	since := s.use()
	var cpu, bytes, memory []float64
	for range trials(s.t) {
		herd, before, began := s.taken(s.herd.PID(), ""), map[string]taken{}, mono.Now()
		for _, id := range s.ids {
			before[id] = s.taken(s.procs[id].cmd.Process.Pid, id)
		}
		waitFor(calmFor)
		seconds := mono.Now().Sub(began).Seconds()
		for _, id := range s.ids {
			now := s.taken(s.procs[id].cmd.Process.Pid, id)
			cpu = append(cpu, 100*(now.cpu-before[id].cpu).Seconds()/seconds)
			bytes = append(bytes, float64(now.bytes-before[id].bytes)/1024/seconds)
			memory = append(memory, float64(now.memory)/(1<<20))
		}
		own := s.taken(s.herd.PID(), "").cpu - herd.cpu
		s.t.Logf("the agents themselves take %.0f %% of a core, the voters %.0f %%", 100*own.Seconds()/seconds, cpu[len(cpu)-len(s.ids):])
	}
	s.row("a voter's processor", "% of a core", cpu, 50, since)
	s.row("a voter's memory", "MiB", memory, 0, since)
	s.row("a voter's bytes with agents", "KiB/s", bytes, 0, since)
}

// taken is what a process has taken so far.
type taken struct {
	cpu           time.Duration
	memory, bytes uint64 // bytes: to and from agents
}

func (s *swarmCluster) taken(pid int, voter string) taken {
	s.t.Helper()
	cpu, err := lab.CPU(pid)
	memory, err2 := lab.Memory(pid)
	if err := errors.Join(err, err2); err != nil {
		s.t.Fatal(err)
	}
	out := taken{cpu: cpu, memory: memory}
	if voter != "" {
		out.bytes = s.tell().Traffic[s.addr(voter)].Sum()
	}
	return out
}

// commits has all agents learn of something, again and again.
func (s *swarmCluster) commits() {
	s.t.Helper()
	since := s.use()
	leader := s.leader()
	var median, last []time.Duration
	for i := range swarmCommits {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		cl := s.client(leader)
		at := mono.Now()
		_, err := cl.Maintain(ctx, api.Maintain{System: swarmSystem, On: i%2 == 0})
		answered := mono.Now().Sub(at)
		cl.Close()
		cancel()
		if err != nil {
			s.t.Fatal(err)
		}
		var known swarm.Times
		s.eventually(swarmLimit, "all agents know", func() error {
			if s.ask(swarm.Order{Do: swarm.Known, On: i%2 == 0, Since: at}, &known); len(known.Missing) > 0 {
				return fmt.Errorf("%d do not, %v among them, of %+v", len(known.Missing), known.Missing[:min(len(known.Missing), 10)], s.tell())
			}
			return nil
		})
		after := known.Since(at)
		median, last = append(median, after[len(after)/2]), append(last, after[len(after)-1])
		s.t.Logf("asked for something that concerns all: answered after %v, known to the first agent after %v, to half after %v, to the last after %v",
			answered.Round(time.Millisecond), after[0].Round(time.Millisecond), median[i].Round(time.Millisecond), last[i].Round(time.Millisecond))
	}
	s.row("a change of all, to the median agent", "ms", inMilliseconds(median...), 0, since)
	s.row("a change of all, to the last agent", "ms", inMilliseconds(last...), 100, since)
}

// deaths kills some agents, one after the other if they can say so, else all at once:
// it takes a lease until that is found.
func (s *swarmCluster) deaths(word bool, live int) {
	s.t.Helper()
	since := s.use()
	victims := s.agents[len(s.agents)-live:][:swarmDeaths]
	w := s.watchMoves()
	killed := map[string]swarm.Killed{}
	for i, name := range victims {
		var k swarm.Killed
		s.ask(swarm.Order{Do: swarm.Kill, Agent: name, Word: word}, &k)
		if len(k.Items) == 0 {
			s.t.Fatalf("%s held nothing", name)
		}
		killed[name] = k
		if word {
			s.well(live - i - 1)
		}
	}
	s.well(live - len(victims))
	seen := w.stop()
	var moved, held []time.Duration
	for name, k := range killed {
		for _, item := range k.Items {
			m, h := seen.after(fsm.MemberID(name), fsm.ItemID(item), k.At)
			if m == 0 || h == 0 {
				s.t.Fatalf("nobody saw who took %s of %s: %v", item, name, seen[fsm.ItemID(item)])
			}
			moved, held = append(moved, m), append(held, h)
		}
	}
	what, aim := "an agent dies with a goodbye", 50*time.Millisecond
	if !word {
		// The votes need slack of the lease, and wait for a heartbeat.
		what, aim = "an agent dies without a word", fsm.Slack(swarmLease)+swarmBeat
	}
	s.row(what+", its items given to others", "ms", inMilliseconds(moved...), 0, since)
	s.row(what+", its items held by others", "ms", inMilliseconds(held...), inMilliseconds(aim)[0], since)
}

// votersDie kills a voter, waits until each of its agents is served by another, sees
// that none loses its lease, and starts it again.
func (s *swarmCluster) votersDie(what string, leads bool, live int) {
	s.t.Helper()
	since := s.use()
	var half, all []time.Duration
	for range trials(s.t) {
		from := s.use()
		before, leader := s.tell(), s.leader()
		victim := leader
		for _, id := range s.ids { // who serves most of those that do not lead
			if !leads && id != leader && (victim == leader || before.Sources[id] > before.Sources[victim]) {
				victim = id
			}
		}
		after := s.servedWithout(victim)
		half, all = append(half, after[len(after)/2]), append(all, after[len(after)-1])
		s.t.Logf("%s: %s served %d of %d agents; half of them were served again after %v, the last after %v", what, victim, before.Sources[victim],
			before.Live, after[len(after)/2].Round(time.Millisecond), after[len(after)-1].Round(time.Millisecond))
		// A lease that was not renewed would have ended by then.
		waitFor(swarmLease + swarmBeat)
		if now := s.tell(); now.Leased != now.Live || now.Lapses != before.Lapses || now.Epochs != before.Epochs {
			s.ended(fmt.Sprintf("%s: of %d agents %d have a lease; %d leases have ended, %d were begun anew; ill: %s", what, now.Live, now.Leased,
				now.Lapses-before.Lapses, now.Epochs-before.Epochs, strings.Join(now.Ill, ", ")), from)
		}
		s.start(victim)
		s.ready(victim)
		s.well(live)
	}
	s.row(what+", half of its agents served again", "ms", inMilliseconds(half...), 0, since)
	s.row(what+", all its agents served again", "ms", inMilliseconds(all...), 1000, since)
}

// servedWithout kills a voter that serves so many; how long each of them waited for
// another to serve it, sorted.
func (s *swarmCluster) servedWithout(victim string) []time.Duration {
	s.t.Helper()
	at := mono.Now()
	s.signal(victim, syscall.SIGKILL)
	<-s.procs[victim].done
	var served swarm.Times
	s.eventually(swarmLimit, "all agents are served again", func() error {
		s.ask(swarm.Order{Do: swarm.Served, Since: at, But: victim}, &served)
		if len(served.Missing) > 0 || len(served.At) == 0 {
			return fmt.Errorf("%d are, %d are not, %v among them", len(served.At), len(served.Missing), served.Missing[:min(len(served.Missing), 10)])
		}
		return nil
	})
	return served.Since(at)
}
