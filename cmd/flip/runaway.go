package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// away has the voters answer what an agent cannot.
type away struct {
	self fsm.MemberID
	// whom are the addresses to be tried, in this order.
	whom func() []string
	key  func() string // which key ask goes by now
	ask  func(addrs []string) *client.Client

	mu    sync.Mutex
	addrs []string // of asks
	mark  string   // the key of asks
	asks  *client.Client
}

// Pass implements server.Elsewhere.
func (a *away) Pass(ctx context.Context, req *http.Request, body []byte) (*http.Response, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	resp, err := c.Pass(ctx, string(a.self), req, body)
	if api.CodeOf(err) == api.CodeNoDaemon {
		return nil, noVoter(err)
	}
	return resp, err
}

// noVoter is the answer of an agent that reaches none. It is a daemon that answers:
// who asks is told the same as where there is no leader.
func noVoter(err error) error {
	var e *api.Error
	errors.As(err, &e)
	return &api.Error{
		Code: api.CodeNoLeader, Message: "this is an agent, and no voter answers it: " + strings.TrimPrefix(e.Message, "no daemon answers: "),
		Hint: reachVoters,
	}
}

// client is of the voters that there are now, with the key that counts now; while they
// are the same it keeps to the one that answers.
func (a *away) client() (*client.Client, error) {
	addrs := a.whom()
	if len(addrs) == 0 {
		return nil, &api.Error{
			Code: api.CodeUnavailable, Message: "this agent knows of no voter yet", Hint: "`flip status` here says what it waits for",
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if key := a.key(); a.asks == nil || key != a.mark || !slices.Equal(sorted(addrs), sorted(a.addrs)) {
		a.end()
		a.asks, a.addrs, a.mark = a.ask(addrs), addrs, key
	}
	return a.asks, nil
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// end is called under the lock.
func (a *away) end() {
	if a.asks != nil {
		a.asks.Close()
	}
}

// Close drops the connections that nobody uses.
func (a *away) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end()
}

// voterAddrs are the addresses of those that have all of the log, the one first that
// this agent reads from.
func (d *daemon) voterAddrs() []string {
	state, _ := d.node.View()
	var informant fsm.MemberID
	if a, ok := d.node.informed(); ok {
		informant = a.Source()
	}
	return addrsOf(state, d.spec(), d.self.Name, informant)
}

// addrsOf are the addresses of the voters but one; before any are agreed on, of those
// that are to be.
func addrsOf(s *fsm.State, spec *fsm.Spec, but, first fsm.MemberID) []string {
	voters := len(s.Voters().IDs) > 0
	var names []fsm.MemberID
	for name, server := range spec.Servers {
		if name != but && (voters && s.HasVote(name) || !voters && server.Votes()) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b fsm.MemberID) int {
		return cmp.Or(boolean(b == first)-boolean(a == first), cmp.Compare(a, b))
	})
	var out []string
	for _, name := range names {
		out = append(out, spec.Servers[name].Addr)
	}
	return out
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
