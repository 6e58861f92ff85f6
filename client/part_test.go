package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// voting is a voter's log as a test writes it.
type voting struct {
	node
	t       testing.TB
	mu      sync.Mutex
	state   *fsm.State
	at      fsm.Index
	leader  fsm.MemberID
	age     time.Duration
	changed chan struct{}
}

func newVoting(t testing.TB) *voting {
	v := &voting{t: t, state: fsm.New(), leader: "n2", changed: make(chan struct{})}
	v.do(fsm.SetSpec{Cluster: "c1", Spec: fsm.Spec{
		Timing: fsm.Timing{
			Heartbeat: 200 * time.Millisecond, Lease: 1200 * time.Millisecond,
			RaftHeartbeat: time.Second, RaftElection: time.Second, RaftLease: 500 * time.Millisecond,
		},
		Quorum: 1, RemoveOnFailure: true,
		Servers: map[fsm.MemberID]fsm.Server{
			"n1": {Name: "n1", Addr: "127.0.0.1:1", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}},
			"n2": {Name: "n2", Addr: "127.0.0.1:2", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"ip"}},
		},
		Systems: map[fsm.SystemID]fsm.System{
			"ip": {Name: "ip", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Items: []fsm.Item{{ID: "a"}, {ID: "b"}}},
		},
	}})
	for _, m := range []fsm.MemberID{"n1", "n2"} {
		v.do(fsm.Register{Member: m, Nonce: fsm.Nonce{m[1]}, Process: fsm.Nonce{m[1]}, Host: fsm.Host{Machine: string(m)}, Wire: [2]uint16{1, 1}})
	}
	return v
}

func (v *voting) do(c fsm.Command) fsm.Index {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	next, res, err := v.state.Apply(v.at+1, fsm.Encode(c))
	if err != nil || !res.Applied || len(res.Dropped) > 0 {
		v.t.Fatalf("apply %+v: %+v, %v", c, res, err)
	}
	v.state, v.at = next, v.at+1
	close(v.changed)
	v.changed = make(chan struct{})
	return v.at
}

func (v *voting) move(item fsm.ItemID, to fsm.MemberID) fsm.Index {
	v.t.Helper()
	state, _ := v.View()
	k := fsm.Key{System: "ip", Item: item}
	slot, _ := state.Slot(k)
	return v.do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, To: to, Reason: "a test"}}})
}

func (v *voting) View() (*fsm.State, fsm.Index) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, v.at
}

func (v *voting) Changed(after fsm.Index) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at > after {
		done := make(chan struct{})
		close(done)
		return done
	}
	return v.changed
}

func (v *voting) Leader() (fsm.MemberID, string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.leader, "127.0.0.1:2"
}

func (v *voting) Age() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.age
}

// serving is that voter, n2, on a TLS port.
func serving(t testing.TB) (v *voting, parts *server.Parts, to Target, keys *secure.Keys) {
	t.Helper()
	v, keys = newVoting(t), must(t, clusterKeys)
	parts = server.NewParts(v)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := secure.Listen(inner, keys.Server(secure.Identity{Name: "n2", Instance: "i2"}), zerolog.Nop())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- port.Run(ctx) }()
	go func() { done <- parts.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("voter: %v", err)
			}
		}
	})
	serve(t, server.NewMembers(server.MembersConfig{
		Log: zerolog.Nop(), Node: v, Peer: v, Parts: parts,
		Identify: func(c net.Conn) (fsm.MemberID, error) {
			id, err := secure.PeerOf(c)
			return id.Name, err
		},
	}), port.HTTP())
	return v, parts, Target{Addr: inner.Addr().String(), Name: "n2"}, keys
}

// reader folds one stream.
type reader struct {
	t      *testing.T
	stream *PartStream
	state  *fsm.State
	at     fsm.Index
}

