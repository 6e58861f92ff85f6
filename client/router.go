package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// routerBeat is how often a Router is told how old its copy may be.
	routerBeat = time.Second
	// tableRetry is between two attempts to read the table that a change of the
	// configuration calls for.
	tableRetry     = 50 * time.Millisecond
	tableRetryMost = 2 * time.Second
	// tableAnswer bounds one: a million items are some 30 MB.
	tableAnswer = 30 * time.Second
)

// Router answers where keys are from a copy of its own, which follows one system
// through a watch: a look-up asks nobody. Its answers are at most as old as Age says;
// an owner that is shown as holding an item may have let go of it since, so that who
// writes sends the token along, or asks the owner.
//
// It is safe for concurrent use. Run it; before Ready is closed it knows nothing.
type Router struct {
	c      *Client
	system fsm.SystemID
	beat   time.Duration
	ready  chan struct{}
	fresh  atomic.Int64 // until when all was known, in nanoseconds after begun; or never
	begun  time.Time
	now    atomic.Pointer[routes]
	copied picture // Run's own

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when answers are others
	heard   chan struct{} // and whenever anything was heard, or nothing is any more
	err     error
}

// NewRouter makes one of a system; c may be used for other things too.
func NewRouter(c *Client, system fsm.SystemID) *Router {
	r := &Router{
		c: c, system: system, beat: routerBeat, begun: time.Now(),
		ready: make(chan struct{}), changed: make(chan struct{}), heard: make(chan struct{}),
	}
	r.fresh.Store(never)
	return r
}

// never is the value of fresh for a copy of which nothing is known.
const never = math.MinInt64

// Run follows the system until ctx ends, or after an error that no other attempt would
// mend, such as a system that there is not. Failures before that are Err's.
func (r *Router) Run(ctx context.Context) error {
	for e, err := range r.c.watch(ctx, watch{system: r.system, index: WatchState, beat: r.beat}) {
		switch {
		case err != nil && hopeless(err):
			return fmt.Errorf("follow system %s: %w", r.system, err)
		case err != nil:
		case e.Kind == api.KindIdle:
			r.aged(e)
		default:
			if batch := r.copied.take(e); batch {
				if err := r.publish(ctx); err != nil {
					return err
				}
			}
		}
		r.hears(err)
	}
	return nil
}

// publish has look-ups answered by what the copy has become. After a change of the
// configuration the table is read anew first.
func (r *Router) publish(ctx context.Context) error {
	for wait := tableRetry; r.copied.owed; wait = min(2*wait, tableRetryMost) {
		table, err := r.readTable(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && hopeless(err):
			return fmt.Errorf("follow system %s: %w", r.system, err)
		case err != nil:
			r.hears(err)
		case table.Index >= r.copied.index: // else it is another daemon's, which has read less
			if err := r.copied.tabled(table); err != nil {
				return fmt.Errorf("follow system %s: %w", r.system, err)
			}
			continue
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	r.now.Store(r.copied.routes())
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
	return nil
}

func (r *Router) readTable(ctx context.Context) (api.RouteTable, error) {
	ctx, cancel := context.WithTimeout(ctx, tableAnswer)
	defer cancel()
	return r.c.RouteTable(ctx, r.system)
}

// hears notes that something was heard, or why not.
func (r *Router) hears(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	close(r.heard)
	r.heard = make(chan struct{})
}

// aged takes in how old the copy may be. The look-ups that it holds for are those of
// what was published before.
func (r *Router) aged(e api.Event) {
	if e.AgeMS == nil || *e.AgeMS < 0 {
		return
	}
	r.fresh.Store(int64(time.Since(r.begun) - time.Duration(*e.AgeMS)*time.Millisecond))
}

// Ready is closed once the Router can answer.
func (r *Router) Ready() <-chan struct{} { return r.ready }

// Changed is closed when answers may be others than now.
func (r *Router) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Err is why nothing new is heard at the moment; nil: as far as is known all is well.
func (r *Router) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Age is how old the answers may be: all that was agreed on before that is in them.
// While all is well it is no more than a second and what it takes to tell. false: it
// was never known.
func (r *Router) Age() (time.Duration, bool) {
	fresh := r.fresh.Load()
	if fresh == never {
		return 0, false
	}
	return max(time.Since(r.begun)-time.Duration(fresh), 0), true
}

// Owners are whose the item of a key is, by rank; nobody may change what it returns.
func (r *Router) Owners(key string) ([]api.RouteOwner, error) {
	now := r.now.Load()
	if now == nil {
		return nil, errNotReady
	}
	c := now.find(key)
	if c == nil {
		return nil, now.unknown(key)
	}
	return *c.owners.Load(), nil
}

// errNotReady is returned by each look-up before the first answer of the daemon.
var errNotReady = &api.Error{
	Code: api.CodeUnavailable, Message: "the router has not heard from a daemon yet", Hint: "wait for Ready; Err says what it waits for",
}

// ErrNobody is returned for a key whose item nobody is known to hold.
var ErrNobody = errors.New("nobody is known to hold it now")

// Primary is who holds the item of a key as its primary.
func (r *Router) Primary(key string) (api.RouteOwner, error) {
	owners, err := r.Owners(key)
	switch {
	case err != nil:
		return api.RouteOwner{}, err
	case len(owners) == 0 || !owners[0].Held:
		return api.RouteOwner{}, ErrNobody
	default:
		return owners[0], nil
	}
}

// Route is all about a key, as GET /v1/route answers it.
func (r *Router) Route(key string) (api.Route, error) {
	now := r.now.Load()
	if now == nil {
		return api.Route{}, errNotReady
	}
	c := now.find(key)
	if c == nil {
		return api.Route{}, now.unknown(key)
	}
	age := int64(-1)
	if known, ok := r.Age(); ok {
		age = known.Milliseconds()
	}
	owners := *c.owners.Load()
	return api.Route{
		Stamp:  api.Stamp{Index: now.index, AgeMS: age},
		System: r.system, Key: key, Item: c.item.ID, Addresses: c.item.Addresses,
		Owners: owners, Members: now.members.Preference(c.item, owners),
	}, nil
}
