package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/flip-ha/flip/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a log without Raft and the voters that show it, each as far as the test
// lets it. They are the shipped servers, over pipes.
type cluster struct {
	t   *testing.T
	log zerolog.Logger

	mu       sync.Mutex
	state    *fsm.State
	at       fsm.Index
	voters   map[fsm.MemberID]*voter
	leader   fsm.MemberID
	proposed int           // commands that a leader took
	commit   chan struct{} // not nil: a leader answers only once it is closed
}

var lan = fsm.Timing{
	Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond,
	RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond,
}

func specOf(voters, agents int) fsm.Spec {
	s := fsm.Spec{Timing: lan, Quorum: 2, RemoveOnFailure: true, Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{}}
	add := func(name fsm.MemberID, role fsm.Role) {
		s.Servers[name] = fsm.Server{Name: name, Addr: string(name) + ":1", Role: role, Systems: []fsm.SystemID{"ip"}}
	}
	for i := range voters {
		add(fsm.MemberID(fmt.Sprintf("v%d", i+1)), fsm.RoleVoter)
	}
	for i := range agents {
		add(fsm.MemberID(fmt.Sprintf("a%d", i+1)), fsm.RoleAgent)
	}
	s.Systems["ip"] = fsm.System{
		Name: "ip", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Config: []byte("{}"),
		Items:        []fsm.Item{{ID: "a"}, {ID: "b"}, {ID: "c"}},
		StartTimeout: time.Minute, StopTimeout: time.Minute,
	}
	return s
}

// crowd is how many agents the configuration names.
const crowd = 60

// bubble runs f under a virtual clock, on three voters led by v1 and one agent's spec.
func bubble(t *testing.T, f func(*testing.T, *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, newCluster(t, 3))
	})
}

func newCluster(t *testing.T, voters int) *cluster {
	c := &cluster{t: t, log: zerolog.Nop(), state: fsm.New(), voters: map[fsm.MemberID]*voter{}, leader: "v1"}
	if os.Getenv("AGENT_LOG") != "" {
		c.log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true, TimeFormat: "05.000"}).With().Timestamp().Logger()
	}
	spec := specOf(voters, crowd)
	var ids []fsm.VoterID
	for name, s := range spec.Servers {
		if s.Votes() {
			ids = append(ids, fsm.NewVoterID(name, "i-"+string(name)))
		}
	}
	slices.Sort(ids)
	c.at++
	c.state = c.state.WithVoters(fsm.Voters{Index: c.at, IDs: ids})
	c.do(fsm.SetSpec{Cluster: "c1", Spec: spec})
	t.Cleanup(c.end)
	for i, id := range ids {
		c.do(fsm.Register{
			Member: id.Member(), Nonce: fsm.Nonce{9, byte(i)}, Process: fsm.Nonce{9, byte(i)},
			Host: fsm.Host{Machine: string(id), Instance: id.Instance()}, Wire: [2]uint16{1, 1},
		})
		c.start(id.Member())
	}
	return c
}

// do commits a command that must apply.
func (c *cluster) do(cmd fsm.Command) fsm.Index {
	c.t.Helper()
	res, at := c.apply(fsm.Encode(cmd))
	if !res.Applied || len(res.Dropped) > 0 {
		c.t.Fatalf("apply %+v: %+v", cmd, res)
	}
	return at
}

func (c *cluster) apply(cmd []byte) (fsm.Result, fsm.Index) {
	c.mu.Lock()
	next, res, err := c.state.Apply(c.at+1, cmd)
	if err != nil {
		c.t.Errorf("apply: %v", err)
	}
	c.at++
	c.state = next
	at := c.at
	c.mu.Unlock()
	c.spread()
	return res, at
}

func (c *cluster) now() (*fsm.State, fsm.Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.at
}

// settled reports whether the log shows that a member has.
func (c *cluster) settled(m fsm.MemberID) bool {
	state, _ := c.now()
	is, _ := state.Member(m)
	return is.Settled
}

// spread lets the voters read the log.
func (c *cluster) spread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr := string(c.leader) + ":1"
	if v := c.voters[c.leader]; v != nil {
		addr = v.addr
	}
	for _, v := range c.voters {
		v.see(c.state, c.at, leader{c.leader, addr})
	}
}

// leads has another voter lead.
func (c *cluster) leads(m fsm.MemberID) {
	c.mu.Lock()
	c.leader = m
	c.mu.Unlock()
	c.spread()
}

func (c *cluster) move(item fsm.ItemID, to fsm.MemberID) fsm.Index {
	c.t.Helper()
	k := fsm.Key{System: "ip", Item: item}
	state, _ := c.now()
	slot, _ := state.Slot(k)
	return c.do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, To: to, Reason: "a test"}}})
}

func (c *cluster) voter(name fsm.MemberID) *voter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.voters[name]
}

func (c *cluster) end() {
	for _, v := range c.voters {
		v.stop()
	}
}

// until waits, in virtual time, for something to become so; it says how long it took.
func until(t *testing.T, limit time.Duration, what string, so func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !so() {
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

var errNone = errors.New("none")