func (p *Peers) reading(t *testing.T, to Target, instance string) *reader {
	t.Helper()
	stream, err := p.Part(t.Context(), to, api.PartRequest{Member: "n1", Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return &reader{t: t, stream: stream, state: fsm.New()}
}

// next reads one frame and folds it; since: -1 for a mark.
func (r *reader) next() (f api.PartFrame, since int64) {
	r.t.Helper()
	f, err := r.stream.Next()
	if err != nil {
		r.t.Fatal(err)
	}
	if f.Index < r.at {
		r.t.Fatalf("index %d after %d", f.Index, r.at)
	}
	r.at = f.Index
	if f.Part == nil {
		return f, -1
	}
	part, err := fsm.DecodePart(f.Part)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.state, err = r.state.WithPart(part); err != nil {
		r.t.Fatal(err)
	}
	return f, int64(part.Since)
}

// First the whole, then what changes, and marks in between.
func TestPartStream(t *testing.T) {
	v, parts, to, keys := serving(t)
	p := peersOf(t, keys)
	v.move("a", "n1")
	r := p.reading(t, to, "i1")
	f, since := r.next()
	if since != 0 || f.Index != v.at || f.Leader != "n2" || f.LeaderAddr != "127.0.0.1:2" || f.AgeMS != 0 {
		t.Errorf("first %+v since %d", f, since)
	}
	began := time.Now()
	if _, since := r.next(); since != -1 || time.Since(began) < 200*time.Millisecond {
		t.Errorf("second since %d after %v", since, time.Since(began))
	}
	was := r.at
	v.move("b", "n2") // none of its business
	if f, since := r.next(); since != -1 || f.Index != was+1 {
		t.Errorf("a mark %+v since %d, want index %d", f, since, was+1)
	}
	at := v.move("b", "n1")
	if f, since := r.next(); since != int64(was) || f.Index != at {
		t.Errorf("changed %+v since %d, want %d since %d", f, since, at, was)
	}
	state, _ := v.View()
	for _, item := range []fsm.ItemID{"a", "b"} {
		k := fsm.Key{System: "ip", Item: item}
		want, _ := state.Slot(k)
		if got, ok := r.state.Slot(k); !ok || got.Token != want.Token || got.Owner != "n1" {
			t.Errorf("%s: %+v, want %+v", item, got, want)
		}
	}
	v.mu.Lock()
	v.leader, v.age = "", 7*time.Millisecond
	v.mu.Unlock()
	for f.Leader != "" {
		f, _ = r.next()
	}
	if f.LeaderAddr != "" && f.AgeMS != 7 {
		t.Errorf("no leader: %+v", f)
	}
	if parts.Readers() != 1 {
		t.Errorf("%d read", parts.Readers())
	}
}

// A voter that has not read as far as the asker waits a moment, and no longer.
func TestPartAhead(t *testing.T) {
	v, _, to, keys := serving(t)
	p := peersOf(t, keys)
	_, at := v.View()
	ask := func(have fsm.Index) (*PartStream, error) {
		return p.Part(t.Context(), to, api.PartRequest{Member: "n1", Instance: "i1", Have: have})
	}
	began := time.Now()
	if _, err := ask(at + 1); api.CodeOf(err) != api.CodeBehind || time.Since(began) < 250*time.Millisecond {
		t.Errorf("ahead: %v, after %v", err, time.Since(began))
	}
	got := make(chan api.PartFrame, 1)
	go func() {
		defer close(got)
		s, err := ask(at + 1)
		if err != nil {
			t.Errorf("ahead for a moment: %v", err)
			return
		}
		defer func() { _ = s.Close() }()
		f, err := s.Next()
		if err != nil {
			t.Error(err)
		}
		got <- f
	}()
	v.move("a", "n1")
	if f := <-got; f.Index != at+1 {
		t.Errorf("first %+v, want index %d", f, at+1)
	}
}

func TestPartRefuses(t *testing.T) {
	_, parts, to, keys := serving(t)
	p := peersOf(t, keys)
	for _, tt := range []struct {
		name string
		req  api.PartRequest
		off  bool
		code string
	}{
		{"somebody else", api.PartRequest{Member: "n3"}, false, api.CodeForbidden},
		{"of another cluster", api.PartRequest{Member: "n1", Cluster: "c2"}, false, api.CodeForbidden},
		{"no voter", api.PartRequest{Member: "n1"}, true, api.CodeUnavailable},
	} {
		parts.Serve(!tt.off)
		if _, err := p.Part(t.Context(), to, tt.req); api.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.code)
		}
	}
	_, err := p.Part(t.Context(), Target{Addr: to.Addr, Name: "n4"}, api.PartRequest{Member: "n1"})
	if !errors.Is(err, ErrNotSent) {
		t.Errorf("another voter: %v", err)
	}
	addr, _, _, _ := member(t)
	if _, err := p.Part(t.Context(), Target{Addr: addr, Name: "n2"}, api.PartRequest{Member: "n1"}); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("an agent: %v", err)
	}
}

// A newer stream of the same process takes the place of the older one; one that the
// voter ends says so.
func TestPartEnds(t *testing.T) {
	_, parts, to, keys := serving(t)
	p := peersOf(t, keys)
	ended := func(r *reader) error {
		for {
			if _, err := r.stream.Next(); err != nil {
				return err
			}
		}
	}
	one, other := p.reading(t, to, "i1"), p.reading(t, to, "i2")
	again := p.reading(t, to, "i1")
	if err := ended(one); !strings.Contains(err.Error(), "ended the stream") {
		t.Errorf("replaced: %v", err)
	}
	other.next()
	again.next()
	parts.Serve(false)
	for _, r := range []*reader{other, again} {
		if err := ended(r); !strings.Contains(err.Error(), "n2 at "+to.Addr) {
			t.Errorf("no voter any more: %v", err)
		}
	}
	parts.Serve(true)
	last := p.reading(t, to, "i1")
	last.next()
	waiting := make(chan error, 1)
	go func() { waiting <- ended(last) }()
	_ = last.stream.Close()
	if err := <-waiting; err == nil {
		t.Error("it goes on")
	}
}
