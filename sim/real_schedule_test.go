package sim_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// schedules is how many random ones run; with -short the first few of them. More
// seeds: FLIP_REAL_SEEDS=n.
const (
	schedules      = 30
	schedulesShort = 3
)

// schedule is one random run.
type schedule struct {
	*world
	away fsm.MemberID // a member that stays dead at the end; "": none
	// wiped is a member whose new instance has no vote yet: a second wipe before
	// that could lose what is committed.
	wiped fsm.MemberID
	done  map[string]int // faults by name
}

// TestRealSchedules runs whole nodes under random faults and looks at every
// hook call, every State and, after the last heal, for rest.
func TestRealSchedules(t *testing.T) {
	n := schedules
	if testing.Short() {
		n = schedulesShort
	}
	if s := os.Getenv("FLIP_REAL_SEEDS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	keys()
	sum := map[string]int{}
	for seed := range n {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			voters := 3
			if seed%3 == 2 {
				voters = 5
			}
			bubble(t, uint64(seed), voters, rules{}, func(t *testing.T, w *world) {
				done, wrong := w.randomly()
				if wrong != "" {
					t.Error(wrong)
				}
				for what, n := range done {
					sum[what] += n
				}
			})
		})
	}
	t.Logf("faults: %v", sum)
	if !testing.Short() && !t.Failed() {
		for _, f := range faults {
			if sum[f.name] == 0 {
				t.Errorf("no schedule had the fault %q", f.name)
			}
		}
	}
}

// Each mechanism left out is found by one of the schedules: the checks can fail.
func TestRealSchedulesFind(t *testing.T) {
	const most = 100 // the rarest is found by every eighth
	left := []struct {
		name string
		left rules
	}{
		{"who is outstanding is ignored", rules{unblocked: true}},
		{"no lease is needed", rules{leaseless: true}},
		{"nobody is called down", rules{blind: true}},
		{"a stop hands nothing over", rules{abrupt: true}},
		{"instances are not checked", rules{gullible: true}},
		{"all rules of the lease left out", rules{liveness: ^liveness.Rule(0)}},
	}
	if testing.Short() {
		left = left[:2]
	}
	for _, c := range left {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(most) {
				found := ""
				bubble(t, seed, 3, c.left, func(_ *testing.T, w *world) {
					_, found = w.randomly()
					if v := w.violation(); v != "" {
						found = v
					}
				})
				if found != "" {
					t.Logf("seed %d: %s", seed, found)
					return
				}
			}
			t.Errorf("not found in %d schedules", most)
		})
	}
}

// randomly runs one schedule and answers with the faults it had, and with what
// is not as it should be after the last heal; "": all is.
func (w *world) randomly() (done map[string]int, wrong string) {
	w.t.Helper()
	s := &schedule{world: w, done: map[string]int{}}
	w.boot()
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); {
		time.Sleep(time.Duration(w.rng.Int64N(int64(500 * time.Millisecond))))
		f := s.pick()
		if f.do(s) {
			s.done[f.name]++
		}
		if w.violation() != "" {
			return s.done, ""
		}
	}
	s.mend()
	if !w.within(rest, w.settled) {
		return s.done, fmt.Sprintf("not at rest %v after the last heal: %s", rest, w.unfinished())
	}
	time.Sleep(ttl)
	if !w.within(ttl, w.settled) {
		return s.done, "restless: " + w.unfinished()
	}
	return s.done, ""
}

// fault is one thing that may go wrong, or right again.
type fault struct {
	name   string
	weight int
	do     func(*schedule) bool // false: not possible now
}

var faults = []fault{
	{"partition", 4, (*schedule).partition},
	{"one-way cut", 4, (*schedule).oneWay},
	{"leader cut off", 2, (*schedule).leaderOff},
	{"member deaf or mute", 2, (*schedule).half},
	{"loss", 2, (*schedule).lossy},
	{"heal", 6, (*schedule).healed},
	{"kill", 4, (*schedule).killOne},
	{"kill the leader", 1, (*schedule).killLeader},
	{"reboot", 1, (*schedule).rebootOne},
	{"wipe", 2, (*schedule).wipeOne},
	{"stop", 2, (*schedule).stopOne},
	{"restart", 8, (*schedule).restartOne},
	{"restart of all", 1, (*schedule).restartAll},
	{"bad hooks", 2, (*schedule).badHooks},
	{"good hooks", 2, (*schedule).goodHooks},
	{"calm", 1, (*schedule).calm},
}

