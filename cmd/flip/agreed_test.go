package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// restful is a cluster of n1 to n3, each in a zone of its own, that has come to rest: six
// items of `ip`, one of `db` that prefers n3 and is at-most-one, four partitions of `ring`
// with two replicas, `log` replicated.
type restful struct {
	s  *fsm.State
	at fsm.Index
}

// longAgo is when all of it was agreed on, in Unix milliseconds.
const longAgo = 1_700_000_000_000

func newAgreed() (*restful, error) {
	a := &restful{s: fsm.New().WithVoters(fsm.Voters{Index: 1, IDs: []fsm.VoterID{"n1/i", "n2/i", "n3/i"}}), at: 1}
	if err := a.do(fsm.SetSpec{Cluster: "c", Spec: agreedSpec(), At: longAgo}); err != nil {
		return nil, err
	}
	for _, m := range []fsm.MemberID{"n1", "n2", "n3"} {
		nonce := fsm.Nonce{byte(a.at)}
		if err := a.do(fsm.Register{Member: m, Nonce: nonce, Process: nonce, Host: fsm.Host{Machine: "m-" + string(m), Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1}, At: longAgo}); err != nil {
			return nil, err
		}
	}
	return a, a.rest()
}

func agreedSpec() fsm.Spec {
	s := fsm.Spec{
		Timing: fsm.Timing{Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond, RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond},
		Quorum: 2, Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{},
	}
	for i, zone := range []string{"a", "b", "c"} {
		name := fsm.MemberID("n" + strconv.Itoa(i+1))
		s.Servers[name] = fsm.Server{Name: name, Addr: "127.0.0.1:220" + strconv.Itoa(i+1), Role: fsm.RoleVoter, Zone: zone, Systems: []fsm.SystemID{"db", "ip", "log", "ring"}}
	}
	hooks := fsm.System{Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down"}
	ip, db, ring, log := hooks, hooks, hooks, hooks
	ip.Name, db.Name, ring.Name, log.Name = "ip", "db", "ring", "log"
	for i := range 6 {
		ip.Items = append(ip.Items, fsm.Item{ID: fsm.ItemID("10.0.0." + strconv.Itoa(i+1))})
	}
	db.Guarantee, db.Items = fsm.AtMostOne, []fsm.Item{{ID: "main", Prefer: []fsm.MemberID{"n3"}}}
	ring.Replicas, ring.Partitions = 2, &fsm.Partitions{Count: 4, Hash: fsm.FNV64a}
	for i := range 4 {
		ring.Items = append(ring.Items, fsm.Item{ID: fsm.ItemID(strconv.Itoa(i))})
	}
	log.Split, log.Items = fsm.Replicate, []fsm.Item{{ID: "l"}}
	for _, sys := range []fsm.System{ip, db, ring, log} {
		s.Systems[sys.Name] = sys
	}
	return s
}

func (a *restful) do(c fsm.Command) error {
	next, res, err := a.s.Apply(a.at+1, fsm.Encode(c))
	if err == nil && !res.Applied {
		err = fmt.Errorf("%T is refused: %s", c, res.Why)
	}
	if err != nil {
		return err
	}
	a.s, a.at = next, a.at+1
	return nil
}

// rest has all moves made, and acquired.
func (a *restful) rest() error {
	moves := placement.Plan(placement.View{State: a.s}).Moves
	if len(moves) == 0 {
		return nil
	}
	if err := a.do(fsm.Assign{Moves: moves, At: longAgo}); err != nil {
		return err
	}
	for slot := range a.s.Slots() {
		m, up := a.s.Member(slot.Owner)
		if !up || !m.Up || slot.Acquired == m.Epoch {
			continue
		}
		claim := fsm.Claim{Key: slot.Key, Member: slot.Owner, Epoch: m.Epoch, Token: slot.Token}
		if err := a.do(fsm.Report{Member: slot.Owner, Epoch: m.Epoch, Acquired: []fsm.Claim{claim}, At: longAgo}); err != nil {
			return err
		}
	}
	return nil
}

// change does what a word of a script says: down=n2, rest, zone=n2:a.
func (a *restful) change(word string) error {
	what, of, _ := strings.Cut(word, "=")
	switch what {
	case "rest":
		return a.rest()
	case "down":
		m, _ := a.s.Member(fsm.MemberID(of))
		return a.do(fsm.Down{Member: fsm.MemberID(of), Epoch: m.Epoch, Voters: a.s.Voters().Index, At: longAgo})
	case "maintain":
		return a.do(fsm.Maintain{System: fsm.SystemID(of), On: true, At: longAgo})
	case "zone":
		name, zone, _ := strings.Cut(of, ":")
		server := a.s.Spec().Servers[fsm.MemberID(name)]
		server.Zone = zone
		return a.do(fsm.SetSpec{Was: a.s.Spec().Version, Spec: a.s.Spec().WithServer(server), At: longAgo})
	default:
		return fmt.Errorf("what is %q?", word)
	}
}

// agreedCmd writes such a State to FILE: agreed FILE [CHANGE...].
func agreedCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: agreed FILE [CHANGE...]")
	}
	a, err := newAgreed()
	ts.Check(err)
	for _, word := range args[1:] {
		ts.Check(a.change(word))
	}
	var buf bytes.Buffer
	ts.Check(a.s.Write(&buf))
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), buf.Bytes(), 0o600))
}
