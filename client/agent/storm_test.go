package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func TestAllGoneAndBack(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		until(t, time.Second, "settled", func() bool { return c.settled("a1") })
		for name := range c.voters {
			c.kill(name)
		}
		synctest.Wait()
		if name, _ := a.Leader(); name == "" {
			t.Error("the leader is forgotten at once")
		}
		time.Sleep(lan.Lease)
		if name, _ := a.Leader(); name != "" || a.Source() != "" {
			t.Errorf("%s leads, from %s", name, a.Source())
		}
		time.Sleep(time.Minute)
		if a.owns() != "" || a.at() == 0 {
			t.Error("the view is gone")
		}
		if age := a.Age(); age < time.Minute {
			t.Errorf("age %v", age)
		}
		for name := range c.voters {
			c.start(name)
		}
		c.move("a", "a1")
		took := until(t, 3*time.Second, "served", func() bool { return a.owns() == "a" })
		if took > 1600*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// Another leader is known at once, not only when there is anything else to tell.
func TestAnotherLeads(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1")
		defer a.stop()
		a.served(c, time.Second)
		for _, leader := range []fsm.MemberID{"v2", "", "v3"} {
			time.Sleep(time.Second)
			c.leads(leader)
			took := until(t, time.Second, "known", func() bool { name, _ := a.Leader(); return name == leader })
			if took > 55*time.Millisecond {
				t.Errorf("%q was known after %v", leader, took)
			}
		}
	})
}

// herd is many agents at once.
type herd struct {
	c   *cluster
	all []*testAgent
}

func (c *cluster) herd() *herd {
	h := &herd{c: c}
	for i := range crowd {
		h.all = append(h.all, c.agent(fsm.MemberID(fmt.Sprintf("a%d", i+1)), mute))
	}
	return h
}

func (h *herd) served(limit time.Duration) time.Duration {
	h.c.t.Helper()
	return until(h.c.t, limit, "all served", func() bool {
		for _, a := range h.all {
			if a.Source() == "" || h.c.voter(a.Source()).isGone() {
				return false
			}
		}
		return true
	})
}

// most is how many knocked at one moment at most; from now on they are counted anew.
func (h *herd) most() (most int) {
	at := map[time.Time]int{}
	for _, v := range h.c.voters {
		v.set(func() {
			for t, n := range v.when {
				at[t] += n
				most = max(most, at[t])
			}
			v.when = map[time.Time]int{}
		})
	}
	return most
}

var three = []fsm.MemberID{"v1", "v2", "v3"}

// When a voter dies, those that it served do not all knock at one moment; nor when all
// were gone and are back, also if all agents began at one moment. They are spread over
// all voters.
func TestNoStorms(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		h := c.herd()
		h.served(time.Second)
		h.most()
		c.kill("v1")
		if took, most := h.served(time.Second), h.most(); took > 100*time.Millisecond || most > 3 {
			t.Errorf("one died: served after %v, %d at one moment", took, most)
		}
		each := map[fsm.MemberID]int{}
		for _, a := range h.all {
			each[a.Source()]++
			a.stop()
		}
		for name, n := range each {
			if n < crowd/4 {
				t.Errorf("%s serves %d of %d", name, n, crowd)
			}
		}
	})
	bubble(t, func(t *testing.T, c *cluster) {
		for _, name := range three {
			c.kill(name)
		}
		h := c.herd()
		time.Sleep(10 * time.Second)
		for _, name := range three {
			c.start(name)
		}
		if took, most := h.served(3*time.Second), h.most(); took > 1600*time.Millisecond || most > 3 {
			t.Errorf("all were gone: served after %v, %d at one moment", took, most)
		}
		for _, a := range h.all {
			a.stop()
		}
	})
}
