package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// writeTimeout bounds a write: an election, and twice what a leader may take for
// a commit before it gives up. client's own is above it.
const writeTimeout = 10 * time.Second

const lookAgain = "look again, and decide anew"

// propose has a command agreed on. One that the cluster refuses is an error that
// says why.
func (l local) propose(ctx context.Context, c fsm.Command) error {
	if l.Proposer == nil {
		return &api.Error{Code: api.CodeUnavailable, Message: "this node cannot change anything"}
	}
	res, err := l.Proposer.Propose(ctx, c)
	if err != nil {
		return err
	}
	if !res.Applied {
		return &api.Error{Code: api.CodeRefused, Message: "the cluster refuses it: " + res.Why, Hint: "`flip status` shows how things are"}
	}
	return nil
}

// stamp is of the View of this moment.
func (l local) stamp() (api.Stamp, *fsm.State) {
	stamp := l.stampNow()
	state, at := l.Node.View()
	stamp.Index = at
	return stamp, state
}

func (l local) stampNow() api.Stamp {
	if l.Stamp != nil {
		return l.Stamp()
	}
	return l.Status.Status().Stamp
}

// begin begins the time of a write. What is there is looked at only after the
// leader was asked: to be told of what is gone by now helps nobody.
func (l local) begin(r *http.Request) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	if l.Verifier == nil {
		return ctx, cancel, nil
	}
	if err := l.Verifier.Verify(ctx); err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, cancel, nil
}

func (l local) cleanup(r *http.Request) (any, error) {
	var in api.Cleanup
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if in.System == "" && in.Item != "" {
		return nil, badBody(errors.New("an item needs its system"))
	}
	ctx, cancel, err := l.begin(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	state, _ := l.Node.View()
	if err := cleanable(state, in); err != nil {
		return nil, err
	}
	out := api.Cleaned{Forgotten: []api.Failure{}}
	for _, f := range failuresOf(state) {
		if (in.System == "" || f.System == in.System) && (in.Item == "" || f.Item == in.Item) {
			out.Forgotten = append(out.Forgotten, f)
		}
	}
	if err := l.propose(ctx, fsm.Cleanup{System: in.System, Item: in.Item, At: now()}); err != nil {
		return nil, err
	}
	out.Stamp, _ = l.stamp()
	return out, nil
}

// cleanable refuses names that neither the configuration nor a failure has.
func cleanable(s *fsm.State, in api.Cleanup) error {
	if in.System == "" {
		return nil
	}
	for _, f := range s.Failures() {
		if f.System == in.System && (in.Item == "" || f.Item == in.Item) {
			return nil
		}
	}
	return known(s, in.System, in.Item)
}

// known refuses a system, or an item if one is named, that the configuration
// does not have; its error names those that there are.
func known(s *fsm.State, system fsm.SystemID, item fsm.ItemID) error {
	sys, found := s.Spec().Systems[system]
	if !found {
		return unknownSystem(s, system)
	}
	if item == "" || slices.ContainsFunc(sys.Items, func(i fsm.Item) bool { return i.ID == item }) {
		return nil
	}
	const most = 20
	names := make([]string, 0, most)
	for _, i := range sys.Items[:min(len(sys.Items), most)] {
		names = append(names, string(i.ID))
	}
	hint := "its items: " + strings.Join(names, ", ")
	if n := len(sys.Items) - most; n > 0 {
		hint += fmt.Sprintf(" and %d more", n)
	}
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("system %s has no item %s", system, item), Hint: hint}
}

func (l local) maintain(r *http.Request) (any, error) {
	var in api.Maintain
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	ctx, cancel, err := l.begin(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	state, _ := l.Node.View()
	// A system that is gone may still have its maintenance ended.
	if in.System != "" && !slices.Contains(state.Maintenance(), in.System) {
		if err := known(state, in.System, ""); err != nil {
			return nil, err
		}
	}
	if err := l.propose(ctx, fsm.Maintain{System: in.System, On: in.On, At: now()}); err != nil {
		return nil, err
	}
	stamp, state := l.stamp()
	return api.Maintained{Stamp: stamp, Maintenance: append([]api.Maintenance{}, maintenanceOf(state)...)}, nil
}

func (l local) release(r *http.Request) (any, error) {
	var in api.Release
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if in.System == "" || in.Item == "" || len(in.Claims) == 0 {
		return nil, badBody(errors.New("a release names a system, an item and the entries to make void"))
	}
	ctx, cancel, err := l.begin(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	state, _ := l.Node.View()
	there := blocking(state, in.System, in.Item)
	if len(there) == 0 {
		if err := known(state, in.System, in.Item); err != nil {
			return nil, err
		}
	}
	api.SortClaims(in.Claims)
	if !slices.Equal(in.Claims, there) {
		return nil, &api.Error{
			Code:    api.CodeChanged,
			Message: fmt.Sprintf("who may still hold %s/%s has changed: nothing was done", in.System, in.Item), Hint: lookAgain,
		}
	}
	force := fsm.Force{}
	for _, c := range in.Claims {
		key := fsm.Key{System: in.System, Item: in.Item, Rank: c.Rank}
		force.Claims = append(force.Claims, fsm.Claim{Key: key, Member: c.Member, Epoch: c.Epoch, Token: c.Token})
	}
	if err := l.propose(ctx, force); err != nil {
		return nil, err
	}
	stamp, _ := l.stamp()
	return api.Released{Stamp: stamp, Void: in.Claims}, nil
}

// blocking names the entries that an item's owners wait for.
func blocking(s *fsm.State, system fsm.SystemID, item fsm.ItemID) []api.Claim {
	var rows []api.Row
	for slot := range s.SlotsOf(system) {
		if slot.Item == item {
			rows = append(rows, rowOf(s, slot))
		}
	}
	return api.Blocking(rows)
}

func now() int64 { return time.Now().UnixMilli() }