func (s *schedule) pick() fault {
	sum := 0
	for _, f := range faults {
		sum += f.weight
	}
	n := s.rng.IntN(sum)
	for _, f := range faults {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	panic("unreachable")
}

// any is a random member that runs or, with no such, "".
func (s *schedule) anyRunning() *node {
	up := s.running()
	if len(up) == 0 {
		return nil
	}
	return up[s.rng.IntN(len(up))]
}

func (s *schedule) partition() bool {
	var some []fsm.MemberID
	for _, m := range s.names() {
		if s.rng.IntN(2) == 0 {
			some = append(some, m)
		}
	}
	links := s.apart(some...)
	s.event("partition: %v on one side", some)
	s.net.set(true, links...)
	return len(links) > 0
}

func (s *schedule) oneWay() bool {
	links := s.all()
	for range 1 + s.rng.IntN(len(s.names())) {
		l := links[s.rng.IntN(len(links))]
		s.event("cut %s to %s", l.from, l.to)
		s.net.set(true, l)
	}
	return true
}

func (s *schedule) leaderOff() bool {
	p := s.leader()
	if p == nil {
		return false
	}
	s.event("cut the leader %s off", p.name)
	s.net.set(true, s.apart(p.name)...)
	return true
}

// half cuts one direction of all links of one member.
func (s *schedule) half() bool {
	m := s.names()[s.rng.IntN(len(s.names()))]
	deaf := s.rng.IntN(2) == 0
	s.event("%s is %s", m, map[bool]string{true: "deaf", false: "mute"}[deaf])
	for _, l := range s.apart(m) {
		if (l.to == m) == deaf {
			s.net.set(true, l)
		}
	}
	return true
}

func (s *schedule) lossy() bool {
	share := 0.05 + 0.35*s.rng.Float64()
	s.event("loss of %.0f %%", 100*share)
	s.net.lose(share)
	return true
}

func (s *schedule) healed() bool {
	s.event("heal")
	s.net.heal()
	return true
}

func (s *schedule) killOne() bool {
	p := s.anyRunning()
	if p == nil {
		return false
	}
	p.kill()
	return true
}

func (s *schedule) killLeader() bool {
	p := s.leader()
	if p == nil {
		return false
	}
	p.kill()
	return true
}

func (s *schedule) rebootOne() bool {
	p := s.anyRunning()
	if p == nil {
		return false
	}
	s.halt(p)
	p.machine.reboot()
	return true
}

// wipeOne empties a data directory, once nothing is lost by it: the one wiped
// before has its vote again, so a majority of disks has all that is committed.
func (s *schedule) wipeOne() bool {
	p := s.anyRunning()
	if p == nil || s.lacksVote() {
		return false
	}
	s.halt(p)
	s.event("wipe %s", p.name)
	s.wipe(p.name)
	s.wiped = p.name
	return true
}

// lacksVote reports whether the member wiped last has no vote yet.
func (s *schedule) lacksVote() bool {
	state, _ := s.newest()
	return s.wiped != "" && !state.Voters().Has(fsm.NewVoterID(s.wiped, s.disks[s.wiped].instance))
}

func (s *schedule) stopOne() bool {
	p := s.anyRunning()
	if p == nil || closed(p.told) {
		return false
	}
	s.terminate(p)
	return true
}

// over reports whether a member's last process has gone altogether.
func (s *schedule) over(m fsm.MemberID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return closed(s.nodes[m].ended)
}

func (s *schedule) restartOne() bool {
	for _, i := range s.rng.Perm(len(s.names())) {
		if m := s.names()[i]; s.over(m) {
			s.start(m)
			return true
		}
	}
	return false
}

func (s *schedule) restartAll() bool {
	for _, p := range s.running() {
		p.kill()
	}
	for _, m := range s.names() {
		<-s.nodes[m].ended
	}
	for _, i := range s.rng.Perm(len(s.names())) {
		s.start(s.names()[i])
	}
	return true
}

func (s *schedule) badHooks() bool  { s.set(shaky); return true }
func (s *schedule) goodHooks() bool { s.set(quick); return true }

func (s *schedule) set(hooks func(*world) outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = hooks
}

func (s *schedule) calm() bool {
	time.Sleep(2 * time.Second)
	return true
}

// mend ends all faults at one instant; now and then one member that was killed
// does not come back.
func (s *schedule) mend() {
	for _, p := range s.running() {
		if closed(p.told) {
			<-p.ended
		}
	}
	for _, m := range s.names() {
		if s.alive(m) == nil {
			<-s.nodes[m].ended
		}
	}
	if s.rng.IntN(3) == 0 {
		if p := s.anyRunning(); p != nil && !s.lacksVote() {
			s.away = p.name
			s.halt(p)
		}
	}
	s.event("the last heal")
	s.set(quick)
	s.net.heal()
	for _, i := range s.rng.Perm(len(s.names())) {
		if m := s.names()[i]; m != s.away && s.alive(m) == nil {
			s.start(m)
		}
	}
}
