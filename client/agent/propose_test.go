package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/enroll"
)

// mute has an agent that does not register.
func mute(cfg *Config) { cfg.Detector.(*fakeLive).mute = true }

func (c *cluster) taken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proposed
}

func TestProposeFollowsTheLeader(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1", mute)
		defer a.stop()
		a.served(c, time.Second)
		for _, leader := range []fsm.MemberID{"v1", "v3", "v2", "v2"} {
			c.leads(leader)
			if res, err := a.Propose(t.Context(), fsm.Probe{}); err != nil || !res.Applied {
				t.Errorf("under %s: %+v, %v", leader, res, err)
			}
		}
		if got := c.taken(); got != 4 {
			t.Errorf("%d commands came to a leader", got)
		}
	})
}

// The voter that serves it does not know the new leader: whom it names does.
func TestProposeFollowsAHint(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1", mute)
		defer a.stop()
		a.served(c, time.Second)
		source := c.voter(a.Source())
		source.set(func() { source.stuck = true })
		c.leads("v2")
		began := time.Now()
		if _, err := a.Propose(t.Context(), fsm.Probe{}); err != nil || time.Since(began) > 0 {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}

func TestProposeWaitsForALeader(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1", mute)
		defer a.stop()
		a.served(c, time.Second)
		c.leads("")
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		if _, err := a.Propose(t.Context(), fsm.Probe{}); !errors.Is(err, enroll.ErrNoLeader) || time.Since(began) != time.Second {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
		var proposed sync.WaitGroup
		proposed.Go(func() {
			if _, err := a.Propose(t.Context(), fsm.Probe{}); err != nil {
				t.Errorf("a leader came: %v", err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		c.leads("v3")
		proposed.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		c.leads("")
		time.Sleep(60 * time.Millisecond)
		if _, err := a.Propose(ctx, fsm.Probe{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the asker has gone: %v", err)
		}
	})
}

// A leader that is dead is no reason to say "uncertain": nothing was sent.
func TestProposeToADeadLeader(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1", mute)
		defer a.stop()
		a.served(c, time.Second)
		leader := fsm.MemberID("v1")
		if a.Source() == leader {
			leader = "v2"
			c.leads(leader)
		}
		c.kill(leader)
		if _, err := a.Propose(t.Context(), fsm.Probe{}); !errors.Is(err, enroll.ErrNoLeader) || errors.Is(err, enroll.ErrUncertain) {
			t.Errorf("got %v", err)
		}
		if c.taken() != 0 {
			t.Error("somebody took it")
		}
	})
}

// What may have been taken is not sent again, however it ends.
func TestUncertainIsNotSentTwice(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		a := c.agent("a1", mute)
		defer a.stop()
		a.served(c, time.Second)
		ways := map[string]func(){
			"the leader dies": func() { c.kill(c.leader) },
			"another leads": func() {
				for _, v := range c.voters {
					if v.name != c.leader {
						c.leads(v.name)
						return
					}
				}
			},
			"no answer": func() {},
		}
		for _, name := range []string{"another leads", "no answer", "the leader dies"} {
			before := c.taken()
			c.mu.Lock()
			c.commit = make(chan struct{})
			c.mu.Unlock()
			var ended error
			began := time.Now()
			var proposed sync.WaitGroup
			proposed.Go(func() { _, ended = a.Propose(t.Context(), fsm.Probe{}) })
			time.Sleep(10 * time.Millisecond)
			ways[name]()
			proposed.Wait()
			if !errors.Is(ended, enroll.ErrUncertain) || c.taken() != before+1 {
				t.Errorf("%s: %v; taken %d times", name, ended, c.taken()-before)
			}
			if took := time.Since(began); took > forwardWait+time.Second || name != "no answer" && took > time.Second {
				t.Errorf("%s: after %v", name, took)
			}
			c.mu.Lock()
			close(c.commit)
			c.commit = nil
			c.mu.Unlock()
			synctest.Wait()
		}
	})
}

func TestWhatAnErrorMeans(t *testing.T) {
	cut := &net.OpError{Op: "read", Err: errors.New("reset")}
	for _, tt := range []struct {
		err              error
		again, uncertain bool
	}{
		{api.NotLeader("v1", "v1:1"), true, false},
		{api.NoLeader("nobody votes"), true, false},
		{fmt.Errorf("ask: %w", client.ErrNotSent), true, false},
		{&api.Error{Code: api.CodeBadRequest}, false, false},
		{&api.Error{Code: api.CodeForbidden}, false, false},
		{&api.Error{Code: api.CodeUncertain}, false, true},
		{&api.Error{Code: api.CodeUnavailable}, false, true},
		{&api.Error{Code: api.CodeTimeout}, false, true},
		{&api.Error{Code: api.CodeInternal}, false, true},
		{fmt.Errorf("ask: %w", cut), false, true},
		{context.Canceled, false, true},
	} {
		n := New(Config{Self: "a1", Instance: "i", Seed: specOf(1, 1), Peers: failing{tt.err}})
		n.leader = leader{"v1", "v1:1"}
		_, err := n.forward(t.Context(), n.leader, nil, nil)
		if notProposed(err) != tt.again || errors.Is(err, enroll.ErrUncertain) != tt.uncertain || !strings.Contains(err.Error(), tt.err.Error()) {
			t.Errorf("%v became %v: again %v, uncertain %v", tt.err, err, notProposed(err), errors.Is(err, enroll.ErrUncertain))
		}
	}
}

// failing has every command fail.
type failing struct{ err error }

func (f failing) Part(context.Context, client.Target, api.PartRequest) (Stream, error) {
	return nil, f.err
}

func (f failing) Propose(context.Context, client.Target, []byte) (fsm.Result, error) {
	return fsm.Result{}, f.err
}
