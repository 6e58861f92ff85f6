package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/enroll"
)

// From nothing: a stream, the registration through the leader, what is moved to it.
func TestAnAgentReadsAndRegisters(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var saved string
		a := c.agent("a1", func(cfg *Config) { cfg.SaveCluster = func(id string) error { saved = id; return nil } })
		defer a.stop()
		if _, at := a.View(); at != 0 || a.Age() >= 0 || a.Source() != "" {
			t.Errorf("before anything: at %d, age %v, from %q", at, a.Age(), a.Source())
		}
		took := until(t, time.Second, "settled", func() bool { return c.settled("a1") })
		if took > 300*time.Millisecond {
			t.Errorf("registered after %v", took)
		}
		if saved != "c1" {
			t.Errorf("cluster %q", saved)
		}
		at := c.move("b", "a1")
		c.move("c", "v1")
		until(t, 100*time.Millisecond, "owns b", func() bool { return a.owns() == "b" })
		if a.at() < at {
			t.Errorf("read up to %d", a.at())
		}
		s, _ := a.View()
		if _, ok := s.Slot(fsm.Key{System: "ip", Item: "c"}); ok {
			t.Error("it was told of what is none of its business")
		}
		if name, addr := a.Leader(); name != "v1" || addr != "v1:1" || a.live.leader != "v1/i-v1" {
			t.Errorf("leader %s at %s, shown %s", name, addr, a.live.leader)
		}
		if vs := a.Voters(); len(vs) != 3 || !vs[0].Serves || vs[0].Name != a.Source() || vs[1].Serves {
			t.Errorf("voters %+v, source %s", vs, a.Source())
		}
		if a.Age() > lan.Lease/2 {
			t.Errorf("age %v", a.Age())
		}
	})
}

// What concerns nobody here comes as a mark: the index goes on.
func TestMarks(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		time.Sleep(time.Second)
		s, _ := a.View()
		at := c.move("a", "v2")
		took := until(t, time.Second, "the index goes on", func() bool { return a.at() >= at })
		if took > lan.Lease/3+5*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if now, _ := a.View(); now != s {
			t.Error("another State")
		}
	})
}

// What is shown is as fresh as the voter's own reading was, and no older than it was
// known to be before.
func TestAge(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		time.Sleep(time.Second)
		if age := a.Age(); age > lan.Lease/3 {
			t.Errorf("the voter is up to date: %v", age)
		}
		v := c.voter(a.Source())
		v.set(func() { v.age = 10 * time.Second })
		time.Sleep(time.Second)
		if age := a.Age(); age < time.Second-lan.Lease/3 || age > time.Second+lan.Lease/3 {
			t.Errorf("it is not any more: %v", age)
		}
		time.Sleep(20 * time.Second)
		if age := a.Age(); age < 10*time.Second || age > 10*time.Second+lan.Lease/3 {
			t.Errorf("it trails by 10 s: %v", age)
		}
		v.set(func() { v.age = -time.Millisecond })
		time.Sleep(10 * time.Second)
		if age := a.Age(); age < 20*time.Second {
			t.Errorf("it does not know: %v", age)
		}
	})
}

func TestAVoterDies(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		first := a.Source()
		c.kill(first)
		c.move("a", "a1")
		took := until(t, time.Second, "served by another", func() bool { return a.Source() != "" && a.Source() != first && a.owns() == "a" })
		if took > 100*time.Millisecond { // an eighth of the lease, and the look
			t.Errorf("it took %v", took)
		}
		if name, _ := a.Leader(); name == "" {
			t.Error("the leader was forgotten meanwhile")
		}
		// It is the first of the order: back home, once that is there again.
		c.start(first)
		took = until(t, 2*homeEvery+10*time.Second, "home", func() bool { return a.Source() == first })
		if took < homeEvery/2 {
			t.Errorf("already after %v", took)
		}
	})
}

// A machine that is switched off breaks no connection.
func TestAVoterHangs(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		first := a.Source()
		c.voter(first).hang()
		c.move("a", "a1")
		took := until(t, time.Second, "served by another", func() bool { return a.Source() != first && a.owns() == "a" })
		if took > lan.Lease/2+20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		// Two of three: the one that still answers is found.
		c.voter(a.Source()).hang()
		c.move("b", "a1")
		until(t, lan.Lease+100*time.Millisecond, "served by the last", func() bool { return a.owns() == "ab" })
	})
}

// One that was only held up goes on serving, and nobody was lost.
func TestAVoterIsHeldUp(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		first := a.Source()
		for name, v := range c.voters {
			if name != first {
				v.stop()
			}
		}
		for range 10 {
			c.voter(first).hang()
			time.Sleep(lan.Lease * 3 / 5)
			if a.Source() != first {
				t.Fatalf("served by %q", a.Source())
			}
			c.voter(first).wakeUp()
			time.Sleep(lan.Lease / 2)
		}
		if got := c.voter(first).times(); got != 1 {
			t.Errorf("asked %d times", got)
		}
	})
}

// One whose log stands still goes on talking: the acknowledgements tell (L3).
func TestAVoterLags(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		time.Sleep(time.Second)
		first := a.Source()
		c.voter(first).set(func() { c.voter(first).stuck = true })
		at := c.move("a", "a1")
		a.live.acknowledged(at)
		time.Sleep(lan.Lease - 10*time.Millisecond)
		if a.Source() != first {
			t.Errorf("left it early, for %q", a.Source())
		}
		took := until(t, time.Second, "served by another", func() bool { return a.Source() != first && a.owns() == "a" })
		if took > 30*time.Millisecond {
			t.Errorf("%v after it was behind", took)
		}
	})
}

