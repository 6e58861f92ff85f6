package main

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// shareEvery is the least time between two tellings of one peer: what changes
	// by itself on a busy network must not become traffic of its own.
	shareEvery = 5 * time.Second
	// shareAgain is when a peer is told what it has been told already.
	shareAgain = time.Minute
	// shareRetry is how often a peer that was never told is tried: until then it
	// takes this member for a stranger on the wire.
	shareRetry = 500 * time.Millisecond
	// shareLimit bounds one telling.
	shareLimit = 2 * time.Second
	// shareParallel bounds the tellings at one time.
	shareParallel = 8
)

// neighbour is a host on a network of the cluster's.
type neighbour struct {
	IP  netip.Addr
	MAC net.HardwareAddr
}

// neighbourhood is what the members know of the network together: whose the
// hardware addresses are, and which hosts are to be told of a takeover. It is
// never agreed upon and may be lost: no promise rests on it.
type neighbourhood struct {
	self    fsm.MemberID
	servers func() []fsm.MemberID   // who is told: those that vote
	members func(fsm.MemberID) bool // who may tell
	agent   func() bool             // this node is one: nobody tells it anything
	tell    func(ctx context.Context, to fsm.MemberID, mine api.Neighbours) error
	look    func() (own []net.HardwareAddr, known []neighbour)

	mu   sync.Mutex
	mine api.Neighbours
	of   map[fsm.MemberID]knowledge
	told map[fsm.MemberID]telling
	wake chan struct{} // capacity 1
}

// knowledge is what a member said of itself and its network.
type knowledge struct {
	macs  []net.HardwareAddr
	known []neighbour
}

type telling struct {
	what api.Neighbours
	at   time.Time
	ok   bool
}

func newNeighbourhood(self fsm.MemberID) *neighbourhood {
	return &neighbourhood{
		self: self, agent: func() bool { return false }, of: map[fsm.MemberID]knowledge{}, told: map[fsm.MemberID]telling{}, wake: make(chan struct{}, 1),
	}
}

// run looks around and tells the others until ctx ends.
func (n *neighbourhood) run(ctx context.Context) error {
	tick := time.NewTicker(shareRetry)
	defer tick.Stop()
	var looked time.Time
	for {
		if time.Since(looked) >= shareEvery {
			n.observe(n.look())
			looked = time.Now()
		}
		n.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.wake:
		}
	}
}

// observe takes in this machine's own view.
func (n *neighbourhood) observe(macs []net.HardwareAddr, known []neighbour) {
	var mine api.Neighbours
	for _, mac := range macs {
		mine.MACs = append(mine.MACs, mac.String())
	}
	slices.Sort(mine.MACs)
	slices.SortFunc(known, func(a, b neighbour) int { return cmp.Or(a.IP.Compare(b.IP), bytes.Compare(a.MAC, b.MAC)) })
	for _, k := range known[:min(len(known), api.MaxNeighbours)] {
		mine.Known = append(mine.Known, api.Neighbour{IP: k.IP.String(), MAC: k.MAC.String()})
	}
	if n.agent() {
		// Whose its own addresses are, and no more: a thousand agents would tell the
		// voters of the same hosts.
		mine.Known = nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mine = mine
	n.of[n.self] = knowledge{macs: macs, known: known}
}

// round tells every peer for which it is time.
func (n *neighbourhood) round(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(shareParallel)
	for _, peer := range n.servers() {
		if mine, due := n.due(peer, time.Now()); due {
			g.Go(func() error {
				ctx, cancel := context.WithTimeout(ctx, shareLimit)
				defer cancel()
				err := n.tell(ctx, peer, mine)
				n.mu.Lock()
				n.told[peer] = telling{what: mine, at: time.Now(), ok: err == nil}
				n.mu.Unlock()
				return nil // a peer that is away is told when it is back
			})
		}
	}
	_ = g.Wait() // they answer with no error
}

func (n *neighbourhood) due(peer fsm.MemberID, now time.Time) (api.Neighbours, bool) {
	agent := n.agent()
	n.mu.Lock()
	defer n.mu.Unlock()
	mine := n.mine
	_, heard := n.of[peer]
	heard = heard || agent
	mine.Ask = !heard
	last, told := n.told[peer]
	since := now.Sub(last.at)
	switch {
	case peer == n.self:
		return mine, false
	case !told:
		return mine, true
	case !last.ok:
		return mine, since >= shareRetry
	case !heard: // it may have nothing to tell
		return mine, since >= shareEvery
	case !reflect.DeepEqual(last.what, mine):
		return mine, since >= shareEvery
	default:
		return mine, since >= shareAgain
	}
}

// heard takes in what a peer tells. What cannot be read is left out: it is of a
// newer version, or of no use.
func (n *neighbourhood) heard(from fsm.MemberID, theirs api.Neighbours) {
	if from == n.self || !n.members(from) {
		return
	}
	var k knowledge
	for _, text := range theirs.MACs {
		if mac, err := net.ParseMAC(text); err == nil {
			k.macs = append(k.macs, mac)
		}
	}
	for _, one := range theirs.Known[:min(len(theirs.Known), api.MaxNeighbours)] {
		ip, err := netip.ParseAddr(one.IP)
		mac, err2 := net.ParseMAC(one.MAC)
		if err == nil && err2 == nil {
			k.known = append(k.known, neighbour{IP: ip, MAC: mac})
		}
	}
	n.mu.Lock()
	n.of[from] = k
	if theirs.Ask {
		delete(n.told, from) // it has started anew
	}
	n.mu.Unlock()
	if theirs.Ask {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

// member says whose a hardware address is; "" if nobody's who has said so.
func (n *neighbourhood) member(mac net.HardwareAddr) fsm.MemberID {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, k := range n.of {
		if slices.ContainsFunc(k.macs, func(own net.HardwareAddr) bool { return bytes.Equal(own, mac) }) {
			return id
		}
	}
	return ""
}

// knows reports whether a member has said which hardware addresses are its own.
func (n *neighbourhood) knows(m fsm.MemberID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.of[m].macs) > 0
}

// cache is every host that any member knows, each once; where two members
// disagree this machine's own view counts, then the first by name.
func (n *neighbourhood) cache() []neighbour {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := make([]fsm.MemberID, 0, len(n.of))
	for id := range n.of {
		names = append(names, id)
	}
	slices.SortFunc(names, func(a, b fsm.MemberID) int {
		if (a == n.self) != (b == n.self) {
			return map[bool]int{true: -1, false: 1}[a == n.self]
		}
		return cmp.Compare(a, b)
	})
	seen := map[netip.Addr]bool{}
	var out []neighbour
	for _, id := range names {
		for _, k := range n.of[id].known {
			if !seen[k.IP] {
				seen[k.IP] = true
				out = append(out, k)
			}
		}
	}
	return out
}