// A voter that is cut off from all others goes on serving what it has. Who has no lease
// hears from nobody that it is behind.
func TestAVoterKnowsNoLeader(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		first := a.Source()
		cutOff := func(name fsm.MemberID) {
			v := c.voter(name)
			v.set(func() { v.stuck, v.leader = true, leader{} })
		}
		cutOff(first)
		took := until(t, 3*blindFirst, "served by one that knows a leader", func() bool {
			name, _ := a.Leader()
			return a.Source() != first && name != ""
		})
		if took < blindFirst {
			t.Errorf("already after %v", took)
		}
		// It does not go home to it, and where nobody leads it stays where it is.
		second := a.Source()
		time.Sleep(3 * homeEvery)
		if a.Source() != second {
			t.Errorf("served by %q again", a.Source())
		}
		asked := 0
		for name := range c.voters {
			cutOff(name)
			asked -= c.voter(name).times()
		}
		time.Sleep(time.Minute)
		for name := range c.voters {
			asked += c.voter(name).times()
		}
		if a.Source() != second || asked > 2*7 {
			t.Errorf("served by %q, %d voters asked in a minute", a.Source(), asked)
		}
	})
}

// All lag: it asks round, and neither spins nor gives up what it has.
func TestAllLag(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		at := a.at()
		a.live.acknowledged(at + 1)
		time.Sleep(10 * time.Second)
		asked := 0
		for _, v := range c.voters {
			asked += v.times()
		}
		if asked < 5 || asked > 100 {
			t.Errorf("asked %d times in 10 s", asked)
		}
		if a.at() < at || a.Source() == "" {
			t.Errorf("at %d from %q", a.at(), a.Source())
		}
	})
}

// A voter that has less of the log than this member has read is refused, whatever else
// there is.
func TestViewsNeverGoBack(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		old, oldAt := c.now()
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		c.move("a", "a1")
		a.served(c, time.Second)
		at := a.at()
		first := a.Source()
		for name := range c.voters {
			c.kill(name)
		}
		v := c.start(first)
		v.set(func() { v.state, v.at, v.stuck = old, oldAt, true })
		time.Sleep(5 * time.Second)
		if a.at() != at || a.owns() != "a" || a.Source() != "" {
			t.Errorf("at %d, was %d; owns %q; from %q", a.at(), at, a.owns(), a.Source())
		}
		trouble := ""
		for _, o := range a.Voters() {
			if o.Name == first {
				trouble = o.Trouble
			}
		}
		if !strings.Contains(trouble, "up to") {
			t.Errorf("trouble of %s: %q", first, trouble)
		}
		if name, _ := a.Leader(); name != "" {
			t.Errorf("%s is still said to lead", name)
		}
		v.set(func() { v.stuck = false })
		c.spread()
		until(t, 3*time.Second, "served again", func() bool { return a.Source() == first })
	})
}

// Who was made an agent, or taken out, serves nobody any more; who reads from it goes
// elsewhere without a gap.
func TestAVoterStopsVoting(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		first := a.Source()
		state, _ := c.now()
		spec := *state.Spec()
		spec.Servers = map[fsm.MemberID]fsm.Server{}
		for name, s := range state.Spec().Servers {
			if name == first {
				s.Role = fsm.RoleAgent
			}
			spec.Servers[name] = s
		}
		c.do(fsm.SetSpec{Was: spec.Version, Spec: spec})
		until(t, 100*time.Millisecond, "elsewhere", func() bool {
			if a.Source() == "" {
				t.Fatal("a gap")
			}
			return a.Source() != first
		})
	})
}

// A member that is taken in as an agent after it was one of Raft's servers has read
// something already.
func TestItBeginsWhereItWas(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		_, at := c.now()
		ahead := at + 3
		a := c.agent("a1", func(cfg *Config) { cfg.Have = ahead })
		defer a.stop()
		time.Sleep(time.Second)
		if a.at() != 0 || a.live.at != 0 {
			t.Errorf("shows %d, which is less than %d", a.at(), ahead)
		}
		for range 3 {
			c.move("a", "v1")
			c.move("a", "v2")
		}
		until(t, 2*time.Second, "served", func() bool { return a.at() >= ahead })
	})
}

// A cluster of another id under the same key is not read.
func TestAnotherCluster(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1", func(cfg *Config) { cfg.Cluster = "c2" })
		defer a.stop()
		time.Sleep(5 * time.Second)
		if a.at() != 0 || a.Source() != "" || !strings.Contains(fmt.Sprint(a.Voters()), "cluster c1") {
			t.Errorf("at %d from %q: %+v", a.at(), a.Source(), a.Voters())
		}
	})
}

func TestTheClusterCannotBeNoted(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		live := &fakeLive{self: "a1", changed: make(chan struct{}, 1), mute: true}
		n := New(Config{
			Self: "a1", Instance: "i", Seed: specOf(3, crowd), Peers: Over(c.peersOf("a1")), Detector: live, Registrar: live,
			SaveCluster: func(string) error { return errNone },
		})
		if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "note the cluster's id") {
			t.Errorf("ended with %v", err)
		}
		if _, err := n.Propose(t.Context(), fsm.Probe{}); err == nil {
			t.Error("it still proposes")
		}
	})
}

var _ enroll.Node = enrolling{}
